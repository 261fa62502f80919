import type { StripeWrites, WriteFailure } from '../../stripe/writes.ts';

/** What came of one call to cancel a meter event. */
export type CancelOutcome =
  | { readonly kind: 'done' }
  /** Stripe does not know the event, took it more than 24 hours ago, or cancelled it before. */
  | { readonly kind: 'refused'; readonly reason: string }
  /** No answer, or one that says nothing of the event. */
  | { readonly kind: 'unanswered'; readonly reason: string };

/** Cancels meter events (v1), which Stripe allows within 24 hours of receiving them. */
export class MeterEventAdjustments {
  readonly #writes: Pick<StripeWrites, 'attempt'>;

  constructor(writes: Pick<StripeWrites, 'attempt'>) {
    this.#writes = writes;
  }

  /**
   * Cancels by identifier. Doing it again is safe: a cancelled event stays cancelled. Whether it was cancelled cannot be
   * looked up at Stripe, so each call has a key of its own, numbered by whoever stores the calls.
   */
  async cancel(call: { identifier: string; eventName: string; idempotencyKey: string }): Promise<CancelOutcome> {
    const params = { event_name: call.eventName, type: 'cancel' as const, cancel: { identifier: call.identifier } };
    const answer = await this.#writes.attempt('cancelMeterEvent', params, call.idempotencyKey);
    return answer.kind === 'done' ? { kind: 'done' } : toCancelRefusal(answer);
  }
}

/** What Stripe's answer to a call to cancel a meter event says of the event: refused, or nothing. */
function toCancelRefusal({ kind, error }: WriteFailure): { kind: 'refused' | 'unanswered'; reason: string } {
  const { statusCode, code, type } = error;
  if (kind === 'unanswered') return { kind: 'unanswered', reason: 'no_answer' };
  const isRefused = statusCode === 400 || statusCode === 404;
  return { kind: isRefused ? 'refused' : 'unanswered', reason: code ?? (isRefused ? type : `http_${statusCode}`) };
}
