import { aggregateUsage } from '../../../src/aggregation/aggregate-usage.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import type { Aggregation, Meter } from '../../../src/meters/meter.ts';
import { epochHourOf, type CustomerHour } from '../../../src/customers/calendar/window.ts';
import { HOUR_MS } from '../../../src/platform/durations.ts';
import type { Database } from '../../../src/platform/mongo/database.ts';
import { inDerivationRun } from '../../../src/aggregation/derivation-run-store.ts';
import { DirtyHours } from '../../../src/usage/dirty-hours-store.ts';
import { Meters, toMeterDocument } from '../../../src/meters/meters-store.ts';
import type { UsageEventDocument } from '../../../src/usage/usage-events-store.ts';
import { documentsOf, insertBare } from './bare.ts';
import { customerOf, EVENT_TYPE, type EventSeries } from './event-series.ts';
import { cpuSecondsOf } from './processes.ts';
import { atMost, type Figure, perSecond, seconds } from './report.ts';
import { seriesOver } from './series.ts';
import type { Sizes } from './sizes.ts';
import type { Stack } from './stack.ts';

const DOCUMENTS_AT_ONCE = 50_000;
/** One customer-hour in so many has changed. */
const CHANGED_ONE_IN = 100;
/** What 1 % may cost of the whole. */
const SHARE_MAX = 0.05;
const silentLog = { info: (): void => {}, error: (): void => {} };

/** What one run took. */
export interface RunCost {
  readonly elapsedMs: number;
  readonly mongodCpuSeconds: number;
}

/**
 * Everything, everything again, and one customer-hour in a hundred: first with meters whose windows add up, then with
 * one besides that has a running figure of the period, which is derived from all windows of the period.
 */
export async function measureAggregation(stack: Stack, sizes: Sizes): Promise<Figure[]> {
  const database = await stack.open('bench');
  const { customers, hours } = sizes;
  const count = customers * hours * sizes.eventsPerCustomerHour;
  const series = seriesOver({ hours, count, customers });
  for (let from = 0; from < count; from += DOCUMENTS_AT_ONCE) {
    await insertBare(database, documentsOf(series, from, Math.min(DOCUMENTS_AT_ONCE, count - from)));
  }
  const pairs = pairsOf(series, { customers, hours });
  const changed = pairs.filter((_, index) => index % CHANGED_ONE_IN === Math.floor(index / customers) % CHANGED_ONE_IN);
  const change = async (round: number): Promise<void> => {
    const documents = documentsOf(series, count * round, changed.length);
    await insertBare(
      database,
      documents.map((document, index) => moveTo(document, changed[index])),
    );
  };
  await saveMeters(database, ['count', 'sum'], series.startMs);
  const first = await aggregate(stack, database, pairs);
  const again = await aggregate(stack, database, pairs);
  await change(2);
  const part = await aggregate(stack, database, changed);
  await saveMeters(database, ['max'], series.startMs);
  const withPeriods = await aggregate(stack, database, pairs);
  await change(3);
  const partWithPeriods = await aggregate(stack, database, changed);
  return [
    { what: 'customer-hours / events', value: `${pairs.length} / ${count}` },
    ...costFigures('first run (count, sum)', first, count),
    ...costFigures('run again', again, count),
    ...costFigures('1 % changed', part, changed.length * sizes.eventsPerCustomerHour),
    atMost({ what: '1 % changed ÷ first run, time' }, part.elapsedMs / first.elapsedMs, SHARE_MAX),
    atMost({ what: '1 % changed ÷ first run, CPU' }, cpuShare(part, first), SHARE_MAX),
    { what: '1 % changed ÷ run again, CPU', value: cpuShare(part, again).toFixed(3) },
    ...costFigures('a max meter added', withPeriods, count),
    ...costFigures('1 % changed, with max', partWithPeriods, changed.length * sizes.eventsPerCustomerHour),
    { what: '1 % changed ÷ all, CPU, with max', value: cpuShare(partWithPeriods, withPeriods).toFixed(3) },
  ];
}

function cpuShare(part: RunCost, full: RunCost): number {
  return part.mongodCpuSeconds / full.mongodCpuSeconds;
}

/** An event as if it had occurred early in a customer's hour. */
function moveTo(document: UsageEventDocument, pair: CustomerHour | undefined): UsageEventDocument {
  if (pair === undefined) return document;
  return { ...document, ...pair, occurredAt: new Date(pair.hour * HOUR_MS + 1) };
}

function costFigures(name: string, cost: RunCost, events: number): Figure[] {
  return [
    { what: `${name}: events`, value: perSecond(events, cost.elapsedMs) },
    { what: `${name}: time`, value: seconds(cost.elapsedMs / 1_000) },
    { what: `${name}: mongod CPU`, value: seconds(cost.mongodCpuSeconds) },
  ];
}

/** Names the pairs in the journal and lets the job derive them. */
export async function aggregate(stack: Stack, { db }: Database, pairs: readonly CustomerHour[]): Promise<RunCost> {
  await new DirtyHours(db).recordPairs(pairs, new Date());
  const cpuBefore = cpuSecondsOf(stack.mongodPid);
  const startedAt = performance.now();
  const result = await aggregateUsage({
    inRun: (work) => inDerivationRun(db, work),
    clock: systemClock,
    log: silentLog,
  });
  if (result.customerHours !== pairs.length || result.setAside > 0) throw new Error('not everything was derived');
  return {
    elapsedMs: performance.now() - startedAt,
    mongodCpuSeconds: cpuSecondsOf(stack.mongodPid) - cpuBefore,
  };
}

/** Saves one meter of each given kind; together they count, add up or compare the same events. */
export async function saveMeters(
  { db }: Database,
  aggregations: readonly Aggregation[],
  effectiveFromMs: number,
): Promise<void> {
  const shared: Omit<Meter, 'key' | 'aggregation'> = {
    displayName: 'bench',
    unit: 'unit',
    eventType: EVENT_TYPE,
    valueFrom: { kind: 'quantity' },
    where: [],
    groupBy: [],
    effectiveFromMs,
    createdAtMs: effectiveFromMs,
    lateUsage: 'review',
  };
  for (const aggregation of aggregations) {
    const meter = { ...shared, key: `bench_${aggregation}`, aggregation };
    await new Meters(db).save(toMeterDocument(meter, { revision: 1, updatedAt: new Date() }), undefined);
  }
}

function pairsOf(series: EventSeries, of: { customers: number; hours: number }): CustomerHour[] {
  const firstHour = epochHourOf(series.startMs);
  return Array.from({ length: of.customers * of.hours }, (_, index) => ({
    customerId: customerOf(index % of.customers),
    hour: firstHour + Math.floor(index / of.customers),
  }));
}
