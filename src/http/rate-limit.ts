import type { Clock } from '../clock.ts';
import { DaemonError } from '../errors.ts';

/** Keys with a balance of their own; beyond it those that are full again are forgotten. */
const BALANCES_MAX = 10_000;

interface Balance {
  tokens: number;
  atMs: number;
}

/**
 * A token bucket for each API key, holding one second's worth. A request is admitted while the bucket is not empty and
 * may overdraw it, so that a large request is possible at every rate and the average holds.
 */
export class RateLimit {
  readonly #perSecondMax: number;
  readonly #clock: Pick<Clock, 'now'>;
  readonly #balances = new Map<string, Balance>();

  constructor(perSecondMax: number, clock: Pick<Clock, 'now'>) {
    this.#perSecondMax = perSecondMax;
    this.#clock = clock;
  }

  /** @throws DaemonError `events_per_second_exceeded` with `retryAfterSeconds` */
  admit(key: string): void {
    const { tokens } = this.#refilled(key);
    if (tokens > 0) return;
    throw new DaemonError({
      kind: 'transient',
      code: 'events_per_second_exceeded',
      message: `This API key may send ${this.#perSecondMax} events a second.`,
      context: { retryAfterSeconds: Math.max(1, Math.ceil(-tokens / this.#perSecondMax)) },
    });
  }

  spend(key: string, count: number): void {
    this.#refilled(key).tokens -= count;
  }

  #refilled(key: string): Balance {
    const nowMs = this.#clock.now();
    let balance = this.#balances.get(key);
    if (balance === undefined) {
      if (this.#balances.size >= BALANCES_MAX) this.#forgetFull(nowMs);
      balance = { tokens: this.#perSecondMax, atMs: nowMs };
      this.#balances.set(key, balance);
    }
    balance.tokens = this.#tokensAt(balance, nowMs);
    balance.atMs = nowMs;
    return balance;
  }

  #tokensAt(balance: Balance, nowMs: number): number {
    const gained = (Math.max(0, nowMs - balance.atMs) * this.#perSecondMax) / 1_000;
    return Math.min(this.#perSecondMax, balance.tokens + gained);
  }

  #forgetFull(nowMs: number): void {
    for (const [key, balance] of this.#balances) {
      if (this.#tokensAt(balance, nowMs) >= this.#perSecondMax) this.#balances.delete(key);
    }
  }
}
