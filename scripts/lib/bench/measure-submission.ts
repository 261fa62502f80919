import type { Meter } from '../../../src/meters/meter.ts';
import { DELIVERED_STATES } from '../../../src/submissions/submission.ts';
import { HOUR_MS, MINUTE_MS } from '../../../src/platform/durations.ts';
import type { FaultKind } from '../../../packages/stripe-double/src/faults.ts';
import { CUSTOMERS, type CustomerDocument } from '../../../src/customers/customers-store.ts';
import type { Database } from '../../../src/platform/mongo/database.ts';
import { toDecimal128 } from '../../../src/platform/mongo/decimal128.ts';
import { MeterSubmissions } from '../../../src/submissions/meter-submissions-store.ts';
import { Meters, toMeterDocument } from '../../../src/meters/meters-store.ts';
import { USAGE_AGGREGATES, type UsageAggregateDocument } from '../../../src/aggregation/usage-aggregates-store.ts';
import { rowKey } from '../../../src/aggregation/usage-derivation-store.ts';
import { memoryOf } from './processes.ts';
import { atMost, type Figure, perSecond, seconds } from './report.ts';
import { METER_EVENTS_ROUTE, type SimulatorFigures, type SimulatorProgress } from './simulator-role.ts';
import type { Sizes } from './sizes.ts';
import type { Stack } from './stack.ts';
import type { JobCost } from './submitter-role.ts';
import { watch } from './watch.ts';

const ROWS_AT_ONCE = 10_000;
const VALUE = '2.5';
const FAULTS: readonly FaultKind[] = [
  'tooManyRequests',
  'conflict',
  'errorBefore',
  'errorDuring',
  'errorAfter',
  'answerLost',
  'resetBefore',
];
/** Together three calls in ten. */
const FAULT_PROBABILITY = 0.3 / FAULTS.length;
const REQUESTS_MAX = 1.5;
/** Ten times the customers may take so many times as long. */
const GROWTH_MAX = 12;
/** A run is given up after this for each submission, and this for the retries of the last, which wait for minutes. */
const MS_PER_SUBMISSION_MAX = 5;
const TAIL_MS_MAX = 40 * MINUTE_MS;
/** The rest may wait for retries. */
const MOST = 0.9;
const METERS = ['scale_a', 'scale_b', 'scale_c'] as const;

/** How much there is to submit: each customer's windows, for each meter. */
interface Extent {
  readonly name: string;
  readonly customers: number;
  readonly hours: number;
  readonly meters: readonly string[];
  readonly callsPerSecondMax?: number;
}

interface Submitted extends JobCost {
  /** How long it took until most were counted, to a few seconds. */
  readonly mostMs: number;
  readonly figures: SimulatorFigures;
  /** Resident at most: the submitting process, and the simulator. */
  readonly highestMib: number;
  readonly simulatorMib: number;
  readonly expectedTotal: string;
}

/** Many submissions while Stripe fails three calls in ten, in every way: each has to count once. */
export async function measureFaults(stack: Stack, sizes: Sizes): Promise<Figure[]> {
  const { faultySubmissions } = sizes;
  const customers = Math.max(1, Math.floor(faultySubmissions / sizes.hours));
  const extent = { name: 'faults', customers, hours: sizes.hours, meters: ['scale_a'] };
  const count = customers * sizes.hours;
  const submitted = await submitAll(stack, extent, true);
  const { figures, elapsedMs, mostMs, expectedTotal } = submitted;
  return [
    { what: 'submissions, three calls in ten failing', value: count.toLocaleString('en-US') },
    atMost({ what: 'counted twice' }, figures.events - count, 0),
    { what: 'customers with a wrong total', value: isRight(figures, expectedTotal) ? 'none' : 'SOME' },
    atMost({ what: 'requests for each submission' }, figures.calls / count, REQUESTS_MAX),
    { what: 'submissions, the first nine in ten', value: perSecond(count * MOST, mostMs) },
    { what: 'time, the last retries included', value: seconds(elapsedMs / 1_000) },
    ...memory('', submitted),
  ];
}

/** One window of each customer and meter, for a number of customers and for ten times as many; then at a live pace. */
export async function measureScale(stack: Stack, sizes: Sizes): Promise<Figure[]> {
  const few = { name: 'few', customers: sizes.fewCustomers, hours: 1, meters: METERS };
  const small = await submitAll(stack, few);
  const large = await submitAll(stack, { ...few, name: 'many', customers: sizes.fewCustomers * 10 });
  const paced = await submitAll(stack, { ...few, name: 'paced', callsPerSecondMax: 900 });
  const rowsOf = (extent: { customers: number }): number => extent.customers * METERS.length;
  const described = (name: string, of: Submitted, rows: number): Figure[] => [
    { what: `${name}: ${rows.toLocaleString('en-US')} submissions`, value: seconds(of.elapsedMs / 1_000) },
    { what: `${name}: submissions`, value: perSecond(rows, of.elapsedMs) },
    { what: `${name}: requests`, value: of.figures.calls.toLocaleString('en-US') },
    ...memory(`${name}: `, of),
    { what: `${name}: wrong totals`, value: isRight(of.figures, of.expectedTotal) ? 'none' : 'SOME' },
  ];
  return [
    ...described('few', small, rowsOf(few)),
    ...described('many', large, rowsOf(few) * 10),
    atMost({ what: 'ten times as many: time' }, large.elapsedMs / small.elapsedMs, GROWTH_MAX),
    { what: 'ten times as many: memory', value: (large.highestMib / small.highestMib).toFixed(2) },
    ...described('at 900 calls/s', paced, rowsOf(few)),
  ];
}

function memory(prefix: string, of: Submitted): Figure[] {
  return [
    { what: `${prefix}resident at most, MiB`, value: of.highestMib.toFixed(0) },
    { what: `${prefix}the simulator, MiB`, value: of.simulatorMib.toFixed(0) },
  ];
}

function isRight({ totals }: SimulatorFigures, expected: string): boolean {
  return totals.length === 1 && totals[0] === expected;
}

async function submitAll(stack: Stack, extent: Extent, isFaulty = false): Promise<Submitted> {
  const simulator = await stack.startSimulator();
  const database = await stack.open(`bench_${extent.name}`);
  const submissions = extent.customers * extent.hours * extent.meters.length;
  await saveExtent(database, extent, await simulator.ask<string[]>({ customers: extent.customers }));
  const submitter = await stack.startSubmitter({
    MONGODB_DATABASE: `bench_${extent.name}`,
    STRIPE_API_BASE: simulator.url,
    STRIPE_CALLS_PER_SECOND_MAX: String(extent.callsPerSecondMax ?? 10_000),
  });
  const ask = (job: string): Promise<JobCost> => submitter.ask<JobCost>({ job });
  await ask('sync-meters');
  if (isFaulty) {
    const plan = Object.fromEntries(
      FAULTS.map((kind) => [kind, { probability: FAULT_PROBABILITY, routes: [METER_EVENTS_ROUTE] }]),
    );
    await simulator.ask({ faults: plan });
  }
  const startedAtMs = performance.now();
  let mostMs: number | undefined;
  const cost = await watch(ask('submit-meter-events'), {
    label: extent.name,
    total: submissions,
    msMax: submissions * MS_PER_SUBMISSION_MAX + TAIL_MS_MAX,
    look: async () => {
      const { events, calls } = await simulator.ask<SimulatorProgress>({ progress: true });
      if (events >= submissions * MOST) mostMs ??= performance.now() - startedAtMs;
      const [submitterMib, simulatorMib] = [submitter.pid, simulator.pid].map((pid) => memoryOf(pid).residentMib);
      const memoryNote = `submitter ${submitterMib?.toFixed(0)} MiB, simulator ${simulatorMib?.toFixed(0)} MiB`;
      return { done: events, note: `${events} meter events, ${calls} calls, ${memoryNote}` };
    },
    left: async () => statesOf(await new MeterSubmissions(database.db).census()),
  });
  const census = await new MeterSubmissions(database.db).census();
  const delivered = census.filter(({ state }) => DELIVERED_STATES.includes(state));
  if (delivered.reduce((sum, { count }) => sum + count, 0) !== submissions) {
    throw new Error(`${extent.name}: not all of ${submissions} submissions were delivered; ${statesOf(census)}`);
  }
  const expectedTotal = Number(VALUE) * extent.hours;
  return {
    ...cost,
    mostMs: mostMs ?? cost.elapsedMs,
    figures: await simulator.ask<SimulatorFigures>({ figures: true }),
    highestMib: memoryOf(submitter.pid).highestMib,
    simulatorMib: memoryOf(simulator.pid).highestMib,
    expectedTotal: String(expectedTotal),
  };
}

function statesOf(census: readonly { state: string; count: number }[]): string {
  return `in the outbox: ${census.map(({ state, count }) => `${count} ${state}`).join(', ') || 'nothing'}`;
}

/** Meters, mapped customers, and derived windows that nobody has planned yet. */
async function saveExtent({ db }: Database, extent: Extent, stripeIds: readonly string[]): Promise<void> {
  const endMs = Math.floor(Date.now() / HOUR_MS) * HOUR_MS - HOUR_MS;
  const startMs = endMs - extent.hours * HOUR_MS;
  const at = new Date(startMs);
  for (const key of extent.meters) {
    await new Meters(db).save(toMeterDocument(meterOf(key, startMs), { revision: 1, updatedAt: at }), undefined);
  }
  const customers = stripeIds.map((stripeCustomerId, index): CustomerDocument => ({
    _id: `customer-${String(index).padStart(6, '0')}`,
    stripeCustomerId,
    submitFrom: at,
    calendars: [],
    revision: 1,
    createdAt: at,
    updatedAt: at,
  }));
  for (let from = 0; from < customers.length; from += ROWS_AT_ONCE) {
    const some = customers.slice(from, from + ROWS_AT_ONCE);
    await db.collection<CustomerDocument>(CUSTOMERS).insertMany(some, { ordered: false });
    for (let hour = 0; hour < extent.hours; hour += 1) {
      for (const meter of extent.meters) {
        const rows = some.map(({ _id }) => rowOf({ customerId: _id, meter, startMs: startMs + hour * HOUR_MS }));
        await db.collection<UsageAggregateDocument>(USAGE_AGGREGATES).insertMany(rows, { ordered: false });
      }
    }
  }
}

function meterOf(key: string, effectiveFromMs: number): Meter {
  return {
    key,
    aggregation: 'sum',
    displayName: key,
    unit: 'unit',
    eventType: 'bench',
    valueFrom: { kind: 'quantity' },
    where: [],
    groupBy: [],
    effectiveFromMs,
    createdAtMs: effectiveFromMs,
    lateUsage: 'review',
    stripe: { eventName: key },
  };
}

function rowOf(window: { customerId: string; meter: string; startMs: number }): UsageAggregateDocument {
  return {
    _id: rowKey(window.customerId, window.meter, new Date(window.startMs)),
    windowEnd: new Date(window.startMs + HOUR_MS),
    layout: 0,
    eventCount: 1,
    quantity: toDecimal128(VALUE),
    revision: 1,
    planDue: true,
  };
}
