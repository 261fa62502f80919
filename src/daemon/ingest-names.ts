import { isStripeCustomerId } from '../customers/calendar/billing-customer.ts';
import { TroubleLog } from '../platform/trouble-log.ts';
import type { JobParts } from './job-parts.ts';
import { KnownNames } from './known-names.ts';

/** What ingest warns of when it is not known. */
export interface IngestNames {
  /** Event types that a meter counts. */
  readonly eventTypes: KnownNames;
  /** Customers whose usage has a Stripe customer to go to. Without a key for Stripe every customer has. */
  readonly customers: KnownNames;
}

/** The memories of one process. A name made known by another process may be warned of for two seconds more. */
export function openIngestNames({ stores, stripe, clock, log }: JobParts): IngestNames {
  const troubles = new TroubleLog(log, clock);
  return {
    eventTypes: new KnownNames({
      find: async () => {
        const nowMs = clock.now();
        const counting = (await stores.meters.list()).filter(
          ({ archivedFrom }) => (archivedFrom?.getTime() ?? nowMs + 1) > nowMs,
        );
        return new Set(counting.map(({ eventType }) => eventType));
      },
      clock,
      onError: (err) => troubles.report({ phrase: 'could not read meters', fields: { err } }),
    }),
    customers: new KnownNames({
      find: async (ids) => {
        if (stripe === undefined) return new Set(ids);
        const customers = await stores.customers.billingOf(ids);
        return new Set(ids.filter((id) => isStripeCustomerId(id) || customers.get(id)?.stripeCustomerId !== undefined));
      },
      clock,
      onError: (err) => troubles.report({ phrase: 'could not read customers', fields: { err } }),
    }),
  };
}
