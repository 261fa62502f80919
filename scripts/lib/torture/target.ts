import type { Database } from '../../../src/platform/mongo/database.ts';
import { Customers } from '../../../src/customers/customers-store.ts';
import { type CountedMeter, findDifferences, type StripeTotal } from './truth.ts';
import type { Batch, SentAdjustment, UsageMill } from './usage-mill.ts';

/** What a torture part works on: the daemon's process over HTTP, or its parts inside this process. */
export interface Target {
  readonly db: Database['db'];
  /** Where Stripe's double is. */
  readonly simulatorUrl: string;
  /** Sends a request again until it is acknowledged. */
  send(batch: Batch): Promise<void>;
  /** Runs a job again until it succeeds. */
  run(job: string): Promise<Record<string, unknown>>;
  /** Replays a rejected event, corrected, until it is acknowledged. */
  replay(id: string, event: object): Promise<void>;
  /** Records an adjustment again until it is acknowledged. */
  adjust(adjustment: SentAdjustment): Promise<void>;
  putMeter(key: string, change: object): Promise<void>;
  putCustomer(customerId: string, change: object): Promise<void>;
  /** The next process that comes to this boundary for the `skip + 1`st time ends there. */
  crashAt(name: string, skip: number): Promise<void>;
  /** Whether a process has ended there. */
  hasCrashed(): boolean;
}

export interface Population {
  readonly target: Target;
  readonly mill: UsageMill;
  /** Grows as parts add meters. */
  readonly meters: CountedMeter[];
  readonly customers: readonly string[];
  /** Where the customers' billing period begins; all usage lies after it. */
  readonly anchorMs: number;
}

const SENDING_MS_MAX = 31_000;
const SETTLE_ROUNDS_MAX = 15;
const SETTLE_PAUSE_MS = 300;
const SIMULATOR_MS_MAX = 60_000;
const SIMULATOR_AUTHORIZATION = { authorization: 'Bearer sk_test_torture' };

export const METERS: readonly CountedMeter[] = [
  { key: 'calls', aggregation: 'sum', isGrouped: true },
  { key: 'requests', aggregation: 'count' },
  { key: 'peak', aggregation: 'max' },
  { key: 'level', aggregation: 'last' },
  { key: 'users', aggregation: 'unique' },
];

/** Registers meters and customers at both ends. */
export async function populate({ target, meters, customers, anchorMs }: Population): Promise<void> {
  for (const meter of meters) await target.putMeter(meter.key, meterBody(meter, anchorMs));
  await target.run('sync-meters');
  for (const customerId of customers) {
    const stripeCustomerId = await createStripeCustomer(target.simulatorUrl, customerId);
    const billingAnchor = new Date(anchorMs).toISOString();
    await target.putCustomer(customerId, { stripeCustomerId, billingAnchor, billingInterval: 'year' });
  }
}

/** The body of `PUT /v1/meters/{key}`. */
export function meterBody({ key, aggregation, isGrouped }: CountedMeter, effectiveFromMs: number): object {
  return {
    displayName: key,
    unit: 'unit',
    eventType: 'call',
    aggregation,
    effectiveFrom: new Date(effectiveFromMs).toISOString(),
    stripe: { eventName: key },
    ...(aggregation === 'unique' && { uniqueBy: 'userId' }),
    ...(isGrouped === true && { groupBy: ['properties.region'] }),
  };
}

/** A new customer of the simulator; returns its id. */
export async function createStripeCustomer(simulatorUrl: string, name: string): Promise<string> {
  const response = await fetch(`${simulatorUrl}/v1/customers`, {
    method: 'POST',
    signal: AbortSignal.timeout(SIMULATOR_MS_MAX),
    headers: { ...SIMULATOR_AUTHORIZATION, 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams({ name }),
  });
  return ((await response.json()) as { id: string }).id;
}

/** Calls the simulator as somebody else would, with a form. */
export async function callSimulator(target: Target, path: string, form: Record<string, string>): Promise<void> {
  const response = await fetch(`${target.simulatorUrl}${path}`, {
    method: 'POST',
    signal: AbortSignal.timeout(SIMULATOR_MS_MAX),
    headers: { ...SIMULATOR_AUTHORIZATION, 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams(form),
  });
  if (!response.ok) throw new Error(`the simulator answered ${response.status}: ${await response.text()}`);
}

/**
 * Lets the time pass that a dead process's leases and unsettled attempts last, and tells its journal entries apart.
 * Correctness depends on none of it: leases save work, and an attempt in doubt is made again under its identifier.
 */
export async function letTimePass(db: Database['db']): Promise<void> {
  await db.collection('leases').updateMany({}, { $set: { expiresAt: new Date(0) } });
  await db
    .collection('meter_submissions')
    .updateMany({ state: 'sending' }, [{ $set: { lastAttemptAt: { $subtract: ['$lastAttemptAt', SENDING_MS_MAX] } } }]);
  // Nobody will close these: they are derived in every run, for a day.
  await db.collection('dirty_hours').updateMany({ closedAt: { $exists: false } }, { $set: { leftOpen: true } });
}

/** Runs every job until nothing is left to do. Returns what is left when it does not come to an end. */
export async function settle(target: Target): Promise<string[]> {
  let left: string[] = [];
  for (let round = 0; round < SETTLE_ROUNDS_MAX; round += 1) {
    for (const job of ['requeue-usage', 'aggregate-usage', 'submit-meter-events', 'reconcile-usage']) {
      await target.run(job);
    }
    left = await workLeft(target.db);
    if (left.length === 0) return [];
    await new Promise((resolve) => setTimeout(resolve, SETTLE_PAUSE_MS));
  }
  return left.map((text) => `never settled: ${text}`);
}

async function workLeft(db: Database['db']): Promise<string[]> {
  const counts = {
    'journal entries': await db.collection('dirty_hours').countDocuments({ leftOpen: { $ne: true } }),
    'windows due': await db.collection('usage_aggregates').countDocuments({ planDue: true }),
    'periods due': await db.collection('usage_periods').countDocuments({ planDue: true }),
    'submissions unanswered': await db
      .collection('meter_submissions')
      .countDocuments({ state: { $in: ['planned', 'sending', 'in_doubt', 'blocked'] } }),
    'changes to requeue':
      (await db.collection('customers').countDocuments({ requeueFrom: { $exists: true } })) +
      (await db.collection('meters').countDocuments({ requeueFrom: { $exists: true } })),
  };
  return Object.entries(counts).flatMap(([name, count]) => (count === 0 ? [] : [`${count} ${name}`]));
}

/** Settles, then lays everything side by side. */
export async function settleAndCompare(population: Population): Promise<string[]> {
  const { target, mill, meters, customers } = population;
  const left = await settle(target);
  const signal = AbortSignal.timeout(SIMULATOR_MS_MAX);
  const response = await fetch(`${target.simulatorUrl}/_sim/totals`, { signal });
  const { totals } = (await response.json()) as { totals: StripeTotal[] };
  const billing = await new Customers(target.db).billingOf(customers);
  const differences = await findDifferences({
    db: target.db,
    meters,
    billing,
    acknowledged: mill.acknowledged,
    adjusted: mill.adjusted,
    totals,
  });
  return [...left, ...differences];
}
