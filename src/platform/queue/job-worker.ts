import { setMaxListeners } from 'node:events';
import { randomUUID } from 'node:crypto';
import { DelayedError, type Job, UnrecoverableError, Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import { type Clock, systemClock } from '../clock.ts';
import { failureOf, isPassing } from '../errors.ts';
import type { Logger } from '../logger.ts';
import { isDryRun } from '../mongo/run-scope.ts';
import type { RunTrigger } from '../mongo/runs.ts';
import { openQueueRedis } from '../redis/connection.ts';
import { refusalCode } from '../redis/write-probe.ts';
import { within } from '../time-limit.ts';
import { TroubleLog } from '../trouble-log.ts';
import { type JobTicket, QUEUE_NAME, type QueuePlace, queuePrefix } from './job-queue.ts';
import { RefusalPause } from './refusal-pause.ts';

/** What a job's function is given. */
export interface JobContext {
  readonly input: Record<string, unknown>;
  readonly signal: AbortSignal;
  /** Tells how far long work has come; kept with the run, at most once a second. */
  readonly report?: (progress: JobProgress) => Promise<void>;
}

/** How much of a job's work is done. */
export interface JobProgress {
  readonly done: number;
  readonly total: number;
}

/** Runs one job; what it returns is kept as the run's result. */
export type JobHandler = (context: JobContext) => Promise<Record<string, unknown>>;

export interface JobWorkerDeps {
  readonly place: QueuePlace;
  readonly handlers: Readonly<Record<string, JobHandler>>;
  readonly runs: {
    find(id: string): Promise<{ _id: string; state: string; input: Record<string, unknown> } | null>;
    start(
      run: {
        _id: string;
        job: string;
        trigger: RunTrigger;
        input: Record<string, unknown>;
      },
      at: Date,
    ): Promise<void>;
    report(id: string, progress: JobProgress): Promise<void>;
    succeed(id: string, result: Record<string, unknown>, at: Date): Promise<void>;
    requeue(id: string): Promise<void>;
    fail(id: string, error: { code: string; message: string }, at: Date): Promise<void>;
  };
  readonly leases: {
    acquire(names: readonly string[], durationMs: number): Promise<Set<string>>;
    release(names: readonly string[]): Promise<void>;
  };
  /** What runs next when a job succeeded. */
  followUp(job: string, result: Record<string, unknown>): Promise<void>;
  /** Takes note that the queue's jobs reach a worker. */
  beat(): Promise<void>;
  /** Whether Redis takes writes. */
  readonly canWrite: () => Promise<boolean>;
  readonly clock: Clock;
  readonly log: Pick<Logger, 'debug' | 'info' | 'warn' | 'error'>;
}

/** A job that does nothing but prove that the whole way works: tick, queue, worker, MongoDB. */
export const HEARTBEAT = 'heartbeat';

/** Jobs that run at the same time in one process. */
const CONCURRENCY = 4;
/** A requested run is tried again for at least this long before it fails for something that passes by itself. */
export const REQUESTED_SPAN_MS = 30_000;
const REQUESTED_WAIT_MS_MIN = 500;
const REQUESTED_WAIT_MS_MAX = 8_000;
const LEASE_MS = 60_000;
/** BullMQ's own hold on a job. What a worker lost in a refusal is given back after it and two looks. */
const LOCK_MS = 30_000;
const STALLED_LOOK_MS = 15_000;
/** Giving back costs no attempt at the work itself: a run that was asked for is to find its end. */
const STALLED_MAX = 5;
const RENEW_MS = 20_000;
/** How long a requested run waits before it asks for the lease again. */
const LEASE_RETRY_MS = 500;
/** Least time between two reports of progress. */
const REPORT_MS = 1_000;
/** How long running jobs have to obey their signal. What they have not done, the next run does. */
const FINISH_MS_MAX = 2_500;
/** How long BullMQ has to say goodbye: it cannot while Redis is away. */
const GOODBYE_MS_MAX = 1_000;
const REFUSED = 'redis refuses what the worker writes';
const NOT_RENEWED = 'could not renew a lease';

/** Takes jobs from the queue and runs them: the one place where their errors are caught. */
export class JobWorker {
  readonly #deps: JobWorkerDeps;
  readonly #connection: Redis;
  readonly #worker: Worker<JobTicket>;
  readonly #running = new Set<string>();
  readonly #processing = new Set<Promise<void>>();
  readonly #stopping = new AbortController();
  readonly #troubles: TroubleLog;
  readonly #refusalPause: RefusalPause;

  constructor(deps: JobWorkerDeps) {
    this.#deps = deps;
    this.#troubles = new TroubleLog(deps.log, deps.clock);
    // Every call in flight of every job may wait on it.
    setMaxListeners(0, this.#stopping.signal);
    const onError = (error: Error): void => void this.#hear(error);
    this.#connection = openQueueRedis(deps.place.redisUrl, 'blocking', onError);
    this.#worker = new Worker<JobTicket>(QUEUE_NAME, (job, token) => this.#track(this.#process(job, token)), {
      connection: this.#connection,
      prefix: queuePrefix(deps.place),
      concurrency: CONCURRENCY,
      lockDuration: LOCK_MS,
      stalledInterval: STALLED_LOOK_MS,
      maxStalledCount: STALLED_MAX,
    });
    this.#worker.on('error', onError);
    this.#worker.on('active', () => this.#troubles.clear(REFUSED));
    this.#refusalPause = new RefusalPause({
      worker: this.#worker,
      canWrite: deps.canWrite,
      clock: deps.clock,
      signal: this.#stopping.signal,
    });
  }

  /** Takes no more jobs, asks the running ones to stop, and waits for them, though not for ever. */
  async close(): Promise<void> {
    this.#stopping.abort();
    const closed = this.#worker.close().catch((err: unknown) => this.#deps.log.debug({ err }, 'worker did not close'));
    await within(FINISH_MS_MAX, Promise.allSettled(this.#processing), () => undefined);
    await within(GOODBYE_MS_MAX, closed, () => undefined);
    this.#connection.disconnect();
    if (this.#running.size > 0) this.#deps.log.warn({ jobs: [...this.#running] }, 'jobs did not stop in time');
  }

  /** An answer that refuses is no trouble of the connection: BullMQ would ask again at once. */
  async #hear(error: Error): Promise<void> {
    const code = refusalCode(error);
    const { log, canWrite } = this.#deps;
    if (code === undefined || this.#stopping.signal.aborted) {
      log.debug({ err: error }, 'worker has trouble with redis');
      return;
    }
    try {
      const paused = this.#refusalPause.begin();
      // That Redis refuses every write is told once for the whole process, by its watch.
      if (await canWrite()) this.#troubles.begin({ phrase: REFUSED, kind: code, fields: { code, err: error } });
      await paused;
    } catch (err) {
      log.error({ err }, 'worker cannot pause');
    }
  }

  #track(processed: Promise<void>): Promise<void> {
    const done = processed.finally(() => this.#processing.delete(done));
    this.#processing.add(done);
    return done;
  }

  async #process(job: Job<JobTicket>, token: string | undefined): Promise<void> {
    const { run } = job.data;
    if (job.name === HEARTBEAT) return this.#deps.beat();
    const handler = this.#deps.handlers[job.name];
    if (handler === undefined) throw new UnrecoverableError(`no job is named ${job.name}`);
    if (!(await this.#acquire(job.name))) {
      // Whoever holds it does everything that is due; only a run that someone asked for waits its turn.
      if (run === undefined) return;
      // The queue lives by the machine's clock, wherever the daemon's was moved.
      await job.moveToDelayed(systemClock.now() + LEASE_RETRY_MS, token);
      throw new DelayedError();
    }
    const renewal = setInterval(() => void this.#renew(job.name), RENEW_MS);
    try {
      await this.#run(job, handler);
    } finally {
      clearInterval(renewal);
      this.#running.delete(job.name);
      await this.#deps.leases.release([leaseOf(job.name)]);
    }
  }

  async #acquire(job: string): Promise<boolean> {
    if (this.#running.has(job)) return false;
    this.#running.add(job);
    const held = await this.#deps.leases.acquire([leaseOf(job)], LEASE_MS).catch((error: unknown) => {
      this.#running.delete(job);
      throw error;
    });
    if (held.size === 1) return true;
    this.#running.delete(job);
    return false;
  }

  async #renew(job: string): Promise<void> {
    try {
      await this.#deps.leases.acquire([leaseOf(job)], LEASE_MS);
      this.#troubles.clear(NOT_RENEWED);
    } catch (err) {
      this.#troubles.begin({ phrase: NOT_RENEWED, fields: { err, job } });
    }
  }

  async #run(job: Job<JobTicket>, handler: JobHandler): Promise<void> {
    const { runs, clock, log } = this.#deps;
    const id = job.data.run ?? randomUUID();
    const requested = job.data.run === undefined ? undefined : await runs.find(id);
    if (requested?.state === 'succeeded') return;
    const input = requested?.input ?? {};
    const startedAtMs = clock.now();
    const trigger = job.data.run === undefined ? (job.data.trigger ?? 'tick') : 'request';
    await runs.start({ _id: id, job: job.name, trigger, input }, new Date(startedAtMs));
    let result: Record<string, unknown>;
    try {
      const context = { input, signal: this.#stopping.signal, report: this.#reporter(id) };
      const work = (): Promise<Record<string, unknown>> => handler(context);
      result = requested === undefined ? await work() : await this.#patiently(work, { id, job: job.name, startedAtMs });
      await runs.succeed(id, result, new Date(clock.now()));
    } catch (err) {
      const isTransient = isPassing(err);
      if (isTransient && requested !== undefined && this.#stopping.signal.aborted) {
        // Another process does it.
        await runs.requeue(id);
        throw err;
      }
      const failure = failureOf(err);
      log[isTransient ? 'warn' : 'error']({ err, job: job.name, run: id }, 'job failed');
      await runs.fail(id, failure, new Date(clock.now()));
      // Somebody waits for the end of a requested run: once it is told, it is the end.
      if (isTransient && requested === undefined) throw err;
      throw new UnrecoverableError(failure.message);
    }
    log.info({ job: job.name, run: id, durationMs: clock.now() - startedAtMs, result }, 'job done');
    const { refused } = result;
    if (refused !== undefined) log.error({ job: job.name, run: id, refused }, 'job went on without what was refused');
    // What was only shown has nothing that follows.
    if (!isDryRun(input)) await this.#ring(job.name, result);
  }

  /**
   * Does the work of a run that somebody asked for and waits for, again and again while what is in its way passes by
   * itself. A tick's work needs no such patience: the next tick, or the sweep, finds it.
   */
  async #patiently(
    work: () => Promise<Record<string, unknown>>,
    run: { id: string; job: string; startedAtMs: number },
  ): Promise<Record<string, unknown>> {
    const { clock, log } = this.#deps;
    for (let tries = 1; ; tries += 1) {
      try {
        return await work();
      } catch (err) {
        const isOver = clock.now() - run.startedAtMs >= REQUESTED_SPAN_MS || this.#stopping.signal.aborted;
        if (!isPassing(err) || isOver) throw err;
        log.warn({ err, job: run.job, run: run.id, tries }, 'job is tried again');
        const waitMs = Math.min(REQUESTED_WAIT_MS_MIN * 2 ** (tries - 1), REQUESTED_WAIT_MS_MAX);
        await clock.sleep(waitMs, this.#stopping.signal);
      }
    }
  }

  /** What follows is due in MongoDB as well, where the sweep finds it: a bell that fails makes no failure of what was done. */
  async #ring(job: string, result: Record<string, unknown>): Promise<void> {
    try {
      await this.#deps.followUp(job, result);
    } catch (err) {
      this.#deps.log.warn({ err, job }, 'could not ring for what follows');
    }
  }

  #reporter(id: string): NonNullable<JobContext['report']> {
    const { runs, clock } = this.#deps;
    let toldAtMs = Number.NEGATIVE_INFINITY;
    return async (progress) => {
      if (clock.now() - toldAtMs < REPORT_MS) return;
      toldAtMs = clock.now();
      await runs.report(id, progress);
    };
  }
}

function leaseOf(job: string): string {
  return `job.${job}`;
}
