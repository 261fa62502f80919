import { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import type { Clock } from '../clock.ts';
import { DaemonError } from '../errors.ts';
import type { Logger } from '../logger.ts';
import type { RunTrigger } from '../mongo/runs.ts';
import { openQueueRedis } from '../redis/connection.ts';
import { refusalCode } from '../redis/write-probe.ts';
import { within } from '../time-limit.ts';
import { TroubleLog } from '../trouble-log.ts';

export const QUEUE_NAME = 'tallystick';

/** Where a queue is: installations that share a Redis are told apart by their database. */
export interface QueuePlace {
  readonly redisUrl: string;
  readonly database: string;
}

/** What begins every key of a queue. */
export function queuePrefix(place: Pick<QueuePlace, 'database'>): string {
  return `tallystick:${place.database}`;
}

export interface JobTicket {
  /** The run that this job carries out, where it is stored already; absent for ticks and sweeps. */
  readonly run?: string;
  /** What began it, where it is not stored. */
  readonly trigger?: RunTrigger;
}

export interface JobQueueDeps {
  readonly log: Pick<Logger, 'debug' | 'info' | 'warn'>;
  readonly clock: Clock;
}

/** Failed attempts of one job; after them the next tick or sweep finds the work again. */
const ATTEMPTS_MAX = 3;
const ADD_MS_MAX = 3_000;
/** Without Redis there is nobody to say goodbye to. */
const CLOSE_MS_MAX = 1_000;
const NOT_RUNG = 'could not ring for a job';

/** The producer's side of the queue. Adding fails fast when Redis is away. */
export class JobQueue {
  readonly #connection: Redis;
  readonly #queue: Queue<JobTicket>;
  readonly #troubles: TroubleLog;

  constructor(place: QueuePlace, { log, clock }: JobQueueDeps) {
    // What is wrong with Redis is told once for the whole process, by its watch.
    const onError = (err: Error): void => log.debug({ err }, 'queue has trouble with redis');
    this.#troubles = new TroubleLog(log, clock);
    this.#connection = openQueueRedis(place.redisUrl, 'adding', onError);
    this.#queue = new Queue<JobTicket>(QUEUE_NAME, { connection: this.#connection, prefix: queuePrefix(place) });
    this.#queue.on('error', onError);
  }

  /** Adds a tick's job: its id names job and minute, so that many processes make one. */
  async addTick(job: string, minute: string): Promise<void> {
    await this.#add(job, { trigger: 'tick' }, { jobId: `${job}.${minute.replaceAll(':', '-')}` });
  }

  /**
   * Adds a job unless one of its name waits or runs already.
   * @param trigger what begins it
   * @param delayMs how long it waits for more of the same.
   */
  async addOnce(job: string, trigger: RunTrigger, delayMs = 0): Promise<void> {
    await this.#add(job, { trigger }, { deduplication: { id: job }, delay: delayMs });
  }

  /** Adds the job of a requested run, unless it waits already. */
  async addRun(job: string, run: string): Promise<void> {
    await this.#add(job, { run }, { deduplication: { id: `run.${run}` } });
  }

  /** Rings for work that MongoDB lists: without the bell the sweep finds it within a minute, so nobody waits or fails. */
  ring(job: string, options: { delayMs?: number; run?: string } = {}): void {
    const added =
      options.run === undefined ? this.addOnce(job, 'follow-up', options.delayMs) : this.addRun(job, options.run);
    added.then(
      () => this.#troubles.clear(NOT_RUNG),
      (err: unknown) => this.#troubles.begin({ phrase: NOT_RUNG, fields: { err, job } }),
    );
  }

  async #add(
    job: string,
    ticket: JobTicket,
    options: { jobId?: string; deduplication?: { id: string }; delay?: number },
  ): Promise<void> {
    if (this.#connection.status !== 'ready') throw unavailable();
    const added = this.#queue.add(job, ticket, {
      ...options,
      attempts: ATTEMPTS_MAX,
      backoff: { type: 'exponential', delay: 1_000, jitter: 0.5 },
      // The id of a kept job cannot be added again, so none is kept.
      removeOnComplete: true,
      removeOnFail: true,
    });
    try {
      await within(ADD_MS_MAX, added, () => {
        throw unavailable();
      });
    } catch (error) {
      throw refusalCode(error) === undefined ? error : refused(error);
    }
  }

  /** How many jobs wait or run; undefined when Redis is away. */
  async depth(): Promise<number | undefined> {
    if (this.#connection.status !== 'ready') return undefined;
    const counts = await this.#queue.getJobCounts('wait', 'active', 'delayed', 'prioritized');
    return Object.values(counts).reduce((sum, count) => sum + count, 0);
  }

  async close(): Promise<void> {
    const closed = this.#queue.close().catch(() => {});
    await within(CLOSE_MS_MAX, closed, () => undefined);
    this.#connection.disconnect();
  }
}

function unavailable(): DaemonError {
  return new DaemonError({
    kind: 'transient',
    code: 'queue_unavailable',
    message: 'Redis does not answer; the work stays listed in MongoDB and begins when Redis is back.',
  });
}

function refused(cause: unknown): DaemonError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new DaemonError({
    kind: 'transient',
    code: 'queue_unavailable',
    message: `Redis refuses writes (${why}); the work stays listed in MongoDB and begins when Redis takes them again.`,
    cause,
  });
}
