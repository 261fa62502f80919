import type { Clock } from '../platform/clock.ts';
import {
  type BillingCustomer,
  countsFromMs,
  countsToMs,
  unknownCustomer,
} from '../customers/calendar/billing-customer.ts';
import type { Meter, MeterCondition } from '../meters/meter.ts';
import { DaemonError } from '../platform/errors.ts';
import { rangeOf } from '../customers/calendar/asked-range.ts';

/** Where a page of facts ended. */
export interface FactPosition {
  readonly occurredAtMs: number;
  readonly id: string;
  readonly kind: 'event' | 'adjustment';
}

interface RawFactQuery {
  readonly customerId: string;
  readonly fromMs: number;
  readonly toMs: number;
  readonly eventType?: string;
  readonly where?: readonly MeterCondition[];
  /** Only adjustments of this meter. */
  readonly meter?: string;
  readonly after?: FactPosition;
  readonly limit: number;
}

export interface ReadEventsDeps<Fact> {
  readonly clock: Pick<Clock, 'now'>;
  readonly customers: { billingOf(customerIds: readonly string[]): Promise<Map<string, BillingCustomer>> };
  /** The meter with a key, if there is one. */
  findMeter(key: string): Promise<Meter | undefined>;
  readonly rawFacts: { page(query: RawFactQuery): Promise<{ facts: Fact[]; next?: FactPosition }> };
}

export interface ReadEventsInput {
  readonly customerId: string;
  /** RFC 3339; with `to`. The current billing period without them. */
  readonly from?: string;
  readonly to?: string;
  /** Only what this meter counts. */
  readonly meter?: string;
  readonly after?: FactPosition;
  readonly limit: number;
}

/**
 * A page of the facts behind a customer's figure, in time order: usage events and adjustments. With a meter, those that
 * it looks at: events of its type, since it counts, and satisfying its conditions (among them may be some whose value it
 * could not count), and its own adjustments.
 * @throws DaemonError `range_invalid`, `range_too_long`, `meter_not_found`.
 */
export async function readEvents<Fact>(
  deps: ReadEventsDeps<Fact>,
  input: ReadEventsInput,
): Promise<{ facts: Fact[]; next?: FactPosition }> {
  const { customerId, after, limit } = input;
  const customer = (await deps.customers.billingOf([customerId])).get(customerId) ?? unknownCustomer(customerId);
  const range = rangeOf(customer, input, deps.clock.now());
  const paging = { customerId, limit, ...(after !== undefined && { after }) };
  if (input.meter === undefined) return deps.rawFacts.page({ ...paging, ...range });
  const meter = await deps.findMeter(input.meter);
  if (meter === undefined) {
    throw new DaemonError({
      kind: 'not-found',
      code: 'meter_not_found',
      message: 'There is no meter with this key.',
      context: { meter: input.meter },
    });
  }
  const fromMs = Math.max(range.fromMs, countsFromMs(meter, customer));
  const toMs = Math.min(range.toMs, countsToMs(meter));
  if (fromMs >= toMs) return { facts: [] };
  return deps.rawFacts.page({
    ...paging,
    fromMs,
    toMs,
    eventType: meter.eventType,
    where: meter.where,
    meter: meter.key,
  });
}
