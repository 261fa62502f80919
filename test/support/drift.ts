/** Ways in which Stripe comes to hold something else than we sent, and a reconciliation that is due to mend it. */
import { HOUR_MS, MINUTE_MS } from '../../src/platform/durations.ts';
import { ingestEvents, meterOf, storeMeters } from './usage.ts';
import type { Pipeline } from './pipeline.ts';

/** What each customer uses: 7 in one hour, 3 in the next. */
export const USED = '10';

/** A customer whose usage has been sent. */
export interface SentCustomer {
  readonly customerId: string;
  readonly stripeCustomerId: string;
  /** The submission of 7, and its hour. */
  readonly identifier: string;
  readonly hourMs: number;
}

/** Stores the meter `calls` and makes it at Stripe. */
export async function prepareMeter(pipeline: Pipeline): Promise<void> {
  await storeMeters(pipeline.stores.database.db, [meterOf({ key: 'calls', stripe: { eventName: 'calls' } })]);
  await pipeline.run('sync-meters');
}

/** Mapped customers that each used 7 two hours ago and 3 an hour ago, all of which Stripe has taken. */
export async function sendUsage(pipeline: Pipeline, customerIds: readonly string[]): Promise<SentCustomer[]> {
  const thisHourMs = Math.floor(pipeline.clock.now() / HOUR_MS) * HOUR_MS;
  const at = (hours: number): string => new Date(thisHourMs - hours * HOUR_MS + MINUTE_MS).toISOString();
  const mapped = new Map<string, string>();
  for (const customerId of customerIds) mapped.set(customerId, await pipeline.mapCustomer(customerId));
  await ingestEvents(
    pipeline.stores.database.db,
    customerIds.flatMap((customerId) => [
      { customerId, at: at(2), quantity: '7' },
      { customerId, at: at(1), quantity: '3' },
    ]),
  );
  await pipeline.run('aggregate-usage');
  await pipeline.run('submit-meter-events');
  const sent = await pipeline.stores.submissions.list({ limit: 1_000 });
  return customerIds.map((customerId) => {
    const submission = sent.find((one) => one.customerId === customerId && one.value.toString() === '7');
    const stripeCustomerId = mapped.get(customerId) ?? '';
    return { customerId, stripeCustomerId, identifier: submission?._id ?? '', hourMs: thisHourMs - 2 * HOUR_MS };
  });
}

/** Takes an event out of Stripe's total without our knowing, as an asynchronous loss would. */
export function loseAtStripe({ simulator }: Pick<Pipeline, 'simulator'>, identifier: string): Promise<void> {
  return call(simulator.url, '/v1/billing/meter_event_adjustments', {
    event_name: 'calls',
    type: 'cancel',
    'cancel[identifier]': identifier,
  });
}

/** Adds usage to Stripe's total that is not ours. */
export function addAtStripe({ simulator }: Pipeline, sent: SentCustomer, value: string): Promise<void> {
  return call(simulator.url, '/v1/billing/meter_events', {
    event_name: 'calls',
    identifier: `foreign-${sent.customerId}-${value}`,
    timestamp: String(sent.hourMs / 1000),
    'payload[stripe_customer_id]': sent.stripeCustomerId,
    'payload[value]': value,
  });
}

async function call(url: string, path: string, form: Record<string, string>): Promise<void> {
  const response = await fetch(url + path, {
    method: 'POST',
    headers: { authorization: 'Bearer sk_test_other', 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams(form),
  });
  if (!response.ok) throw new Error(`the simulator answered ${response.status}: ${await response.text()}`);
}

/** Replaces a submission that Stripe did count: once its successor is sent, both count. */
export async function countTwice(pipeline: Pipeline, sent: SentCustomer): Promise<void> {
  await pipeline.stores.ledger.replace(sent.identifier, { reason: 'test', at: new Date(pipeline.clock.now()) });
}

/** Makes the first of two reads beyond the lag, and waits for the time of the second. */
export async function settle(pipeline: Pipeline, input: { customerId?: string; lagMs?: number } = {}): Promise<void> {
  const { lagMs = 13 * HOUR_MS, ...one } = input;
  await pipeline.run('submit-meter-events');
  pipeline.clock.advance(lagMs);
  await pipeline.run('reconcile-usage', one);
  pipeline.clock.advance(11 * MINUTE_MS);
}
