import type { Stripe } from 'stripe';
import { DaemonError } from '../platform/errors.ts';
import { within } from '../platform/time-limit.ts';
import { isMissing, toStripeError } from '../stripe/errors.ts';
import type { Pace } from '../stripe/paging.ts';

/** How long someone who waits for an answer waits for Stripe's. */
const CHECK_MS_MAX = 5_000;

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

  /** The same while somebody waits: `unknown` where Stripe does not say within a few seconds, or not to this key. */
  async check(id: string): Promise<'found' | 'not-found' | 'unknown'> {
    const asked = this.exists(id).then(
      (isThere) => (isThere ? ('found' as const) : ('not-found' as const)),
      (error: unknown) => {
        if (error instanceof DaemonError) return 'unknown' as const;
        throw error;
      },
    );
    return within(CHECK_MS_MAX, asked, () => 'unknown' as const);
  }
}
