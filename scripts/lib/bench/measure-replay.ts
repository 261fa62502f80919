import { recentSeries } from './series.ts';
import { atLeast, type Figure, median, perSecond } from './report.ts';
import type { Sizes } from './sizes.ts';
import type { Stack } from './stack.ts';

const CONNECTIONS = 16;
const EVENTS_PER_REQUEST = 100;

/** The same requests sent twice: first everything is new, then nothing is. */
export async function measureReplay(stack: Stack, sizes: Sizes): Promise<Figure[]> {
  const series = recentSeries(sizes.customers);
  const daemon = await stack.startDaemon({ database: 'bench', roles: 'http' });
  const load = { connections: CONNECTIONS, eventsPerRequest: EVENTS_PER_REQUEST, series };
  const count = sizes.eventsPerRound;
  await stack.load(daemon, { ...load, firstIndex: 0, events: count / 5 });
  const freshMs: number[] = [];
  const replayMs: number[] = [];
  for (let round = 1; round <= sizes.rounds; round += 1) {
    const order = { ...load, firstIndex: round * count, events: count };
    const fresh = await stack.load(daemon, order);
    const replay = await stack.load(daemon, order);
    if (fresh.accepted !== count || replay.duplicates !== count) throw new Error('an outcome was not what was sent');
    freshMs.push(fresh.elapsedMs);
    replayMs.push(replay.elapsedMs);
  }
  const ratios = replayMs.map((elapsedMs, round) => (freshMs[round] ?? Number.NaN) / elapsedMs);
  return [
    { what: 'new events', value: perSecond(count, median(freshMs)) },
    { what: 'nothing but duplicates', value: perSecond(count, median(replayMs)) },
    atLeast({ what: 'duplicates ÷ new (aim: 1)' }, median(ratios), 0.5),
  ];
}
