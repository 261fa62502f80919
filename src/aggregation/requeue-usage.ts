import { boundary } from '../platform/boundary.ts';
import type { Clock } from '../platform/clock.ts';
import { type BillingCustomer, billingPeriodOf, unknownCustomer } from '../customers/calendar/billing-customer.ts';
import { type Aggregation, isAdditive } from '../meters/meter.ts';
import { type RefusedItems, Refusals } from '../stripe/stripe-refusal.ts';
import { epochHourOf, type EpochHour, type CustomerHour } from '../customers/calendar/window.ts';
import { HOUR_MS } from '../platform/durations.ts';

/** A document whose change made hours due that are not queued yet. */
interface Requeued {
  readonly _id: string;
  readonly revision: number;
  readonly requeueFrom?: Date;
}

export interface RequeueUsageDeps {
  readonly clock: Pick<Clock, 'now'>;
  /** Makes the calendar of a customer follow from its subscriptions; returns whether it changed. */
  mirrorCalendar(customerId: string): Promise<boolean>;
  readonly customers: {
    listToRequeue(limit: number): Promise<Requeued[]>;
    finishRequeue(customerId: string, revision: number): Promise<void>;
    billingOf(customerIds: readonly string[]): Promise<Map<string, BillingCustomer>>;
  };
  readonly meters: {
    list(): Promise<{ readonly _id: string; readonly aggregation: Aggregation }[]>;
    listToRequeue(): Promise<(Requeued & { readonly eventType: string })[]>;
    finishRequeue(key: string, revision: number): Promise<void>;
  };
  readonly usageEvents: {
    pairsFrom(query: {
      fromHour: EpochHour;
      customerId?: string;
      eventType?: string;
      batchSize: number;
    }): AsyncIterable<CustomerHour[]>;
  };
  readonly dirtyHours: { recordPairs(pairs: readonly CustomerHour[], at: Date): Promise<void> };
  readonly aggregates: {
    setPlanDue(query: { customerId: string; meter: string; from: Date; to: Date }): Promise<void>;
  };
  readonly periods: { setPlanDue(query: { customerId: string; meter: string; from: Date }): Promise<void> };
}

export interface RequeueUsageResult {
  readonly customers: number;
  readonly meters: number;
  /** Customer-hours that were written to the journal. */
  readonly hours: number;
  /** Customers whose calendar cannot follow their subscriptions; absent where there are none. */
  readonly refused?: RefusedItems;
}

/** Customer-hours written to the journal at a time. */
const PAIRS_PER_BATCH = 5_000;
/** Customers taken at a time. */
const CUSTOMERS_PER_BATCH = 100;
/** After every window there can be. */
const END_OF_TIME = new Date(8.64e15);

/**
 * Queues what a changed customer or a new meter made due: the hours that hold usage go to the journal, and planning is
 * made to look again.
 *
 * The scan begins after the change is durable. So an event is either found by the scan, or it is written later and has
 * a journal entry of its own, which is derived under the change. Each step can be done any number of times; the mark is
 * removed last, and only if nothing changed since it was read.
 */
export async function requeueUsage(
  deps: RequeueUsageDeps,
  input: { signal?: AbortSignal } = {},
): Promise<RequeueUsageResult> {
  let meters = 0;
  let hours = 0;
  for (const meter of await deps.meters.listToRequeue()) {
    if (input.signal?.aborted === true) break;
    hours += await requeueMeter(deps, meter);
    meters += 1;
  }
  const refusals = new Refusals();
  const customers = await requeueCustomers(deps, { refusals, signal: input.signal });
  return { customers: customers.count, meters, hours: hours + customers.hours, ...refusals.result() };
}

async function requeueMeter(deps: RequeueUsageDeps, meter: Requeued & { eventType: string }): Promise<number> {
  if (meter.requeueFrom === undefined) return 0;
  const fromHour = epochHourOf(meter.requeueFrom.getTime());
  const hours = await recordHours(deps, { fromHour, eventType: meter.eventType });
  await deps.meters.finishRequeue(meter._id, meter.revision);
  await boundary('requeue.meter-finished');
  return hours;
}

/** Takes batches until a whole one was taken before: customers that change all the time wait for the next run. */
async function requeueCustomers(
  deps: RequeueUsageDeps,
  { refusals, signal }: { refusals: Refusals; signal: AbortSignal | undefined },
): Promise<{ count: number; hours: number }> {
  const taken = new Set<string>();
  const looked = new Set<string>();
  let hours = 0;
  for (;;) {
    const batch = await deps.customers.listToRequeue(CUSTOMERS_PER_BATCH);
    const fresh = batch.filter(({ _id }) => !taken.has(_id));
    if (fresh.length === 0) return { count: taken.size, hours };
    for (const customer of fresh) {
      // What is marked stays marked: the next run goes on.
      if (signal?.aborted === true) return { count: taken.size, hours };
      // It may have been mapped just now, or another process may have set an older calendar: see mirror-calendar.
      const isChanged = !looked.has(customer._id) && (await mirrorCalendar(deps, customer._id, refusals));
      looked.add(customer._id);
      // One that changed is due from another instant on: the next batch has it again.
      if (isChanged) continue;
      hours += await requeueCustomer(deps, customer);
      taken.add(customer._id);
    }
  }
}

/** One whose calendar cannot follow is queued by the calendar that it has: neither it nor the others wait for a person. */
async function mirrorCalendar(deps: RequeueUsageDeps, customerId: string, refusals: Refusals): Promise<boolean> {
  return deps.mirrorCalendar(customerId).catch((error: unknown) => {
    refusals.note(`calendar of customer ${customerId}`, error);
    return false;
  });
}

async function requeueCustomer(deps: RequeueUsageDeps, customer: Requeued): Promise<number> {
  const { _id: customerId, requeueFrom } = customer;
  if (requeueFrom === undefined) return 0;
  const fromHour = epochHourOf(requeueFrom.getTime());
  const hours = await recordHours(deps, { fromHour, customerId });
  const billing = (await deps.customers.billingOf([customerId])).get(customerId) ?? unknownCustomer(customerId);
  const periodFrom = new Date(billingPeriodOf(billing, requeueFrom.getTime()).fromMs);
  const windowFrom = new Date(fromHour * HOUR_MS);
  for (const { _id: meter, aggregation } of await deps.meters.list()) {
    if (isAdditive(aggregation)) {
      await deps.aggregates.setPlanDue({ customerId, meter, from: windowFrom, to: END_OF_TIME });
    } else {
      await deps.periods.setPlanDue({ customerId, meter, from: periodFrom });
    }
    await boundary('requeue.planning-made-due');
  }
  await deps.customers.finishRequeue(customerId, customer.revision);
  await boundary('requeue.customer-finished');
  return hours;
}

async function recordHours(
  deps: RequeueUsageDeps,
  query: { fromHour: EpochHour; customerId?: string; eventType?: string },
): Promise<number> {
  let hours = 0;
  for await (const pairs of deps.usageEvents.pairsFrom({ ...query, batchSize: PAIRS_PER_BATCH })) {
    await deps.dirtyHours.recordPairs(pairs, new Date(deps.clock.now()));
    await boundary('requeue.hours-recorded');
    hours += pairs.length;
  }
  return hours;
}
