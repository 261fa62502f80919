import type { Clock } from '../platform/clock.ts';
import type { SendOutcome } from './submission.ts';
import { Breaker } from '../stripe/breaker.ts';
import { toSendOutcome } from '../stripe/errors.ts';
import type { StripeWrites } from '../stripe/writes.ts';

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
