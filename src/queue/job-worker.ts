import { setMaxListeners } from 'node:events';
import { randomUUID } from 'node:crypto';
import { DelayedError, type Job, UnrecoverableError, Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import { type Clock, systemClock } from '../clock.ts';
import { DaemonError } from '../errors.ts';
import { connect, type JobTicket, QUEUE_NAME, type QueuePlace, queuePrefix } from './job-queue.ts';

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
        trigger: 'tick' | 'request' | 'sweep' | 'follow-up';
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
  readonly clock: Clock;
  readonly log: {
    info(fields: object, phrase: string): void;
    warn(fields: object, phrase: string): void;
    error(fields: object, phrase: string): void;
  };
}

/** Jobs that run at the same time in one process. */
const CONCURRENCY = 4;
/** A requested run is tried again for at least this long before it fails for something that passes by itself. */
export const REQUESTED_SPAN_MS = 30_000;
const REQUESTED_WAIT_MS_MIN = 500;
const REQUESTED_WAIT_MS_MAX = 8_000;
const LEASE_MS = 60_000;
const RENEW_MS = 20_000;
/** How long a requested run waits before it asks for the lease again. */
const LEASE_RETRY_MS = 500;
/** Least time between two reports of progress. */
const REPORT_MS = 1_000;

/** Takes jobs from the queue and runs them: the one place where their errors are caught. */
export class JobWorker {
  readonly #deps: JobWorkerDeps;
  readonly #connection: Redis;
  readonly #worker: Worker<JobTicket>;
  readonly #running = new Set<string>();
  readonly #stopping = new AbortController();

  constructor(deps: JobWorkerDeps) {
    this.#deps = deps;
    // Every call in flight of every job may wait on it.
    setMaxListeners(0, this.#stopping.signal);
    const onError = (err: Error): void => deps.log.warn({ err }, 'worker has trouble with redis');
    this.#connection = connect(deps.place.redisUrl, onError);
    this.#worker = new Worker<JobTicket>(QUEUE_NAME, (job, token) => this.#process(job, token), {
      connection: this.#connection,
      prefix: queuePrefix(deps.place),
      concurrency: CONCURRENCY,
      lockDuration: LEASE_MS,
    });
    this.#worker.on('error', onError);
  }

  /** Takes no more jobs, asks the running ones to stop, and waits for them. */
  async close(): Promise<void> {
    this.#stopping.abort();
    await this.#worker.close();
    this.#connection.disconnect();
  }

  async #process(job: Job<JobTicket>, token: string | undefined): Promise<void> {
    const { run } = job.data;
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
    } catch (err) {
      this.#deps.log.warn({ err, job }, 'could not renew a lease');
    }
  }

  async #run(job: Job<JobTicket>, handler: JobHandler): Promise<void> {
    const { runs, clock, log } = this.#deps;
    const id = job.data.run ?? randomUUID();
    const requested = job.data.run === undefined ? undefined : await runs.find(id);
    if (requested?.state === 'succeeded') return;
    const input = requested?.input ?? {};
    const startedAtMs = clock.now();
    const trigger = job.data.run === undefined ? ('tick' as const) : ('request' as const);
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
      const code = err instanceof DaemonError ? err.code : 'job_failed';
      const message = err instanceof Error ? err.message : String(err);
      log[isTransient ? 'warn' : 'error']({ err, job: job.name, run: id }, 'job failed');
      await runs.fail(id, { code, message }, new Date(clock.now()));
      // Somebody waits for the end of a requested run: once it is told, it is the end.
      if (isTransient && requested === undefined) throw err;
      throw new UnrecoverableError(message);
    }
    log.info({ job: job.name, run: id, durationMs: clock.now() - startedAtMs, result }, 'job done');
    const { refused } = result;
    if (refused !== undefined) log.error({ job: job.name, run: id, refused }, 'job went on without what was refused');
    await this.#ring(job.name, result);
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

/** Whether an error says: try again later. */
function isPassing(err: unknown): boolean {
  return err instanceof DaemonError && err.kind === 'transient';
}

function leaseOf(job: string): string {
  return `job.${job}`;
}
