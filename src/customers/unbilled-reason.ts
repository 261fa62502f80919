import type { Quantity } from '../platform/quantity.ts';
import type { Period } from './calendar/period.ts';

/**
 * Why no invoice will have usage that Stripe holds:
 * - `no_subscription`: the customer had none at that time;
 * - `no_item_for_meter`: it had one, and none of its items has a price on this meter;
 * - `before_item`: the item with such a price began later;
 * - `after_item`: it ended before;
 * - `subscription_paused`: Stripe makes no invoices while a subscription is paused;
 * - `no_invoice`: the subscription was cancelled within this period, and no invoice bills what was used until then.
 */
export type UnbilledReason =
  'no_subscription' | 'no_item_for_meter' | 'before_item' | 'after_item' | 'subscription_paused' | 'no_invoice';

export const UNBILLED_REASONS: readonly UnbilledReason[] = [
  'no_subscription',
  'no_item_for_meter',
  'before_item',
  'after_item',
  'subscription_paused',
  'no_invoice',
];

/** Half-open, UTC milliseconds: usage stamped in it is on no invoice and comes onto none. */
export interface UnbilledSpan extends Period {
  readonly reason: UnbilledReason;
}

/** What Stripe holds, or is on its way there, of such a span. */
export interface UnbilledPart extends UnbilledSpan {
  readonly quantity: Quantity;
}
