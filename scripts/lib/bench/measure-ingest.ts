import { documentsOf, insertBare } from './bare.ts';
import { checkpoint } from './checkpoint.ts';
import { recentSeries } from './series.ts';
import { cpuSecondsOf } from './processes.ts';
import { atLeast, type Figure, median, perSecond } from './report.ts';
import type { Sizes } from './sizes.ts';
import type { Stack } from './stack.ts';

const CONNECTIONS = 16;
const EVENTS_PER_REQUEST = 100;

/** Requests with 100 events against the bare driver, in turns. */
export async function measureIngest(stack: Stack, sizes: Sizes): Promise<Figure[]> {
  const series = recentSeries(sizes.customers);
  const bare = await stack.open('bench_bare');
  const daemon = await stack.startDaemon({ database: 'bench', roles: 'http' });
  const load = { connections: CONNECTIONS, eventsPerRequest: EVENTS_PER_REQUEST, series };
  const count = sizes.eventsPerRound;
  await stack.load(daemon, { ...load, firstIndex: 0, events: count / 5 });
  await insertBare(bare, documentsOf(series, 0, count / 5));
  const bareMs: number[] = [];
  const cpu = { bareMongod: 0, mongod: 0, daemon: 0 };
  const daemonMs: number[] = [];
  const p99: number[] = [];
  for (let round = 1; round <= sizes.rounds; round += 1) {
    const firstIndex = round * count;
    const documents = documentsOf(series, firstIndex, count);
    await checkpoint(bare);
    const before = cpuSecondsOf(stack.mongodPid);
    bareMs.push(await insertBare(bare, documents));
    cpu.bareMongod += cpuSecondsOf(stack.mongodPid) - before;
    await checkpoint(bare);
    const between = cpuSecondsOf(stack.mongodPid);
    const daemonBefore = cpuSecondsOf(daemon.pid);
    const result = await stack.load(daemon, { ...load, firstIndex, events: count });
    cpu.mongod += cpuSecondsOf(stack.mongodPid) - between;
    cpu.daemon += cpuSecondsOf(daemon.pid) - daemonBefore;
    daemonMs.push(result.elapsedMs);
    p99.push(result.p99Ms);
  }
  const microsEach = (seconds: number): string => `${((seconds * 1e6) / (count * sizes.rounds)).toFixed(1)} µs`;
  const ratios = daemonMs.map((elapsedMs, round) => (bareMs[round] ?? Number.NaN) / elapsedMs);
  return [
    { what: 'bare insertMany, 1,000 events, 4 in flight', value: perSecond(count, median(bareMs)) },
    {
      what: `daemon, ${EVENTS_PER_REQUEST} events a request, ${CONNECTIONS} connections`,
      value: perSecond(count, median(daemonMs)),
    },
    { what: 'mongod CPU an event, under the bare driver', value: microsEach(cpu.bareMongod) },
    { what: 'mongod CPU an event, under the daemon', value: microsEach(cpu.mongod) },
    { what: 'daemon CPU an event', value: microsEach(cpu.daemon) },
    { what: 'p99 of these requests', value: `${median(p99).toFixed(0)} ms` },
    atLeast({ what: 'daemon ÷ bare (aim: 0.75)' }, median(ratios), 0.6),
  ];
}
