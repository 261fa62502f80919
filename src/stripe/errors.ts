import { Stripe } from 'stripe';
import type { SendOutcome } from '../domain/submission.ts';
import { DaemonError } from '../errors.ts';

/**
 * The one place where a message decides: v1 refuses a repeated identifier with a 400 that has no code
 * ("An event already exists with identifier …"). It means that the event was delivered before.
 */
const ALREADY_EXISTS = /already exists with identifier/i;

/** What an error of a call to create a meter event says of the submission. */
export function toSendOutcome(error: unknown): SendOutcome {
  if (!(error instanceof Stripe.errors.StripeError)) throw error;
  const { statusCode, code, message } = error;
  const reason = code ?? error.type;
  if (error instanceof Stripe.errors.StripeConnectionError || statusCode === undefined) {
    return { kind: 'unanswered', reason: 'no_answer' };
  }
  if (statusCode >= 500) return { kind: 'server-error', reason: `http_${statusCode}` };
  if (statusCode === 429 || statusCode === 409) return { kind: 'declined', reason };
  if (statusCode === 401 || statusCode === 403) return { kind: 'declined', reason: 'stripe_key_refused' };
  if (code === 'duplicate_meter_event' || (code === undefined && ALREADY_EXISTS.test(message))) {
    return { kind: 'duplicate' };
  }
  if (code === 'resource_missing') return { kind: 'blocked', reason: 'customer_not_found' };
  if (code === 'no_meter') return { kind: 'blocked', reason: 'meter_missing' };
  if (code === 'archived_meter') return { kind: 'blocked', reason: 'meter_inactive' };
  return { kind: 'rejected', reason, message };
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
    message: isTransient ? 'Stripe did not answer.' : `Stripe refused: ${error.message}`,
    context: { statusCode, stripeCode: error.code },
    cause: error,
  });
}
