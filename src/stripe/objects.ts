import type { Stripe } from 'stripe';
import { readAccountId } from './account.ts';
import { StripeCustomers } from './customers.ts';
import { StripeEvents } from './events.ts';
import { InvoiceAdvance } from './invoice-advance.ts';
import { StripeInvoices } from './invoices.ts';
import type { Pace } from './paging.ts';
import { StripeSubscriptions } from './subscriptions.ts';
import type { StripeWrites } from './writes.ts';

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
