import type { Stripe } from 'stripe';
import { toStripeError } from './errors.ts';

/**
 * Stripe's clock, from the `Date` header of a cheap call; undefined when it sends none. Whole seconds.
 * @throws DaemonError `stripe_key_refused` or `stripe_unavailable`.
 */
export async function readStripeTime(stripe: Stripe): Promise<number | undefined> {
  try {
    const { lastResponse } = await stripe.billing.meters.list({ limit: 1 });
    const instantMs = Date.parse(lastResponse.headers['date'] ?? '');
    return Number.isNaN(instantMs) ? undefined : instantMs;
  } catch (error) {
    throw toStripeError(error);
  }
}
