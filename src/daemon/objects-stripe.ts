import type { Stripe } from 'stripe';
import { readAccountId } from '../webhooks/account-stripe.ts';
import { StripeCustomers } from '../customers/customers-stripe.ts';
import { StripeEvents } from '../webhooks/events-stripe.ts';
import { InvoiceAdvance } from '../invoice-guard/invoice-advance-stripe.ts';
import { StripeInvoices } from '../mirror/invoices-stripe.ts';
import type { Pace } from '../stripe/paging.ts';
import { StripeSubscriptions } from '../mirror/subscriptions-stripe.ts';
import type { StripeWrites } from '../stripe/writes.ts';

/** What is read of the account, each call in its turn. */
export interface StripeObjects {
  readonly customers: StripeCustomers;
  readonly subscriptions: StripeSubscriptions;
  readonly invoices: StripeInvoices;
  readonly invoiceAdvance: InvoiceAdvance;
  readonly events: StripeEvents;
  /** The account's id, remembered once it is known; undefined when the key may not ask. */
  accountId(): Promise<string | undefined>;
}

export function openStripeObjects(
  { stripe, writes }: { stripe: Stripe; writes: Pick<StripeWrites, 'attempt'> },
  pace: Pace,
): StripeObjects {
  let accountId: string | undefined;
  return {
    customers: new StripeCustomers(stripe, pace),
    subscriptions: new StripeSubscriptions(stripe, pace),
    invoices: new StripeInvoices(stripe, pace),
    invoiceAdvance: new InvoiceAdvance(writes, pace),
    events: new StripeEvents(stripe, pace),
    accountId: async () => {
      accountId ??= await pace().then(() => readAccountId(stripe));
      return accountId;
    },
  };
}
