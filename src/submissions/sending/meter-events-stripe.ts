import { Stripe } from 'stripe';
import type { Clock } from '../../platform/clock.ts';
import type { SendOutcome } from '../submission.ts';
import { Breaker } from '../../stripe/breaker.ts';
import type { StripeWrites, WriteFailure } from '../../stripe/writes.ts';

/**
 * The one place where a message decides: v1 refuses a repeated identifier with a 400 that has no code
 * ("An event already exists with identifier …"). It means that the event was delivered before.
 */
const ALREADY_EXISTS = /already exists with identifier/i;

/** Which parameter a refusal without a code is about, and so what it says: v1 was seen to send none. */
const CODES_BY_PARAMETER: Readonly<Record<string, string>> = { event_name: 'no_meter', timestamp: 'timestamp_refused' };

/** One meter event, ready to send. */
export interface MeterEventCall {
  readonly identifier: string;
  readonly idempotencyKey: string;
  readonly eventName: string;
  readonly stripeCustomerId: string;
  /** A plain decimal string with at most 15 significant digits. */
  readonly value: string;
  readonly timestampMs: number;
  /** The payload keys that the Stripe meter reads. */
  readonly customerKey: string;
  readonly valueKey: string;
}

/** Creates meter events (v1), behind a circuit breaker. */
export class MeterEvents {
  readonly #writes: Pick<StripeWrites, 'attempt'>;
  readonly #clock: Clock;
  readonly #breaker: Breaker;

  constructor(writes: Pick<StripeWrites, 'attempt'>, clock: Clock) {
    this.#writes = writes;
    this.#clock = clock;
    this.#breaker = new Breaker(clock);
  }

  /** `closed` lets calls through, `open` declines them, `half-open` tries one. */
  get breakerState(): 'closed' | 'open' | 'half-open' {
    return this.#breaker.state;
  }

  /** How long the next call has to wait, in milliseconds; 0: it is admitted, and is to be made now. */
  admit(): number {
    return this.#breaker.admit();
  }

  async send(call: MeterEventCall): Promise<SendOutcome> {
    return this.#breaker.run(() => this.#create(call));
  }

  async #create(call: MeterEventCall): Promise<SendOutcome> {
    const params = {
      event_name: call.eventName,
      identifier: call.identifier,
      timestamp: Math.floor(call.timestampMs / 1000),
      payload: { [call.customerKey]: call.stripeCustomerId, [call.valueKey]: call.value },
    };
    const answer = await this.#writes.attempt('createMeterEvent', params, call.idempotencyKey);
    if (answer.kind === 'done') return { kind: 'accepted' };
    return toSendOutcome(answer, { timestampMs: call.timestampMs, nowMs: this.#clock.now() });
  }
}

/**
 * What Stripe's answer to a call to create a meter event says of the submission.
 * @param call when the usage is from, and when it was sent: they tell which bound a timestamp was beyond.
 */
function toSendOutcome(failure: WriteFailure, call: { timestampMs: number; nowMs: number }): SendOutcome {
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
