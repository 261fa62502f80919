import { CircuitState, CountBreaker } from 'cockatiel';
import type { Clock } from '../platform/clock.ts';
import { MINUTE_MS } from '../platform/durations.ts';

/** Share of the last calls without a good answer beyond which the breaker opens: an outage, not bad luck. */
const FAILURE_SHARE = 0.8;
const CALLS_JUDGED = 20;
/** How long calls are declined before one is tried; doubled each time that one fails, too. */
const OPEN_MS_MIN = 10_000;
const OPEN_MS_MAX = 15 * MINUTE_MS;
/** The one call that is tried may take this long from its admission to its answer; longer than a call can take. */
const PROBE_MS_MAX = 60_000;
/** How soon others ask again while one is tried. */
const PROBE_WAIT_MS = 1_000;

/** What a call came to, as far as the breaker looks at it: of these kinds two are failures. */
interface CallOutcome {
  readonly kind: string;
}

/** No call was made. */
interface Declined {
  readonly kind: 'declined';
  readonly reason: 'circuit_open';
}

/**
 * Opens when most calls end in 5xx or no answer, so that an outage of Stripe costs neither attempts nor doubt: an outage
 * of days costs a call each quarter of an hour. Goes by the daemon's own clock, and looks at calls rather than at time.
 */
export class Breaker {
  readonly #clock: Clock;
  #calls = newSample();
  #openMs = OPEN_MS_MIN;
  /** Absent while it is closed. */
  #openUntilMs: number | undefined;
  #probe: { readonly untilMs: number; isMade: boolean } | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get state(): 'closed' | 'open' | 'half-open' {
    if (this.#openUntilMs === undefined) return 'closed';
    return this.#clock.now() < this.#openUntilMs ? 'open' : 'half-open';
  }

  /**
   * How long a call has to wait, in milliseconds; 0: it may be made now. While one call at a time is tried, 0 admits the
   * caller's own, for a minute.
   */
  admit(): number {
    if (this.#openUntilMs === undefined) return 0;
    const nowMs = this.#clock.now();
    if (nowMs < this.#openUntilMs) return this.#openUntilMs - nowMs;
    if (this.#probe !== undefined && nowMs < this.#probe.untilMs) return PROBE_WAIT_MS;
    this.#probe = { untilMs: nowMs + PROBE_MS_MAX, isMade: false };
    return 0;
  }

  /** Makes the call, or declines it without one. */
  async run<Outcome extends CallOutcome>(call: () => Promise<Outcome>): Promise<Outcome | Declined> {
    if (this.#openUntilMs !== undefined) return this.#try(call);
    const outcome = await call();
    // An answer to a call from before it opened says nothing new.
    if (this.#openUntilMs !== undefined) return outcome;
    if (!isFailure(outcome)) this.#calls.success(CircuitState.Closed);
    else if (this.#calls.failure(CircuitState.Closed)) this.#open();
    return outcome;
  }

  async #try<Outcome extends CallOutcome>(call: () => Promise<Outcome>): Promise<Outcome | Declined> {
    const isAdmitted = this.#probe?.isMade === false || this.admit() === 0;
    if (!isAdmitted || this.#probe === undefined) return { kind: 'declined', reason: 'circuit_open' };
    this.#probe.isMade = true;
    const outcome = await call();
    if (isFailure(outcome)) this.#open();
    else this.#close();
    return outcome;
  }

  #open(): void {
    this.#openUntilMs = this.#clock.now() + this.#openMs;
    this.#openMs = Math.min(this.#openMs * 2, OPEN_MS_MAX);
    this.#probe = undefined;
  }

  #close(): void {
    this.#openUntilMs = undefined;
    this.#openMs = OPEN_MS_MIN;
    this.#probe = undefined;
    this.#calls = newSample();
  }
}

function newSample(): CountBreaker {
  return new CountBreaker({ threshold: FAILURE_SHARE, size: CALLS_JUDGED });
}

function isFailure({ kind }: CallOutcome): boolean {
  return kind === 'server-error' || kind === 'unanswered';
}
