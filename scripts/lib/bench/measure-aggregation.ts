import { aggregateUsage } from '../../../jobs/aggregate-usage.ts';
import { systemClock } from '../../../src/clock.ts';
import type { CustomerHour } from '../../../src/domain/derivation-plan.ts';
import type { Meter } from '../../../src/domain/meter.ts';
import { epochHourOf, HOUR_MS } from '../../../src/domain/window.ts';
import type { Database } from '../../../src/storage/database.ts';
import { inDerivationRun } from '../../../src/storage/derivation-run.ts';
import { DirtyHours } from '../../../src/storage/dirty-hours.ts';
import { Meters, toMeterDocument } from '../../../src/storage/meters.ts';
import { documentsOf, insertBare } from './bare.ts';
import { customerOf, EVENT_TYPE, type EventSeries } from './event-series.ts';
import { cpuSecondsOf } from './processes.ts';
import { atMost, type Figure, perSecond, seconds } from './report.ts';
import { seriesOver } from './series.ts';
import type { Sizes } from './sizes.ts';
import type { Stack } from './stack.ts';

const PART = 'aggregation';
const DOCUMENTS_AT_ONCE = 50_000;
/** One customer-hour in so many has changed. */
const CHANGED_ONE_IN = 100;
const silentLog = { info: (): void => {}, error: (): void => {} };

/** What one run took. */
export interface RunCost {
  readonly elapsedMs: number;
  readonly mongodCpuSeconds: number;
}

/** Everything, everything again, and one customer-hour in a hundred. */
export async function measureAggregation(stack: Stack, sizes: Sizes): Promise<Figure[]> {
  const database = await stack.open('bench');
  const { customers, hours } = sizes;
  const count = customers * hours * sizes.eventsPerCustomerHour;
  const series = seriesOver({ hours, count, customers });
  await saveMeters(database, series.startMs);
  for (let from = 0; from < count; from += DOCUMENTS_AT_ONCE) {
    await insertBare(database, documentsOf(series, from, Math.min(DOCUMENTS_AT_ONCE, count - from)));
  }
  const pairs = pairsOf(series, { customers, hours });
  const first = await aggregate(stack, database, pairs);
  const again = await aggregate(stack, database, pairs);
  const changed = pairs.filter((_, index) => index % CHANGED_ONE_IN === Math.floor(index / customers) % CHANGED_ONE_IN);
  const late: EventSeries = { ...series, startMs: series.startMs + 1 };
  const documents = documentsOf(late, count, changed.length).map((document, index) => ({
    ...document,
    ...changed[index],
    occurredAt: new Date((changed[index]?.hour ?? 0) * HOUR_MS + 1),
  }));
  await insertBare(database, documents);
  const part = await aggregate(stack, database, changed);
  const shareOf = (full: RunCost): number =>
    Math.max(part.elapsedMs / full.elapsedMs, part.mongodCpuSeconds / full.mongodCpuSeconds);
  return [
    { part: PART, what: 'customer-hours / events', value: `${pairs.length} / ${count}` },
    ...costFigures('first run', first, count),
    ...costFigures('re-run', again, count),
    ...costFigures(`${changed.length} customer-hours changed`, part, changed.length * sizes.eventsPerCustomerHour),
    atMost({ part: PART, what: '1 % changed ÷ first run (worse of time and CPU)' }, shareOf(first), 0.05),
    atMost({ part: PART, what: '1 % changed ÷ re-run (worse of time and CPU)' }, shareOf(again), 0.05),
  ];
}

function costFigures(name: string, cost: RunCost, events: number): Figure[] {
  return [
    { part: PART, what: `${name}: events`, value: perSecond(events, cost.elapsedMs) },
    { part: PART, what: `${name}: time`, value: seconds(cost.elapsedMs / 1_000) },
    { part: PART, what: `${name}: mongod CPU`, value: seconds(cost.mongodCpuSeconds) },
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

/** A meter of each kind that most have: a count, a sum, and a maximum, whose periods follow. */
export async function saveMeters({ db }: Database, effectiveFromMs: number): Promise<void> {
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
  for (const aggregation of ['count', 'sum', 'max'] as const) {
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
