import type { Stripe } from 'stripe';
import type { AdvanceOutcome } from '../domain/guard-call.ts';
import { toAdvanceRefusal } from './errors.ts';
import type { Pace } from './paging.ts';

/** One call that holds an invoice or lets it go. */
export interface AdvanceCall {
  readonly invoiceId: string;
  /** Whether Stripe finalises a draft, and collects an open invoice, by itself. */
  readonly autoAdvance: boolean;
  readonly idempotencyKey: string;
}

/** Changes whether invoices advance by themselves, and nothing else of them. */
export class InvoiceAdvance {
  readonly #stripe: Stripe;
  readonly #pace: Pace;

  constructor(stripe: Stripe, pace: Pace) {
    this.#stripe = stripe;
    this.#pace = pace;
  }

  async set({ invoiceId, autoAdvance, idempotencyKey }: AdvanceCall): Promise<AdvanceOutcome> {
    await this.#pace();
    try {
      await this.#stripe.invoices.update(invoiceId, { auto_advance: autoAdvance }, { idempotencyKey });
      return { kind: 'done' };
    } catch (error) {
      return toAdvanceRefusal(error);
    }
  }
}
