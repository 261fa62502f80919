import type { Clock } from '../clock.ts';
import { DaemonError } from '../errors.ts';

/** Keys with a balance of their own; beyond it those that are full again are forgotten. */
const BALANCES_MAX = 10_000;
/** So many bytes of a body, after inflating, cost as much as an event: most events have a quarter of it. */
const TOKEN_BYTES = 1_024;

interface Balance {
  tokens: number;
  atMs: number;
}

/** What one request costs its key. It can be corrected as more becomes known, and given back. */
export interface Charge {
  /** Charges so many tokens in place of what was charged before. */
  set(tokens: number): void;
}

/** What a body costs, whatever is in it. */
export function tokensOfBytes(bytes: number): number {
  return Math.max(1, Math.ceil(bytes / TOKEN_BYTES));
}

/**
 * A token bucket for each API key, holding one second's worth. A request is admitted while the bucket is not empty and
 * may overdraw it, so that a large request is possible at every rate and the average holds. A refused request costs what
 * reading it did; one that the store could not take costs nothing, for it has to be sent again.
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
  admit(key: string): Charge {
    const { tokens } = this.#refilled(key);
    if (tokens > 0) return this.#charge(key);
    throw new DaemonError({
      kind: 'transient',
      code: 'events_per_second_exceeded',
      message: `This API key may send ${this.#perSecondMax} events a second, or as many KiB.`,
      context: { retryAfterSeconds: Math.max(1, Math.ceil(-tokens / this.#perSecondMax)) },
    });
  }

  #charge(key: string): Charge {
    let charged = 0;
    return {
      set: (tokens) => {
        const balance = this.#refilled(key);
        balance.tokens = Math.min(this.#perSecondMax, balance.tokens + charged - tokens);
        charged = tokens;
      },
    };
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
