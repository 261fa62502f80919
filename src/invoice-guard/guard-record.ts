import type { GuardedLine } from './guarded-line.ts';
import type { GuardState, InvoiceGuard } from './invoice-guard.ts';

/** The guard of an invoice, as it is kept. */
export interface GuardRecord {
  /** Stripe's id of the invoice. */
  readonly invoiceId: string;
  readonly stripeCustomerId: string;
  /** Ours; absent until a customer of ours is known to be mapped. */
  readonly customerId?: string;
  readonly guard: InvoiceGuard;
  readonly lines: readonly GuardedLine[];
  /** For compare-and-set. */
  readonly revision: number;
  /** How often something was heard of the invoice. */
  readonly news: number;
}

/** One change of state, kept for ever. */
export interface GuardHistoryEntry {
  readonly at: Date;
  readonly state: GuardState | 'release-requested';
  readonly reason?: string;
  readonly actor?: string;
}
