import type { Clock } from '../src/clock.ts';
import { type BillingCustomer, countsFromMs, unknownCustomer } from '../src/domain/billing-customer.ts';
import type { Meter, MeterCondition } from '../src/domain/meter.ts';
import { rangeOf } from '../src/domain/usage-query.ts';
import { DaemonError } from '../src/errors.ts';

/** Where a page of raw events ended. */
export interface EventPosition {
  readonly occurredAtMs: number;
  readonly id: string;
}

interface RawEventQuery {
  readonly customerId: string;
  readonly fromMs: number;
  readonly toMs: number;
  readonly eventType?: string;
  readonly where?: readonly MeterCondition[];
  readonly after?: EventPosition;
  readonly limit: number;
}

export interface ReadEventsDeps<Event> {
  readonly clock: Pick<Clock, 'now'>;
  readonly customers: { billingOf(customerIds: readonly string[]): Promise<Map<string, BillingCustomer>> };
  /** The meter with a key, if there is one. */
  findMeter(key: string): Promise<Meter | undefined>;
  readonly usageEvents: { page(query: RawEventQuery): Promise<{ events: Event[]; next?: EventPosition }> };
}

export interface ReadEventsInput {
  readonly customerId: string;
  /** RFC 3339; with `to`. The current billing period without them. */
  readonly from?: string;
  readonly to?: string;
  /** Only events that this meter counts. */
  readonly meter?: string;
  readonly after?: EventPosition;
  readonly limit: number;
}

/**
 * A page of the raw events behind a customer's figure, in time order. With a meter, those that it looks at: of its event
 * type, since it counts, and satisfying its conditions; among them may be some whose value it could not count.
 * @throws DaemonError `range_invalid`, `range_too_long`, `meter_not_found`.
 */
export async function readEvents<Event>(
  deps: ReadEventsDeps<Event>,
  input: ReadEventsInput,
): Promise<{ events: Event[]; next?: EventPosition }> {
  const { customerId, after, limit } = input;
  const customer = (await deps.customers.billingOf([customerId])).get(customerId) ?? unknownCustomer(customerId);
  const range = rangeOf(customer, input, deps.clock.now());
  const paging = { customerId, limit, ...(after !== undefined && { after }) };
  if (input.meter === undefined) return deps.usageEvents.page({ ...paging, ...range });
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
  if (fromMs >= range.toMs) return { events: [] };
  return deps.usageEvents.page({
    ...paging,
    fromMs,
    toMs: range.toMs,
    eventType: meter.eventType,
    where: meter.where,
  });
}
