import type { Clock } from '../platform/clock.ts';
import { type BillingCustomer, countsFromMs } from '../customers/calendar/billing-customer.ts';
import type { Invoice } from '../mirror/invoice.ts';
import type { Meter } from '../meters/meter.ts';
import type { Period } from '../customers/calendar/period.ts';
import { addQuantities, isZeroQuantity, type Quantity } from '../platform/quantity.ts';
import type { Subscription } from '../mirror/subscription.ts';
import { type UnbilledUnknown, unbilledFromMs, unbilledSpans } from './unbilled-usage.ts';
import { boundary } from '../platform/boundary.ts';
import { CUSTOMERS_PER_BATCH, type ListPairsDeps } from './list-pairs.ts';
import type { FiguresDeps, Pair } from './pair.ts';
import { readSums } from './read-figures.ts';
import { type DestinationMeter, modeOf } from '../meters/stripe-meter.ts';
import type { UnbilledPart } from '../customers/unbilled-reason.ts';

/** Usage of a customer's meter that nothing bills, part by part in time order. */
export interface UnbilledUsage {
  readonly customerId: string;
  readonly meter: string;
  readonly unit: string;
  readonly stripeCustomerId: string;
  readonly parts: readonly UnbilledPart[];
  /** Why that is meant, as a person said. */
  readonly accepted?: string;
}

export interface FindUnbilledDeps extends ListPairsDeps, FiguresDeps {
  /** The meters of which a customer has submissions. */
  submittedMeters(customerId: string): Promise<readonly string[]>;
  /** By customer id, why nothing is to bill its usage. */
  unbilledReasons(customerIds: readonly string[]): Promise<ReadonlyMap<string, string>>;
  readonly subscriptions: {
    ofCustomers(stripeCustomerIds: readonly string[]): Promise<ReadonlyMap<string, readonly Subscription[]>>;
  };
  readonly invoices: {
    billingUsage(stripeCustomerIds: readonly string[], since: Date): Promise<ReadonlyMap<string, readonly Invoice[]>>;
  };
  /** Up to when the mirror holds what happened at Stripe; undefined before it was filled. */
  mirroredTo(): Promise<Date | undefined>;
  readonly unbilled: {
    save(found: readonly UnbilledUsage[], look: Look): Promise<void>;
    /** Forgets what this look did not find again: of everybody, or of one customer. */
    prune(look: Look, customerId?: string): Promise<void>;
    saveCheck(check: { at: Date; elapsedMs: number; mirroredTo?: Date; unknown?: UnbilledUnknown }): Promise<void>;
  };
  /** An id for a look, never used before. */
  newId(): string;
  readonly clock: Pick<Clock, 'now'>;
}

interface Look {
  readonly id: string;
  readonly at: Date;
}

export interface FindUnbilledResult extends Readonly<Record<string, unknown>> {
  /** Customers' meters with usage that nothing bills, and how many of them are meant to be so. */
  readonly unbilled: number;
  readonly accepted: number;
  /** Why it could not be said. */
  readonly unknown?: UnbilledUnknown;
}

/**
 * Looks which usage at Stripe is on no invoice and comes onto none: customers without a subscription, meters that no
 * item has a price on, usage from before an item began. It asks the mirror of subscriptions and invoices alone, and adds
 * up submissions only where something is not billed: a cost by customers, not by events. Before the mirror was filled
 * nothing is said: not to know is not to be unbilled.
 */
export async function findUnbilledUsage(
  deps: FindUnbilledDeps,
  input: { customerId?: string; signal?: AbortSignal } = {},
): Promise<FindUnbilledResult> {
  const startedAtMs = deps.clock.now();
  const at = new Date(startedAtMs);
  const mirroredTo = await deps.mirroredTo();
  if (mirroredTo === undefined) {
    const unknown = 'subscriptions_not_read';
    await deps.unbilled.saveCheck({ at, elapsedMs: 0, unknown });
    return { unbilled: 0, accepted: 0, unknown };
  }
  const look = { id: deps.newId(), at };
  const meters = await listStripeMeters(deps);
  const ids = input.customerId === undefined ? await deps.customerIds() : [input.customerId];
  let [unbilled, accepted] = [0, 0];
  for (let from = 0; from < ids.length; from += CUSTOMERS_PER_BATCH) {
    if (input.signal?.aborted === true) return { unbilled, accepted };
    const found = await ofBatch(deps, ids.slice(from, from + CUSTOMERS_PER_BATCH), { meters, nowMs: startedAtMs });
    await deps.unbilled.save(found, look);
    await boundary('unbilled.batch-saved');
    unbilled += found.length;
    accepted += found.filter((usage) => usage.accepted !== undefined).length;
  }
  await deps.unbilled.prune(look, input.customerId);
  if (input.customerId === undefined) {
    await deps.unbilled.saveCheck({ at, elapsedMs: deps.clock.now() - startedAtMs, mirroredTo });
  }
  return { unbilled, accepted };
}

interface StripeMeterOf {
  readonly meter: Meter;
  readonly stripeMeter: DestinationMeter;
}

/** Our meters that Stripe has; what goes to others is blocked, and says so. */
async function listStripeMeters(deps: FindUnbilledDeps): Promise<StripeMeterOf[]> {
  const stripeMeters = new Map((await deps.stripeMeters()).map((meter) => [meter.eventName, meter]));
  return (await deps.meters()).flatMap((meter) => {
    const stripeMeter = stripeMeters.get(meter.stripe?.eventName ?? '');
    return stripeMeter === undefined ? [] : [{ meter, stripeMeter }];
  });
}

async function ofBatch(
  deps: FindUnbilledDeps,
  customerIds: readonly string[],
  { meters, nowMs }: { meters: readonly StripeMeterOf[]; nowMs: number },
): Promise<UnbilledUsage[]> {
  const customers = [...(await deps.billingOf(customerIds)).values()];
  const mapped = customers.flatMap(({ stripeCustomerId = '' }) => (stripeCustomerId === '' ? [] : [stripeCustomerId]));
  const subscriptions = await deps.subscriptions.ofCustomers(mapped);
  const invoices = await deps.invoices.billingUsage(mapped, new Date(unbilledFromMs(nowMs)));
  const reasons = await deps.unbilledReasons(customerIds);
  const found: UnbilledUsage[] = [];
  for (const customer of customers) {
    const { customerId, stripeCustomerId } = customer;
    // Without a Stripe customer it is blocked, and says so.
    if (stripeCustomerId === undefined) continue;
    const known = { subscriptions: subscriptions.get(stripeCustomerId) ?? [], nowMs };
    const gaps = meters
      .map((one) => ({
        ...one,
        spans: spansOf(customer, one, { ...known, invoices: invoices.get(stripeCustomerId) ?? [] }),
      }))
      .filter(({ spans }) => spans.length > 0);
    const submitted = gaps.length === 0 ? [] : await deps.submittedMeters(customerId);
    for (const { meter, stripeMeter, spans } of gaps.filter((gap) => submitted.includes(gap.meter.key))) {
      const parts: UnbilledPart[] = [];
      for (const span of spans) {
        const quantity = await atStripe(deps, { customer, meter, stripeMeter, period: span });
        if (!isZeroQuantity(quantity)) parts.push({ ...span, quantity });
      }
      const accepted = reasons.get(customerId);
      const of = { customerId, meter: meter.key, unit: meter.unit, stripeCustomerId };
      if (parts.length > 0) found.push({ ...of, parts, ...(accepted !== undefined && { accepted }) });
    }
  }
  return found;
}

/** Where nothing bills a customer's usage of a meter, of the days that are looked at. */
function spansOf(
  customer: BillingCustomer,
  { meter, stripeMeter }: StripeMeterOf,
  known: Parameters<typeof unbilledSpans>[2],
): ReturnType<typeof unbilledSpans> {
  const fromMs = Math.max(unbilledFromMs(known.nowMs), customer.submitFromMs ?? 0, countsFromMs(meter, customer));
  return fromMs >= known.nowMs ? [] : unbilledSpans(stripeMeter.id, { fromMs, toMs: known.nowMs }, known);
}

/** What Stripe has taken of a span, and what is on its way there. */
async function atStripe(
  deps: FiguresDeps,
  of: StripeMeterOf & { customer: BillingCustomer; period: Period },
): Promise<Quantity> {
  const { customer, meter, stripeMeter, period } = of;
  const { fromMs, toMs } = period;
  const pair: Pair = { customer, meter, stripeMeter, period, fromMs, mode: modeOf(meter, stripeMeter) };
  const sums = await readSums(deps, pair, { customerId: customer.customerId, meter: meter.key, fromMs, toMs });
  return addQuantities(sums.delivered, sums.inFlight);
}

/** What of these parts lies in a pair's compared range; undefined where nothing does. */
export async function unbilledOfPair(
  deps: FiguresDeps,
  pair: Pair,
  parts: readonly UnbilledPart[],
): Promise<{ quantity: Quantity; reasons: UnbilledPart['reason'][] } | undefined> {
  const { customer, meter, stripeMeter } = pair;
  if (stripeMeter === undefined) return undefined;
  const reasons = new Set<UnbilledPart['reason']>();
  let quantity: Quantity = '0';
  for (const { reason, ...part } of parts) {
    const period = { fromMs: Math.max(part.fromMs, pair.fromMs), toMs: Math.min(part.toMs, pair.period.toMs) };
    if (period.fromMs >= period.toMs) continue;
    const added = await atStripe(deps, { customer, meter, stripeMeter, period });
    if (isZeroQuantity(added)) continue;
    quantity = addQuantities(quantity, added);
    reasons.add(reason);
  }
  return reasons.size === 0 ? undefined : { quantity, reasons: [...reasons] };
}
