import type { Stripe } from 'stripe';
import { DaemonError } from '../platform/errors.ts';
import { toStripeError } from '../stripe/errors.ts';

/**
 * The id of the key's own account; undefined when the key may not ask for it.
 * @throws DaemonError `stripe_unavailable`.
 */
export async function readAccountId(stripe: Stripe): Promise<string | undefined> {
  try {
    return (await stripe.accounts.retrieve(null)).id;
  } catch (error) {
    const translated = toStripeError(error);
    if (translated instanceof DaemonError && translated.kind === 'rejected') return undefined;
    throw translated;
  }
}
