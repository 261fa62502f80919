import type { Stripe } from 'stripe';
import { toStripeError } from './errors.ts';

/** Something that the daemon reads at Stripe, and whether the key may. */
export interface ReadRight {
  readonly what: string;
  readonly isAllowed: boolean;
}

const FORBIDDEN = 403;

/**
 * Tries every kind of read that the daemon makes, one object of each. What a key may write cannot be tried without
 * writing, and is not.
 * @throws DaemonError when Stripe refuses the key as such, or does not answer.
 */
export async function probeReadRights(stripe: Stripe): Promise<ReadRight[]> {
  const one = { limit: 1 };
  const reads: readonly (readonly [string, () => Promise<unknown>])[] = [
    ['meters', () => stripe.billing.meters.list(one)],
    ['customers', () => stripe.customers.list(one)],
    ['subscriptions', () => stripe.subscriptions.list(one)],
    ['invoices', () => stripe.invoices.list(one)],
    ['prices', () => stripe.prices.list(one)],
    ['events', () => stripe.events.list(one)],
  ];
  const rights: ReadRight[] = [];
  for (const [what, read] of reads) {
    const isAllowed = await read().then(
      () => true,
      (error: unknown) => {
        if ((error as { statusCode?: unknown }).statusCode === FORBIDDEN) return false;
        throw toStripeError(error);
      },
    );
    rights.push({ what, isAllowed });
  }
  return rights;
}
