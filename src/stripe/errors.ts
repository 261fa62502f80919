import { Stripe } from 'stripe';
import type { AdvanceOutcome } from '../domain/guard-call.ts';
import type { SendOutcome } from '../domain/submission.ts';
import { DaemonError } from '../errors.ts';

/**
 * The one place where a message decides: v1 refuses a repeated identifier with a 400 that has no code
 * ("An event already exists with identifier …"). It means that the event was delivered before.
 */
const ALREADY_EXISTS = /already exists with identifier/i;

/** Which parameter a refusal without a code is about, and so what it says: v1 was seen to send none. */
const CODES_BY_PARAMETER: Readonly<Record<string, string>> = { event_name: 'no_meter', timestamp: 'timestamp_refused' };

/**
 * What an error of a call to create a meter event says of the submission.
 * @param call when the usage is from, and when it was sent: they tell which bound a timestamp was beyond.
 */
export function toSendOutcome(error: unknown, call: { timestampMs: number; nowMs: number }): SendOutcome {
  if (!(error instanceof Stripe.errors.StripeError)) throw error;
  const { statusCode, message } = error;
  const code = error.code ?? CODES_BY_PARAMETER[error.param ?? ''];
  const reason = code ?? error.type;
  if (error instanceof Stripe.errors.StripeConnectionError || statusCode === undefined) {
    return { kind: 'unanswered', reason: 'no_answer' };
  }
  if (statusCode >= 500) return { kind: 'server-error', reason: `http_${statusCode}` };
  if (statusCode === 409 || code === 'lock_timeout') return { kind: 'declined', reason, isBusy: true };
  if (statusCode === 429) return { kind: 'declined', reason };
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

/** What an error of a call to cancel a meter event says of the event: refused, or nothing. Throws what is not Stripe's. */
export function toCancelRefusal(error: unknown): { kind: 'refused' | 'unanswered'; reason: string } {
  if (!(error instanceof Stripe.errors.StripeError)) throw error;
  const { statusCode, code, type } = error;
  if (statusCode === undefined) return { kind: 'unanswered', reason: 'no_answer' };
  const isRefused = statusCode === 400 || statusCode === 404;
  return { kind: isRefused ? 'refused' : 'unanswered', reason: code ?? (isRefused ? type : `http_${statusCode}`) };
}

/** What an error of a call to hold or release an invoice says of the invoice. Throws what is not Stripe's. */
export function toAdvanceRefusal(error: unknown): AdvanceOutcome {
  if (!(error instanceof Stripe.errors.StripeError)) throw error;
  const { statusCode, message } = error;
  // 409 and 429 come before Stripe looks for the key (API reference).
  if (statusCode === undefined || statusCode === 409 || statusCode === 429) return { kind: 'failed', kept: 'no' };
  // Once the endpoint has begun, its answer is kept under the idempotency key, also a 5xx, and is marked when repeated.
  const kept = error.headers?.['idempotent-replayed'] === 'true' ? 'yes' : 'perhaps';
  return statusCode >= 500 ? { kind: 'failed', kept } : { kind: 'refused', message, kept };
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
