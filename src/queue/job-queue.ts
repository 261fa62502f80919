import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { DaemonError } from '../errors.ts';

export const QUEUE_NAME = 'tallystick';

/** Where a queue is: installations that share a Redis are told apart by their database. */
export interface QueuePlace {
  readonly redisUrl: string;
  readonly database: string;
}

/** What begins every key of a queue. */
export function queuePrefix(place: QueuePlace): string {
  return `tallystick:${place.database}`;
}

export interface JobTicket {
  /** The requested run that this job carries out; absent for ticks and sweeps. */
  readonly run?: string;
}

/** Failed attempts of one job; after them the next tick or sweep finds the work again. */
const ATTEMPTS_MAX = 3;
const ADD_MS_MAX = 3_000;
const RECONNECT_MS_MAX = 2_000;

/** The producer's side of the queue. Adding fails fast when Redis is away. */
export class JobQueue {
  readonly #connection: Redis;
  readonly #queue: Queue<JobTicket>;

  constructor(place: QueuePlace, onError: (error: Error) => void) {
    this.#connection = connect(place.redisUrl, onError);
    this.#queue = new Queue<JobTicket>(QUEUE_NAME, { connection: this.#connection, prefix: queuePrefix(place) });
    this.#queue.on('error', onError);
  }

  /** Adds a tick's job: its id names job and minute, so that many processes make one. */
  async addTick(job: string, minute: string): Promise<void> {
    await this.#add(job, {}, { jobId: `${job}.${minute.replaceAll(':', '-')}` });
  }

  /**
   * Adds a job unless one of its name waits or runs already.
   * @param delayMs how long it waits for more of the same.
   */
  async addOnce(job: string, delayMs = 0): Promise<void> {
    await this.#add(job, {}, { deduplication: { id: job }, delay: delayMs });
  }

  /** Adds the job of a requested run, unless it waits already. */
  async addRun(job: string, run: string): Promise<void> {
    await this.#add(job, { run }, { deduplication: { id: `run.${run}` } });
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
    await Promise.race([added, expire()]);
  }

  /** How many jobs wait or run; undefined when Redis is away. */
  async depth(): Promise<number | undefined> {
    if (this.#connection.status !== 'ready') return undefined;
    const counts = await this.#queue.getJobCounts('wait', 'active', 'delayed', 'prioritized');
    return Object.values(counts).reduce((sum, count) => sum + count, 0);
  }

  /** Rejects when Redis is away. */
  async ping(): Promise<void> {
    if (this.#connection.status !== 'ready') throw unavailable();
    await Promise.race([this.#connection.ping(), expire()]);
  }

  async close(): Promise<void> {
    await this.#queue.close();
    this.#connection.disconnect();
  }
}

function expire(): Promise<never> {
  return new Promise((_, reject) => {
    setTimeout(() => reject(unavailable()), ADD_MS_MAX).unref();
  });
}

function unavailable(): DaemonError {
  return new DaemonError({
    kind: 'transient',
    code: 'queue_unavailable',
    message: 'Redis does not answer; the work stays listed in MongoDB and begins when Redis is back.',
  });
}

/** A connection that BullMQ may block on; it reconnects for ever. */
export function connect(redisUrl: string, onError: (error: Error) => void): Redis {
  const connection = new Redis(redisUrl, {
    maxRetriesPerRequest: null,
    retryStrategy: (times) => Math.min(100 * 2 ** Math.min(times, 5), RECONNECT_MS_MAX),
  });
  connection.on('error', onError);
  return connection;
}
