/** What the worker does with runs that somebody asked for, over real Redis and MongoDB. */
import { randomUUID } from 'node:crypto';
import { describe, expect, it, vi } from 'vitest';
import { SkippingClock } from '../../scripts/lib/torture/skipping-clock.ts';
import { DaemonError } from '../../src/platform/errors.ts';
import { JobQueue } from '../../src/platform/queue/job-queue.ts';
import { type JobHandler, JobWorker, REQUESTED_SPAN_MS } from '../../src/platform/queue/job-worker.ts';
import { Leases } from '../../src/platform/mongo/leases.ts';
import { type RunDocument, Runs } from '../../src/platform/mongo/runs.ts';
import { redisUrl, withDatabase } from '../support/services.ts';

const START_MS = Date.parse('2026-06-15T12:00:00Z');
const JOB = 'sync-meters';
const WAIT_MS = 50;
const away = (): DaemonError => {
  return new DaemonError({ kind: 'transient', code: 'stripe_unavailable', message: 'Stripe answered 500: oh' });
};

interface Lent {
  readonly runs: Runs;
  readonly queue: JobQueue;
  readonly clock: SkippingClock;
  /** How often the job's function was called. */
  tries(this: void): number;
}

/** Lends a worker for one job, and the queue before it. */
async function withWorker<T>(
  handler: JobHandler,
  followUp: (job: string) => Promise<void>,
  use: (lent: Lent) => Promise<T>,
): Promise<T> {
  return withDatabase(async (db) => {
    const clock = new SkippingClock(START_MS);
    const place = { redisUrl: redisUrl(), database: db.databaseName };
    const runs = new Runs(db);
    let tries = 0;
    const log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
    const worker = new JobWorker({
      place,
      handlers: {
        [JOB]: (context) => {
          tries += 1;
          return handler(context);
        },
      },
      runs,
      leases: new Leases(db, 'test'),
      followUp,
      beat: () => Promise.resolve(),
      canWrite: () => Promise.resolve(true),
      clock,
      log,
    });
    const queue = new JobQueue(place, { log, clock });
    try {
      return await use({ runs, queue, clock, tries: () => tries });
    } finally {
      await worker.close();
      await queue.close();
    }
  });
}

/** Runs one requested job to its end; every state that a person would have seen on the way is told, too. */
async function request(
  handler: JobHandler,
  followUp: () => Promise<void> = () => Promise.resolve(),
  input: Record<string, unknown> = {},
): Promise<{ run: RunDocument; tries: number; elapsedMs: number; seen: Set<string> }> {
  return withWorker(handler, followUp, async ({ runs, queue, clock, tries }) => {
    const _id = randomUUID();
    const queuedAt = new Date(START_MS);
    await runs.insert({ _id, job: JOB, trigger: 'request', state: 'queued', input, queuedAt, attempts: 0 });
    await ring(() => queue.addRun(JOB, _id));
    const seen = new Set<string>();
    for (;;) {
      const run = await runs.find(_id);
      seen.add(run?.state ?? 'lost');
      if (run !== null && run.endedAt !== undefined) {
        return { run, tries: tries(), elapsedMs: clock.now() - START_MS, seen };
      }
      await new Promise((resolve) => setTimeout(resolve, WAIT_MS));
    }
  });
}

async function ring(add: () => Promise<void>): Promise<void> {
  for (;;) {
    try {
      return await add();
    } catch {
      // The connection is not open yet.
      await new Promise((resolve) => setTimeout(resolve, WAIT_MS));
    }
  }
}

describe('a run that somebody asked for', { timeout: 60_000 }, () => {
  it('is tried again until what was in the way has passed, and nobody sees it fail meanwhile', async () => {
    let failures = 4;
    const { run, tries, seen } = await request(() => {
      failures -= 1;
      return failures < 0 ? Promise.resolve({ done: 1 }) : Promise.reject(away());
    });
    expect(run).toMatchObject({ state: 'succeeded', result: { done: 1 } });
    expect(run).not.toHaveProperty('error');
    expect(tries).toBe(5);
    expect(seen.has('failed')).toBe(false);
  });

  it('fails for what does not pass after its time and no sooner, with the last reason, and stays failed', async () => {
    const { run, tries, elapsedMs } = await request(() => Promise.reject(away()));
    expect(run).toMatchObject({ state: 'failed', error: { message: 'Stripe answered 500: oh' }, attempts: 1 });
    expect(elapsedMs).toBeGreaterThanOrEqual(REQUESTED_SPAN_MS);
    expect(tries).toBeGreaterThan(3);
  });

  it('fails at once for what will not pass by itself', async () => {
    const refused = new DaemonError({ kind: 'invalid', code: 'stripe_not_configured', message: 'no key' });
    const { run, tries } = await request(() => Promise.reject(refused));
    expect(run).toMatchObject({ state: 'failed', error: { code: 'stripe_not_configured' } });
    expect(tries).toBe(1);
  });

  it('has succeeded although nobody could ring for what follows, and is not done again', async () => {
    const { run, tries } = await request(
      () => Promise.resolve({ done: 1 }),
      () => Promise.reject(away()),
    );
    expect(run).toMatchObject({ state: 'succeeded', result: { done: 1 } });
    expect(tries).toBe(1);
  });
});

describe('a run', { timeout: 60_000 }, () => {
  it.each([[{ dryRun: true }], [{ apply: false }]])('that only shows (%j) has nothing that follows', async (input) => {
    const followed: string[] = [];
    const followUp = (): Promise<void> => {
      followed.push(JOB);
      return Promise.resolve();
    };
    await request(() => Promise.resolve({ customerHours: 3 }), followUp, input);
    expect(followed).toEqual([]);
    await request(() => Promise.resolve({ customerHours: 3 }), followUp);
    expect(followed).toEqual([JOB]);
  });

  it.each([
    ['tick', (queue: JobQueue) => queue.addTick(JOB, '2026-06-15T12:00')],
    ['sweep', (queue: JobQueue) => queue.addOnce(JOB, 'sweep')],
    ['follow-up', (queue: JobQueue) => queue.addOnce(JOB, 'follow-up')],
  ])('says truly that a %s began it', async (trigger, add) => {
    const done = () => Promise.resolve({ done: 1 });
    await withWorker(
      done,
      () => Promise.resolve(),
      async ({ runs, queue }) => {
        await ring(() => add(queue));
        await vi.waitFor(async () => expect((await runs.last(JOB))?.state).toBe('succeeded'), { timeout: 50_000 });
        expect((await runs.last(JOB))?.trigger).toBe(trigger);
      },
    );
  });
});
