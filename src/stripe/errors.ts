import { Stripe } from 'stripe';
import { DaemonError } from '../platform/errors.ts';

/** Whether Stripe has no object of the id that was asked for. */
export function isMissing(error: unknown): boolean {
  return error instanceof Stripe.errors.StripeError && error.statusCode === 404 && error.code === 'resource_missing';
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
