import type { Redis } from 'ioredis';
import type { Clock } from '../clock.ts';

/**
 * The account-wide rate of calls to Stripe, as a generic cell rate algorithm in one atomic script: the key holds the
 * instant at which the next call is due. Redis's own clock decides, so that containers need not agree on the time.
 * Returns how many milliseconds to wait; a call that has to wait longer than asked for takes no slot.
 */
const TAKE_SLOT = `
local now = redis.call('TIME')
local nowUs = now[1] * 1000000 + now[2]
local intervalUs = tonumber(ARGV[1])
local burstUs = tonumber(ARGV[2])
local dueUs = tonumber(redis.call('GET', KEYS[1]) or '0')
if dueUs < nowUs - burstUs then dueUs = nowUs - burstUs end
local nextUs = dueUs + intervalUs
redis.call('SET', KEYS[1], string.format('%.0f', nextUs), 'PX', 60000)
return math.max(0, math.ceil((nextUs - nowUs) / 1000))
`;

/** Calls that may go out at once after a pause. */
const BURST_MS = 50;
/** Without Redis, every process takes this fraction of the rate: so many processes are allowed for. */
const FRACTION_WITHOUT_REDIS = 0.25;

/** Paces calls to Stripe over all containers; without Redis each takes a fixed fraction. */
export class CallRate {
  readonly #redis: Redis;
  readonly #clock: Clock;
  readonly #perSecondMax: number;
  readonly #key: string;
  #localDueMs = 0;

  /** @param parts.account names the account that the rate belongs to; installations on the same one share it. */
  constructor(parts: { redis: Redis; clock: Clock; perSecondMax: number; account: string }) {
    this.#redis = parts.redis;
    this.#clock = parts.clock;
    this.#perSecondMax = parts.perSecondMax;
    this.#key = `tallystick:stripe-calls:${parts.account}`;
  }

  /** Waits for a slot. */
  async take(signal?: AbortSignal): Promise<void> {
    const waitMs = (await this.#askRedis()) ?? this.#takeLocally();
    if (waitMs > 0) await this.#clock.sleep(waitMs, signal);
  }

  async #askRedis(): Promise<number | undefined> {
    if (this.#redis.status !== 'ready') return undefined;
    try {
      const intervalUs = Math.ceil(1_000_000 / this.#perSecondMax);
      const waitMs = await this.#redis.eval(TAKE_SLOT, 1, this.#key, intervalUs, BURST_MS * 1000);
      return Number(waitMs);
    } catch {
      // Redis is a bell, not a ledger: without it the pace is only slower.
      return undefined;
    }
  }

  #takeLocally(): number {
    const nowMs = this.#clock.now();
    const intervalMs = 1000 / (this.#perSecondMax * FRACTION_WITHOUT_REDIS);
    this.#localDueMs = Math.max(this.#localDueMs + intervalMs, nowMs);
    return this.#localDueMs - nowMs;
  }
}
