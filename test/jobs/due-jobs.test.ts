/** What runs by itself outside its turn. */
import type { Db } from 'mongodb';
import { describe, expect, it } from 'vitest';
import { MINUTE_MS } from '../../src/platform/durations.ts';
import { Runs } from '../../src/platform/mongo/runs.ts';
import { SubmittingPauses } from '../../src/submissions/sending/submitting-pause-store.ts';
import { WebhookInbox } from '../../src/webhooks/webhook-inbox-store.ts';
import { loadConfig } from '../../src/config.ts';
import { missedJobs } from '../../src/daemon/review-of-jobs.ts';
import { dueWebhookJobs } from '../../src/daemon/webhooks.ts';
import { withDatabase } from '../support/services.ts';

const start = Date.parse('2026-11-21T06:00:00Z');

function dueAt(db: Db, nowMs: number): Promise<string[]> {
  const stores = {
    runs: new Runs(db),
    submittingPauses: new SubmittingPauses(db),
    webhookInbox: new WebhookInbox(db),
  };
  type Parts = Parameters<typeof dueWebhookJobs>[0];
  return dueWebhookJobs({ stores, stripe: {} } as unknown as Parts, nowMs);
}

async function catchUp(db: Db, atMs: number): Promise<void> {
  const runs = new Runs(db);
  await runs.start({ _id: `run-${atMs}`, job: 'catch-up-events', trigger: 'sweep', input: {} }, new Date(atMs));
  await runs.succeed(`run-${atMs}`, {}, new Date(atMs));
}

describe('catching up with events', () => {
  it('is due at first, and when the hourly run was missed', () =>
    withDatabase(async (db) => {
      expect(await dueAt(db, start)).toEqual(['catch-up-events']);
      await catchUp(db, start);
      expect(await dueAt(db, start + 64 * MINUTE_MS)).toEqual([]);
      expect(await dueAt(db, start + 66 * MINUTE_MS)).toEqual(['catch-up-events']);
    }));

  it('is due once after a pause: a database that was restored may hold a young run of before', () =>
    withDatabase(async (db) => {
      await catchUp(db, start);
      await new SubmittingPauses(db).pause('restored', new Date(start + MINUTE_MS));
      expect(await dueAt(db, start + 2 * MINUTE_MS)).toEqual(['catch-up-events']);
      await catchUp(db, start + 2 * MINUTE_MS);
      expect(await dueAt(db, start + 3 * MINUTE_MS)).toEqual([]);
    }));
});

describe('a job whose turn was missed', () => {
  const missedAt = (db: Db, nowMs: number, settings: Record<string, string> = {}): Promise<string[]> => {
    const config = loadConfig({ MONGODB_URI: 'mongodb://x', REDIS_URL: 'redis://x', ...settings });
    type Parts = Parameters<typeof missedJobs>[0];
    return missedJobs({ stores: { runs: new Runs(db) }, config, nowMs } as unknown as Parts);
  };
  const STRIPE = { STRIPE_SECRET_KEY: 'sk_test_daemon', STRIPE_API_BASE: 'http://127.0.0.1:1' };

  it('runs when it would be told of as overdue, and not again at once when it fails', () =>
    withDatabase(async (db) => {
      const runs = new Runs(db);
      expect(await missedAt(db, start, STRIPE)).toEqual([]);
      const resolve = { job: 'resolve-submissions', trigger: 'tick', input: {} } as const;
      await runs.start({ _id: 'r1', ...resolve }, new Date(start));
      await runs.succeed('r1', {}, new Date(start));
      expect(await missedAt(db, start + 59 * MINUTE_MS, STRIPE)).toEqual([]);
      expect(await missedAt(db, start + 61 * MINUTE_MS, STRIPE)).toEqual(['resolve-submissions']);
      expect(await missedAt(db, start + 61 * MINUTE_MS)).toEqual([]);
      await runs.start({ _id: 'r2', ...resolve }, new Date(start + 61 * MINUTE_MS));
      await runs.fail('r2', { code: 'job_failed', message: 'no' }, new Date(start + 62 * MINUTE_MS));
      expect(await missedAt(db, start + 63 * MINUTE_MS, STRIPE)).toEqual([]);
    }));
});
