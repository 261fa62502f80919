import { Stripe } from 'stripe';
import type { Clock } from '../platform/clock.ts';
import { type DaemonError, isPassing } from '../platform/errors.ts';
import { toStripeError } from './errors.ts';
import type { Pace } from './paging.ts';
import { idempotencyKeyFor } from './idempotency-key.ts';

/** Everything that is ever changed at Stripe: what each write is given, and what comes back. */
interface Writes {
  createMeter: { params: Stripe.Billing.MeterCreateParams; result: Stripe.Billing.Meter };
  createMeterEvent: { params: Stripe.Billing.MeterEventCreateParams; result: Stripe.Billing.MeterEvent };
  cancelMeterEvent: {
    params: Stripe.Billing.MeterEventAdjustmentCreateParams;
    result: Stripe.Billing.MeterEventAdjustment;
  };
  setAutoAdvance: { params: { invoiceId: string; autoAdvance: boolean }; result: Stripe.Invoice };
}
export type WriteName = keyof Writes;

type Calls = {
  readonly [Name in WriteName]: (
    stripe: Stripe,
    params: Writes[Name]['params'],
    options: { idempotencyKey: string },
  ) => Promise<Writes[Name]['result']>;
};

/** The only calls of the package that change anything; a test sees that there are no others in this folder. */
const CALLS: Calls = {
  createMeter: (stripe, params, options) => stripe.billing.meters.create(params, options),
  createMeterEvent: (stripe, params, options) => stripe.billing.meterEvents.create(params, options),
  cancelMeterEvent: (stripe, params, options) => stripe.billing.meterEventAdjustments.create(params, options),
  setAutoAdvance: (stripe, { invoiceId, autoAdvance }, options) =>
    stripe.invoices.update(invoiceId, { auto_advance: autoAdvance }, options),
};

type StripeFailure = InstanceType<typeof Stripe.errors.StripeError>;

/** What Stripe said to a write other than yes. */
export type WriteFailure =
  /** It understood and refuses. `kept`: whether it keeps this answer under the key, so that the call needs another. */
  | { readonly kind: 'refused'; readonly error: StripeFailure; readonly kept: 'perhaps' | 'yes' }
  /** 409, 429: nothing was done and nothing is kept. */
  | { readonly kind: 'declined'; readonly error: StripeFailure }
  /** 5xx: it may have had its effect, or not; kept as a refusal is. */
  | { readonly kind: 'failed'; readonly error: StripeFailure; readonly kept: 'perhaps' | 'yes' }
  /** No answer at all: it may have had its effect, or may yet have it. */
  | { readonly kind: 'unanswered'; readonly error: StripeFailure };

export type WriteAnswer<Name extends WriteName> =
  { readonly kind: 'done'; readonly value: Writes[Name]['result'] } | WriteFailure;

/** How long a write that waits for its effect is made again and again, before it is given up with Stripe's last answer. */
export const WRITE_SPAN_MS_MAX = 30_000;
/** Bounds of the wait between two tries; doubled each time. */
const WAIT_MS_MIN = 250;
const WAIT_MS_MAX = 4_000;
/** Keys that may be found used up: a day of them, at a try a minute, is more than Stripe remembers. */
const STORED_ANSWERS_MAX = 1_440;

/**
 * The one door through which anything is changed at Stripe.
 *
 * Stripe keeps what it answered under an `Idempotency-Key`, 500s included, for a day, and repeats it: a call under that key
 * has no effect any more. So a key belongs to one try until Stripe has answered it; after an answer that may be kept the
 * next try has the next key (`….r1`, `….r2`), and because the one before may have had its effect all the same, the effect is
 * looked for first. After no answer, and after 409 or 429, the key stays.
 */
export class StripeWrites {
  readonly #stripe: Stripe;
  readonly #pace: Pace;
  readonly #clock: Clock;
  readonly #random: () => number;

  /** @param deps.pace awaited before each call that `ensure` makes; whoever calls `attempt` has taken its turn. */
  constructor(deps: { stripe: Stripe; pace: Pace; clock: Clock; random: () => number }) {
    this.#stripe = deps.stripe;
    this.#pace = deps.pace;
    this.#clock = deps.clock;
    this.#random = deps.random;
  }

  /**
   * Makes a write once. For those whose tries and keys are numbered in our own store: meter events, their cancellations,
   * holds and releases of invoices.
   */
  async attempt<Name extends WriteName>(
    name: Name,
    params: Writes[Name]['params'],
    idempotencyKey: string,
  ): Promise<WriteAnswer<Name>> {
    try {
      return { kind: 'done', value: await CALLS[name](this.#stripe, params, { idempotencyKey }) };
    } catch (error) {
      return toWriteFailure(error);
    }
  }

  /**
   * Sees to it that a write has its effect, within a bounded time. Only for effects that Stripe has once at most, or that
   * do no harm twice: a try whose answer was lost may come to its effect after the next one did.
   * @param write.key the same for the same work; a number is added after an answer that is kept.
   * @param find looks whether the effect is there, before each try.
   * @throws DaemonError `stripe_refused`, `stripe_key_refused`, or `stripe_unavailable` with what Stripe answered last.
   */
  async ensure<Name extends WriteName>(
    write: { readonly name: Name; readonly params: Writes[Name]['params']; readonly key: string },
    find: () => Promise<Writes[Name]['result'] | undefined>,
  ): Promise<Writes[Name]['result']> {
    const endsAtMs = this.#clock.now() + WRITE_SPAN_MS_MAX;
    let storedAnswers = 0;
    let isRefused = false;
    for (let tries = 1; ; tries += 1) {
      const found = await this.#look(find);
      if ('value' in found && found.value !== undefined) return found.value;
      let failure: unknown = 'error' in found ? found.error : undefined;
      if (failure === undefined) {
        await this.#pace();
        const answer = await this.attempt(write.name, write.params, idempotencyKeyFor(write.key, storedAnswers));
        if (answer.kind === 'done') return answer.value;
        failure = toStripeError(answer.error);
        if ('kept' in answer) storedAnswers += 1;
        // An answer that is repeated says nothing of now: the next key is tried at once.
        if ('kept' in answer && answer.kept === 'yes' && storedAnswers < STORED_ANSWERS_MAX) continue;
        // It may be refused because it is there already: then it is found at the next look.
        if (answer.kind === 'refused' && isRefused) throw failure;
        isRefused = answer.kind === 'refused';
      }
      const waitMs = isRefused ? 0 : waitBefore(tries, this.#random());
      if (this.#clock.now() + waitMs > endsAtMs) throw failure;
      await this.#clock.sleep(waitMs);
    }
  }

  /** A look that fails in passing is a try that failed. */
  async #look<T>(find: () => Promise<T>): Promise<{ value: T } | { error: DaemonError }> {
    try {
      return { value: await find() };
    } catch (error) {
      if (isPassing(error)) return { error };
      throw error;
    }
  }
}

/** Full jitter over half of what doubles. */
function waitBefore(tries: number, random: number): number {
  const ceilingMs = Math.min(WAIT_MS_MIN * 2 ** tries, WAIT_MS_MAX);
  return Math.round((ceilingMs / 2) * (1 + random));
}

/**
 * What an error of a write says. Throws what is not Stripe's.
 *
 * 409 and 429 come before Stripe looks for the key. Once the endpoint has begun, its answer is kept under the key, also a
 * 5xx, and is marked when it is repeated (API reference, Idempotent requests). A key that was used for something else is
 * used up as well.
 */
export function toWriteFailure(error: unknown): WriteFailure {
  if (!(error instanceof Stripe.errors.StripeError)) throw error;
  const { statusCode } = error;
  if (error instanceof Stripe.errors.StripeConnectionError || statusCode === undefined) {
    return { kind: 'unanswered', error };
  }
  if (statusCode === 409 || statusCode === 429) return { kind: 'declined', error };
  const isRepeated = error.headers?.['idempotent-replayed'] === 'true';
  if (statusCode >= 500) return { kind: 'failed', error, kept: isRepeated ? 'yes' : 'perhaps' };
  const isUsedUp = isRepeated || error instanceof Stripe.errors.StripeIdempotencyError;
  return { kind: 'refused', error, kept: isUsedUp ? 'yes' : 'perhaps' };
}
