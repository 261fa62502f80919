import type { Stripe } from 'stripe';
import { toCancelRefusal } from './errors.ts';

/** What came of one call to cancel a meter event. */
export type CancelOutcome =
  | { readonly kind: 'done' }
  /** Stripe does not know the event, took it more than 24 hours ago, or cancelled it before. */
  | { readonly kind: 'refused'; readonly reason: string }
  /** No answer, or one that says nothing of the event. */
  | { readonly kind: 'unanswered'; readonly reason: string };

/** Cancels meter events (v1), which Stripe allows within 24 hours of receiving them. */
export class MeterEventAdjustments {
  readonly #stripe: Stripe;

  constructor(stripe: Stripe) {
    this.#stripe = stripe;
  }

  /** Cancels by identifier. Doing it again is safe: a cancelled event stays cancelled. */
  async cancel(call: { identifier: string; eventName: string; idempotencyKey: string }): Promise<CancelOutcome> {
    try {
      await this.#stripe.billing.meterEventAdjustments.create(
        { event_name: call.eventName, type: 'cancel', cancel: { identifier: call.identifier } },
        { idempotencyKey: call.idempotencyKey },
      );
      return { kind: 'done' };
    } catch (error) {
      return toCancelRefusal(error);
    }
  }
}
