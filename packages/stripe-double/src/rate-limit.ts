import type { Account } from './route.ts';

/** A token bucket over all calls of the account: a second's worth of calls at once, then so many a second. */
export class RateLimit {
  readonly #account: Account;
  #tokens: number | undefined;
  #filledAt = 0;

  constructor(account: Account) {
    this.#account = account;
  }

  /** Whether one more call is allowed now. */
  take(): boolean {
    const perSecond = this.#account.switches.rateLimitPerSecond;
    if (perSecond === 0 || perSecond === Number.POSITIVE_INFINITY) return true;
    const now = this.#account.clock.now();
    const gained = this.#tokens === undefined ? perSecond : ((now - this.#filledAt) / 1000) * perSecond;
    const tokens = Math.min(perSecond, (this.#tokens ?? 0) + gained);
    this.#filledAt = now;
    this.#tokens = tokens >= 1 ? tokens - 1 : tokens;
    return tokens >= 1;
  }
}
