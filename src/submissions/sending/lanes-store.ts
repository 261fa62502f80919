import { createHash } from 'node:crypto';
import type { Clock } from '../../platform/clock.ts';
import type { Leases } from '../../platform/mongo/leases.ts';

/** Lanes are leased in this many shards, so that renewing costs little and containers share the work. */
const SHARDS = 32;
const LEASE_MS = 60_000;
/** A lease is renewed when less than this is left: more than one call to Stripe can take. */
const RENEW_BELOW_MS = 35_000;

/**
 * Leases on lanes (one Stripe customer and meter each), held by shard. They keep two processes from calling Stripe for
 * the same pair at once; if that happens all the same, the identifier keeps the usage from counting twice. Runs of one
 * process share them.
 */
export class Lanes {
  readonly #leases: Leases;
  readonly #clock: Clock;
  #held = new Set<string>();
  #expiresAtMs = 0;
  #renewal: Promise<void> | undefined;
  #users = 0;

  constructor(leases: Leases, clock: Clock) {
    this.#leases = leases;
    this.#clock = clock;
  }

  /** Takes every shard that is free. */
  async take(): Promise<void> {
    await this.#acquire();
    this.#users += 1;
  }

  /** Whether this process holds a lane for at least the time of a call; renews when needed. */
  async holds(lane: string): Promise<boolean> {
    if (this.#expiresAtMs - this.#clock.now() < RENEW_BELOW_MS) {
      this.#renewal ??= this.#acquire().finally(() => (this.#renewal = undefined));
      await this.#renewal;
    }
    return this.#held.has(shardOf(lane));
  }

  /** Gives all back, once everyone who took them has. */
  async release(): Promise<void> {
    this.#users = Math.max(this.#users - 1, 0);
    if (this.#users > 0) return;
    const held = [...this.#held];
    this.#held = new Set();
    this.#expiresAtMs = 0;
    await this.#leases.release(held);
  }

  async #acquire(): Promise<void> {
    const askedAtMs = this.#clock.now();
    this.#held = await this.#leases.acquire(shardNames(), LEASE_MS);
    this.#expiresAtMs = askedAtMs + LEASE_MS;
  }
}

function shardNames(): string[] {
  return Array.from({ length: SHARDS }, (_, index) => `lanes.${index}`);
}

function shardOf(lane: string): string {
  return `lanes.${createHash('sha256').update(lane).digest().readUInt32BE(0) % SHARDS}`;
}
