/** What wakes a person when the pipeline stands. */
import type { Db } from 'mongodb';
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { DAY_MS, HOUR_MS } from '../../src/platform/durations.ts';
import { DirtyHours } from '../../src/usage/dirty-hours-store.ts';
import { Runs } from '../../src/platform/mongo/runs.ts';
import { PipelineAlarms } from '../../src/daemon/pipeline-alarms.ts';
import { withDatabase } from '../support/services.ts';

const start = Date.parse('2026-11-21T06:00:00Z');

/** Alarms over a database, with a clock that is moved and a log that is kept. */
function alarmsOf(db: Db, settings: Record<string, string> = {}) {
  const config = loadConfig({ MONGODB_URI: 'mongodb://x', REDIS_URL: 'redis://x', ...settings });
  const told: string[] = [];
  const clock = { nowMs: start, now: () => clock.nowMs };
  const log = {
    error: (_fields: object, phrase: string) => told.push(phrase),
    info: ({ alarm }: { alarm: string }, phrase: string) => told.push(`${phrase}: ${alarm}`),
  };
  const parts = { stores: { dirtyHours: new DirtyHours(db), runs: new Runs(db) }, config, clock, log };
  type Parts = ConstructorParameters<typeof PipelineAlarms>[0];
  return { told, clock, alarms: new PipelineAlarms(parts as unknown as Parts, ['aggregate-usage', 'sync-meters']) };
}

async function endRun(runs: Runs, state: 'succeeded' | 'failed', atMs: number): Promise<void> {
  const id = `run-${atMs}`;
  await runs.start({ _id: id, job: 'aggregate-usage', trigger: 'tick', input: {} }, new Date(atMs));
  if (state === 'succeeded') await runs.succeed(id, {}, new Date(atMs));
  else await runs.fail(id, { code: 'job_failed', message: 'no' }, new Date(atMs));
}

describe('the alarms of the pipeline', () => {
  it('tell of a journal entry that is too old once, again each hour, and when it is over', () =>
    withDatabase(async (db) => {
      const { told, clock, alarms } = alarmsOf(db);
      await new DirtyHours(db).recordPairs([{ customerId: 'acme', hour: 1 }], new Date(start));
      await alarms.look();
      expect(told).toEqual([]);
      clock.nowMs += 3 * HOUR_MS + 1;
      await alarms.look();
      await alarms.look();
      expect(told).toEqual(['usage waits too long to be aggregated']);
      clock.nowMs += HOUR_MS;
      await alarms.look();
      expect(told).toHaveLength(2);
      await db.collection('dirty_hours').deleteMany({});
      await alarms.look();
      await alarms.look();
      expect(told.slice(2)).toEqual(['alarm is over: usage waits too long to be aggregated']);
    }));

  it('leave usage its day where it is aggregated once a day', () =>
    withDatabase(async (db) => {
      const { told, clock, alarms } = alarmsOf(db, { AGGREGATE_CRON: '30 2 * * *' });
      await new DirtyHours(db).recordPairs([{ customerId: 'acme', hour: 1 }], new Date(start));
      clock.nowMs += DAY_MS + HOUR_MS;
      await alarms.look();
      expect(told).toEqual([]);
      clock.nowMs += HOUR_MS + 1;
      await alarms.look();
      expect(told).toEqual(['usage waits too long to be aggregated']);
    }));

  it('tell of a job that fails three times in a row, and not of one that succeeds in between', () =>
    withDatabase(async (db) => {
      const { told, alarms } = alarmsOf(db);
      const runs = new Runs(db);
      const ends = ['failed', 'failed', 'succeeded', 'failed', 'failed'] as const;
      for (const [index, state] of ends.entries()) await endRun(runs, state, start + index);
      expect(await runs.failuresInARow('aggregate-usage')).toBe(2);
      await alarms.look();
      expect(told).toEqual([]);
      await endRun(runs, 'failed', start + 10);
      await alarms.look();
      await alarms.look();
      expect(told).toEqual(['aggregate-usage keeps failing']);
    }));

  it('tell of what was set aside', () =>
    withDatabase(async (db) => {
      const { told, alarms } = alarmsOf(db);
      const note = { attempts: 1, reason: 'RangeError: beyond the buffer' };
      const pairs = [{ customerId: 'acme', hour: 1 }];
      await new DirtyHours(db).setAside(pairs, { since: new Date(start), at: new Date(start), note });
      await alarms.look();
      expect(told).toEqual(['customer-hours cannot be derived']);
    }));
});
