import { recentSeries } from './series.ts';
import { atLeast, type Figure, median, perSecond } from './report.ts';
import type { Sizes } from './sizes.ts';
import type { Stack } from './stack.ts';

const CONNECTIONS = 256;

/** Requests with one event against one insert for each request, in turns. */
export async function measureSingle(stack: Stack, sizes: Sizes): Promise<Figure[]> {
  const series = recentSeries(sizes.customers);
  await stack.open('bench_bare');
  const bare = await stack.startBare('bench_bare');
  const daemon = await stack.startDaemon({ database: 'bench', roles: 'http' });
  const load = { connections: CONNECTIONS, eventsPerRequest: 1, series };
  const count = sizes.singlesPerRound;
  // The bare form is slower by about the ratio; it gets a smaller number to do, so that both take about as long.
  const bareCount = Math.ceil(count / 5);
  await stack.load(daemon, { ...load, firstIndex: 0, events: count });
  await stack.load(bare, { ...load, firstIndex: 0, events: bareCount });
  const rates: { bare: number; daemon: number; p50Ms: number; p99Ms: number; bareP99Ms: number }[] = [];
  for (let round = 1; round <= sizes.rounds; round += 1) {
    const firstIndex = round * count;
    const slow = await stack.load(bare, { ...load, firstIndex, events: bareCount });
    const fast = await stack.load(daemon, { ...load, firstIndex, events: count });
    rates.push({
      bare: bareCount / slow.elapsedMs,
      daemon: count / fast.elapsedMs,
      p50Ms: fast.p50Ms,
      p99Ms: fast.p99Ms,
      bareP99Ms: slow.p99Ms,
    });
  }
  const over = (pick: (rate: (typeof rates)[number]) => number): number => median(rates.map(pick));
  return [
    { what: 'bare: one insertMany a request, p99', value: `${over((r) => r.bareP99Ms).toFixed(0)} ms` },
    {
      what: `bare, ${CONNECTIONS} connections`,
      value: perSecond(
        over((r) => r.bare),
        1,
      ),
    },
    {
      what: `daemon, ${CONNECTIONS} connections`,
      value: perSecond(
        over((r) => r.daemon),
        1,
      ),
    },
    { what: 'daemon, p50', value: `${over((r) => r.p50Ms).toFixed(0)} ms` },
    { what: 'daemon, p99', value: `${over((r) => r.p99Ms).toFixed(0)} ms` },
    atLeast(
      { what: 'daemon ÷ bare' },
      over((r) => r.daemon / r.bare),
      6,
    ),
  ];
}
