/** When events that nobody delivered are asked for without a person's doing. */
import type { Db } from 'mongodb';
import { describe, expect, it } from 'vitest';
import { MINUTE_MS } from '../../src/platform/durations.ts';
import { Runs } from '../../src/platform/mongo/runs.ts';
import { SubmittingPauses } from '../../src/submissions/sending/submitting-pause-store.ts';
import { WebhookInbox } from '../../src/webhooks/webhook-inbox-store.ts';
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
