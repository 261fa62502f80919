import type { AdvanceOutcome } from './guard-call.ts';
import type { Pace } from '../stripe/paging.ts';
import type { StripeWrites, WriteFailure } from '../stripe/writes.ts';

/** One call that holds an invoice or lets it go. */
export interface AdvanceCall {
  readonly invoiceId: string;
  /** Whether Stripe finalises a draft, and collects an open invoice, by itself. */
  readonly autoAdvance: boolean;
  readonly idempotencyKey: string;
}

/** Changes whether invoices advance by themselves, and nothing else of them. */
export class InvoiceAdvance {
  readonly #writes: Pick<StripeWrites, 'attempt'>;
  readonly #pace: Pace;

  constructor(writes: Pick<StripeWrites, 'attempt'>, pace: Pace) {
    this.#writes = writes;
    this.#pace = pace;
  }

  /** Once: the guard numbers the keys, looks at the invoice before, and makes the call again. */
  async set({ invoiceId, autoAdvance, idempotencyKey }: AdvanceCall): Promise<AdvanceOutcome> {
    await this.#pace();
    const answer = await this.#writes.attempt('setAutoAdvance', { invoiceId, autoAdvance }, idempotencyKey);
    return answer.kind === 'done' ? { kind: 'done' } : toAdvanceRefusal(answer);
  }
}

/** What Stripe's answer to a call to hold or release an invoice says of the invoice. */
function toAdvanceRefusal(failure: WriteFailure): AdvanceOutcome {
  if (failure.kind === 'unanswered' || failure.kind === 'declined') return { kind: 'failed', kept: 'no' };
  const { kept } = failure;
  return failure.kind === 'failed'
    ? { kind: 'failed', kept }
    : { kind: 'refused', message: failure.error.message, kept };
}
