import { setTimeout as delay } from 'node:timers/promises';
import { epochHourOf, type CustomerHour } from '../../../src/customers/calendar/window.ts';
import { DIRTY_HOURS } from '../../../src/usage/dirty-hours-store.ts';
import type { Database } from '../../../src/platform/mongo/database.ts';
import { customerOf, type EventSeries } from './event-series.ts';
import { checkpoint } from './checkpoint.ts';
import { aggregate, type RunCost, saveMeters } from './measure-aggregation.ts';
import { atLeast, atMost, type Figure, median, perSecond, seconds } from './report.ts';
import { seriesOver } from './series.ts';
import type { Sizes } from './sizes.ts';
import type { Stack } from './stack.ts';

const TENTHS = 10;
/** Fewer than EVENT_AGE_DAYS_MAX, so that nothing is refused. */
const DAYS = 30;
const REPEATS = 5;
/** What an hour's aggregation may cost at the end, of what it cost at the start. */
const COST_RATIO_MAX = 1.25;
/** The daemon closes its journal entries within seconds after the last event. */
const JOURNAL_CLOSED_MS = 5_000;

/** Whether ingest and the aggregation of an hour stay as quick as the log grows far beyond mongod's cache. */
export async function measureGrowth(stack: Stack, sizes: Sizes): Promise<Figure[]> {
  const database = await stack.open('bench');
  const daemon = await stack.startDaemon({ database: 'bench', roles: 'http' });
  const { growthEvents, customers } = sizes;
  const series = seriesOver({ hours: DAYS * 24, count: growthEvents, customers });
  // Without a running figure, which is derived from all windows of its period: there is one more each hour.
  await saveMeters(database, ['count', 'sum'], series.startMs);
  const events = growthEvents / TENTHS;
  const elapsedMs: number[] = [];
  const costs: RunCost[] = [];
  for (let tenth = 0; tenth < TENTHS; tenth += 1) {
    const order = { connections: 16, eventsPerRequest: 100, series, firstIndex: tenth * events, events };
    elapsedMs.push((await stack.load(daemon, order)).elapsedMs);
    // The hours that ended last: what is aggregated day by day.
    const hour = hourAt(series, (tenth + 1) * events) - REPEATS;
    if (tenth === 0 || tenth === TENTHS - 1) costs.push(await costOfHour(stack, database, { hour, customers }));
  }
  const oldHour = hourAt(series, (TENTHS / 2) * events);
  const oldCost = await costOfHour(stack, database, { hour: oldHour, customers });
  const [startCost, endCost] = costs;
  if (startCost === undefined || endCost === undefined) throw new Error('nothing was measured');
  const [first = 0] = elapsedMs;
  const last = elapsedMs.at(-1) ?? 0;
  return [
    {
      what: `first tenth of ${growthEvents.toLocaleString('en-US')} events`,
      value: perSecond(events, first),
    },
    { what: 'last tenth', value: perSecond(events, last) },
    atLeast({ what: 'last ÷ first' }, first / last, 0.75),
    { what: "one hour's aggregation at the start: time", value: seconds(startCost.elapsedMs / 1_000) },
    { what: 'at the end: time', value: seconds(endCost.elapsedMs / 1_000) },
    atMost({ what: 'time at the end ÷ at the start' }, endCost.elapsedMs / startCost.elapsedMs, COST_RATIO_MAX),
    {
      what: 'at the start / end: mongod CPU',
      value: `${seconds(startCost.mongodCpuSeconds)} / ${seconds(endCost.mongodCpuSeconds)}`,
    },
    {
      what: 'at the end, of hours two weeks ago: time, mongod CPU',
      value: `${seconds(oldCost.elapsedMs / 1_000)}, ${seconds(oldCost.mongodCpuSeconds)}`,
    },
    atMost(
      { what: 'mongod CPU at the end ÷ at the start' },
      endCost.mongodCpuSeconds / startCost.mongodCpuSeconds,
      COST_RATIO_MAX,
    ),
  ];
}

function hourAt(series: EventSeries, index: number): number {
  return epochHourOf(series.startMs + (index * series.stepMicros) / 1_000);
}

/** Derives the usage of every customer in some hours in a row, one hour at a time: the median of their costs. */
async function costOfHour(stack: Stack, database: Database, at: { hour: number; customers: number }): Promise<RunCost> {
  // What ingest has queued is not to be measured: it is thrown away once its entries are closed.
  await delay(JOURNAL_CLOSED_MS);
  await checkpoint(database);
  await database.db.collection(DIRTY_HOURS).deleteMany({});
  const costs: RunCost[] = [];
  for (let repeat = 0; repeat < REPEATS; repeat += 1) {
    const pairs: CustomerHour[] = Array.from({ length: at.customers }, (_, number) => ({
      customerId: customerOf(number),
      hour: at.hour + repeat,
    }));
    costs.push(await aggregate(stack, database, pairs));
  }
  return {
    elapsedMs: median(costs.map((cost) => cost.elapsedMs)),
    mongodCpuSeconds: median(costs.map((cost) => cost.mongodCpuSeconds)),
  };
}
