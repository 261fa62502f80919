import { documentsOf, insertBare } from './bare.ts';
import { recentSeries } from './series.ts';
import { atLeast, type Figure, median, perSecond } from './report.ts';
import type { Sizes } from './sizes.ts';
import type { Stack } from './stack.ts';

const PART = 'ingest';
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
  const daemonMs: number[] = [];
  const p99: number[] = [];
  for (let round = 1; round <= sizes.rounds; round += 1) {
    const firstIndex = round * count;
    bareMs.push(await insertBare(bare, documentsOf(series, firstIndex, count)));
    const result = await stack.load(daemon, { ...load, firstIndex, events: count });
    daemonMs.push(result.elapsedMs);
    p99.push(result.p99Ms);
  }
  const ratios = daemonMs.map((elapsedMs, round) => (bareMs[round] ?? Number.NaN) / elapsedMs);
  return [
    { part: PART, what: 'bare insertMany, 1,000 events, 4 in flight', value: perSecond(count, median(bareMs)) },
    {
      part: PART,
      what: `daemon, ${EVENTS_PER_REQUEST} events a request, ${CONNECTIONS} connections`,
      value: perSecond(count, median(daemonMs)),
    },
    { part: PART, what: 'p99 of these requests', value: `${median(p99).toFixed(0)} ms` },
    atLeast({ part: PART, what: 'daemon ÷ bare (aim: 0.75)' }, median(ratios), 0.6),
  ];
}
