import { Stripe } from 'stripe';
import type { AdvanceOutcome } from '../invoice-guard/guard-call.ts';
import type { SendOutcome } from '../submissions/submission.ts';
import { DaemonError } from '../platform/errors.ts';
import type { WriteFailure } from './writes.ts';

/**
 * The one place where a message decides: v1 refuses a repeated identifier with a 400 that has no code
 * ("An event already exists with identifier …"). It means that the event was delivered before.
 */
const ALREADY_EXISTS = /already exists with identifier/i;

/** Which parameter a refusal without a code is about, and so what it says: v1 was seen to send none. */
const CODES_BY_PARAMETER: Readonly<Record<string, string>> = { event_name: 'no_meter', timestamp: 'timestamp_refused' };

/**
 * What Stripe's answer to a call to create a meter event says of the submission.
 * @param call when the usage is from, and when it was sent: they tell which bound a timestamp was beyond.
 */
export function toSendOutcome(failure: WriteFailure, call: { timestampMs: number; nowMs: number }): SendOutcome {
  const { error } = failure;
  const { statusCode, message } = error;
  const code = error.code ?? CODES_BY_PARAMETER[error.param ?? ''];
  const reason = code ?? error.type;
  if (failure.kind === 'unanswered') return { kind: 'unanswered', reason: 'no_answer' };
  if (failure.kind === 'failed') return { kind: 'server-error', reason: `http_${statusCode}` };
  if (failure.kind === 'declined') {
    const isBusy = statusCode === 409 || code === 'lock_timeout';
    return { kind: 'declined', reason, ...(isBusy && { isBusy }) };
  }
  if (statusCode === 401 || statusCode === 403) return { kind: 'declined', reason: 'stripe_key_refused' };
  if (code === 'duplicate_meter_event' || (error.code === undefined && ALREADY_EXISTS.test(message))) {
    return { kind: 'duplicate' };
  }
  // Something else was sent under this identifier, by a ledger that a backup has made forget it. What it came to is seen
  // by reconciliation; under another identifier it would be counted twice.
  if (error instanceof Stripe.errors.StripeIdempotencyError) return { kind: 'duplicate' };
  const isTimestamp = code?.startsWith('timestamp_') === true;
  if (isTimestamp && call.timestampMs > call.nowMs) return { kind: 'rejected', reason: 'timestamp_in_future', message };
  if (isTimestamp) return { kind: 'blocked', reason: 'timestamp_too_old' };
  if (code === 'resource_missing') return { kind: 'blocked', reason: 'customer_not_found' };
  if (code === 'no_meter') return { kind: 'blocked', reason: 'meter_missing' };
  if (code === 'archived_meter') return { kind: 'blocked', reason: 'meter_inactive' };
  return { kind: 'rejected', reason, message };
}

/** Whether Stripe has no object of the id that was asked for. */
export function isMissing(error: unknown): boolean {
  return error instanceof Stripe.errors.StripeError && error.statusCode === 404 && error.code === 'resource_missing';
}

/** What Stripe's answer to a call to cancel a meter event says of the event: refused, or nothing. */
export function toCancelRefusal({ kind, error }: WriteFailure): { kind: 'refused' | 'unanswered'; reason: string } {
  const { statusCode, code, type } = error;
  if (kind === 'unanswered') return { kind: 'unanswered', reason: 'no_answer' };
  const isRefused = statusCode === 400 || statusCode === 404;
  return { kind: isRefused ? 'refused' : 'unanswered', reason: code ?? (isRefused ? type : `http_${statusCode}`) };
}

/** What Stripe's answer to a call to hold or release an invoice says of the invoice. */
export function toAdvanceRefusal(failure: WriteFailure): AdvanceOutcome {
  if (failure.kind === 'unanswered' || failure.kind === 'declined') return { kind: 'failed', kept: 'no' };
  const { kept } = failure;
  return failure.kind === 'failed'
    ? { kind: 'failed', kept }
    : { kind: 'refused', message: failure.error.message, kept };
}

/** Translates an error of any other call. */
export function toStripeError(error: unknown): unknown {
  if (!(error instanceof Stripe.errors.StripeError)) return error;
  const { statusCode } = error;
  const isTransient = statusCode === undefined || statusCode >= 500 || statusCode === 429 || statusCode === 409;
  const isKey = statusCode === 401 || statusCode === 403;
  return new DaemonError({
    kind: isTransient ? 'transient' : 'rejected',
    code: isTransient ? 'stripe_unavailable' : isKey ? 'stripe_key_refused' : 'stripe_refused',
    message: describeAnswer(error),
    context: { statusCode, stripeCode: error.code, param: error.param },
    cause: error,
  });
}

/** What Stripe answered, in a sentence: that it did not answer is said of nothing else. */
export function describeAnswer({ statusCode, message }: InstanceType<typeof Stripe.errors.StripeError>): string {
  if (statusCode === undefined) return `Stripe did not answer: ${message}`;
  if (statusCode === 429) return 'Stripe asks for fewer calls (429); the call is made again later.';
  if (statusCode >= 500 || statusCode === 409) return `Stripe answered ${statusCode}: ${message}`;
  return `Stripe refused: ${message}`;
}
