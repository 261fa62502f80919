import type { Redis } from 'ioredis';
import type { Clock } from '../clock.ts';
import type { Logger } from '../logger.ts';
import { TroubleLog } from '../trouble-log.ts';
import { probeWrite, type WriteOutcome } from './write-probe.ts';

/** How long a connection that is being made is waited for, before it counts as none. */
const CONNECTING_MS_MAX = 1_500;
/** How often a process looks whether Redis takes writes. */
const LOOK_MS = 5_000;

/** Looks for a whole process whether Redis takes writes, and tells of each change in one line. */
export class RedisWatch {
  readonly #redis: Redis;
  readonly #key: string;
  readonly #clock: Clock;
  readonly #troubles: TroubleLog;
  readonly #stopping = new AbortController();
  #running: Promise<WriteOutcome> | undefined;
  #told: 'away' | 'refusing' | undefined;

  /** @param parts.redis a connection for short commands, which gives up by itself. */
  constructor(parts: { redis: Redis; key: string; clock: Clock; log: Pick<Logger, 'info' | 'warn'> }) {
    this.#redis = parts.redis;
    this.#key = parts.key;
    this.#clock = parts.clock;
    this.#troubles = new TroubleLog(parts.log, parts.clock);
  }

  /** Looks now; callers at the same time share one look. Never rejects. */
  look(): Promise<WriteOutcome> {
    this.#running ??= this.#connected()
      .then(() => probeWrite(this.#redis, this.#key))
      .then((outcome) => {
        this.#tell(outcome);
        return outcome;
      })
      .finally(() => {
        this.#running = undefined;
      });
    return this.#running;
  }

  /** Looks every few seconds until the returned function is called. */
  start(): () => void {
    const run = async (): Promise<void> => {
      while (!this.#stopping.signal.aborted) {
        await this.#clock.sleep(LOOK_MS, this.#stopping.signal);
        if (!this.#stopping.signal.aborted) await this.look();
      }
    };
    void run();
    return () => this.#stopping.abort();
  }

  /** A process that has just begun is not without Redis yet. */
  async #connected(): Promise<void> {
    if (this.#redis.status !== 'connecting' && this.#redis.status !== 'connect') return;
    const waiting = new AbortController();
    const stop = (): void => waiting.abort();
    this.#redis.once('ready', stop).once('close', stop);
    await this.#clock.sleep(CONNECTING_MS_MAX, waiting.signal);
    this.#redis.off('ready', stop).off('close', stop);
  }

  #tell(outcome: WriteOutcome): void {
    if (this.#stopping.signal.aborted) return;
    if (outcome.kind !== this.#told && this.#told !== undefined) this.#troubles.clear(PHRASES[this.#told]);
    this.#told = outcome.kind === 'ok' ? undefined : outcome.kind;
    if (outcome.kind === 'ok') return;
    const { reason } = outcome;
    const code = outcome.kind === 'refusing' ? { code: outcome.code } : {};
    const kind = outcome.kind === 'refusing' ? outcome.code : '';
    this.#troubles.begin({ phrase: PHRASES[outcome.kind], kind, fields: { ...code, reason } });
  }
}

const PHRASES = { away: 'redis does not answer', refusing: 'redis refuses writes' } as const;
