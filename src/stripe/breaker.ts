import {
  BrokenCircuitError,
  CircuitState,
  circuitBreaker,
  handleWhenResult,
  SamplingBreaker,
  type CircuitBreakerPolicy,
} from 'cockatiel';
import type { SendOutcome } from '../domain/submission.ts';

/** While Stripe fails, calls are declined for this long before one is tried. */
const HALF_OPEN_AFTER_MS = 10_000;
/** Share of calls without a good answer, over the sampled time, that opens the breaker: an outage, not bad luck. */
const FAILURE_SHARE = 0.8;
const SAMPLE_MS = 15_000;
/** Calls a second below which the share says nothing. */
const CALLS_PER_SECOND_MIN = 1;

/** Opens when most calls end in 5xx or no answer, so that an outage of Stripe costs neither attempts nor doubt. */
export class Breaker {
  readonly #policy: CircuitBreakerPolicy = circuitBreaker(
    handleWhenResult((result) => {
      const { kind } = result as SendOutcome;
      return kind === 'server-error' || kind === 'unanswered';
    }),
    {
      halfOpenAfter: HALF_OPEN_AFTER_MS,
      breaker: new SamplingBreaker({ threshold: FAILURE_SHARE, duration: SAMPLE_MS, minimumRps: CALLS_PER_SECOND_MIN }),
    },
  );

  get state(): 'closed' | 'open' | 'half-open' {
    const { state } = this.#policy;
    return state === CircuitState.Closed ? 'closed' : state === CircuitState.HalfOpen ? 'half-open' : 'open';
  }

  async run(call: () => Promise<SendOutcome>): Promise<SendOutcome> {
    try {
      return await this.#policy.execute(call);
    } catch (error) {
      if (error instanceof BrokenCircuitError) return { kind: 'declined', reason: 'circuit_open' };
      throw error;
    }
  }
}
