import type { Stripe } from 'stripe';
import { isMissing, toStripeError } from './errors.ts';
import type { Pace } from './paging.ts';

/** Reads customers as they are now. */
export class StripeCustomers {
  readonly #stripe: Stripe;
  readonly #pace: Pace;

  constructor(stripe: Stripe, pace: Pace) {
    this.#stripe = stripe;
    this.#pace = pace;
  }

  /** Whether Stripe has a customer of this id; one that was deleted is none. @throws DaemonError */
  async exists(id: string): Promise<boolean> {
    await this.#pace();
    try {
      return (await this.#stripe.customers.retrieve(id)).deleted !== true;
    } catch (error) {
      if (isMissing(error)) return false;
      throw toStripeError(error);
    }
  }
}
