/** What the command line says while a run cannot begin, follows another one, or finds nothing to do. */
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { createStripeCustomer, meterBody } from '../../scripts/lib/torture/target.ts';
import { renderWaiting } from '../../scripts/lib/waiting-text.ts';
import { readEmbeddedEnvironment } from '../../packages/dev-services/src/environment.ts';
import { startEmbeddedRedis } from '../../packages/dev-services/src/redis.ts';
import { resolveRedis } from '../../packages/dev-services/src/resolve-redis.ts';
import { Leases } from '../../src/platform/mongo/leases.ts';
import { RUNS, Runs } from '../../src/platform/mongo/runs.ts';
import { withDaemon } from '../support/daemon.ts';

const SCENARIO_MS_MAX = 240_000;
const JOB = 'submit-meter-events';

describe('a job that nobody begins', () => {
  it(
    'is said to wait, and for what, and given up with exit code 4 after a minute',
    { timeout: SCENARIO_MS_MAX },
    async () => {
      const redis = await startEmbeddedRedis({ program: await resolveRedis(readEmbeddedEnvironment(), () => {}) });
      try {
        await withDaemon({ environment: { REDIS_URL: redis.url } }, async (daemon) => {
          await redis.kill();
          const { code, stdout, stderr } = await daemon.cli('aggregate');
          expect([code, stdout]).toEqual([4, '']);
          expect(stderr).toMatch(/^waiting for a worker to begin run \S+: the daemon says: redis does not answer/m);
          expect(stderr).toMatch(/the job aggregate-usage was not begun in 60 s\n {2}why: the daemon says: redis/);
          expect(stderr.match(/waiting for a worker/g)).toHaveLength(1);
        });
      } finally {
        await redis.stop();
      }
    },
  );
});

describe('submit', () => {
  it('that finds another run at work shows how far that is and what it came to', { timeout: SCENARIO_MS_MAX }, () =>
    withDaemon({}, async (daemon) => {
      const { db } = daemon;
      const [leases, runs] = [new Leases(db, 'another process'), new Runs(db)];
      await leases.acquire([`job.${JOB}`], SCENARIO_MS_MAX);
      await runs.start({ _id: 'other', job: JOB, trigger: 'tick', input: {} }, new Date());
      await runs.report('other', { done: 12, total: 40 });
      const submitted = daemon.cli('submit');
      while ((await db.collection(RUNS).countDocuments({ job: JOB, state: 'queued' })) === 0) await pause(100);
      await pause(5_000);
      await runs.succeed('other', { planned: 3, calls: 40 }, new Date());
      await leases.release([`job.${JOB}`]);
      const { code, stdout, stderr } = await submitted;
      expect(stderr).toMatch(/^another run of submit-meter-events is at work since .*: this one follows it$/m);
      expect([code, stdout.trim().split('\n')]).toEqual([
        0,
        [
          'the run before this one (other): planned 3, calls 40',
          'nothing to do: all usage that was aggregated is at Stripe',
        ],
      ]);
    }),
  );

  it('that has nothing to do says why, and when something goes out', { timeout: SCENARIO_MS_MAX }, () =>
    withDaemon({ environment: { WINDOW_SETTLE_MS: '600000' } }, async (daemon) => {
      const meter = meterBody({ key: 'calls', aggregation: 'sum' }, Date.parse('2026-01-01T00:00:00Z'));
      await daemon.call('PUT', '/v1/meters/calls', meter);
      await daemon.run('sync-meters');
      const stripeCustomerId = await createStripeCustomer(daemon.simulator.url, 'acme');
      await daemon.call('PUT', '/v1/customers/acme', { stripeCustomerId });
      const event = { idempotencyKey: 'e1', customerId: 'acme', eventType: 'call', quantity: '3' };
      await daemon.call('POST', '/v1/events', { ...event, occurredAt: new Date().toISOString() });
      await daemon.run('aggregate-usage');
      const { code, stdout } = await daemon.cli('submit');
      expect([code, stdout]).toEqual([
        0,
        expect.stringMatching(
          /^nothing to do: 1 window end(s|ed) at [-\d: ]+ UTC, goes out by [-\d: ]+ UTC(; 1 journal entry waits.*)?\n$/,
        ),
      ]);
    }),
  );

  it('tells times of the day as such, and all that waits', () => {
    const nowMs = Date.parse('2026-11-21T08:30:00Z');
    const windows = { count: 1, endsAt: '2026-11-21T09:00:00.000Z', goesOutBy: '2026-11-21T09:20:00.000Z' };
    expect(renderWaiting({ windows }, nowMs)).toBe('nothing to do: 1 window ends at 09:00 UTC, goes out by 09:20 UTC');
    const late = { ...windows, count: 2, goesOutBy: '2026-11-22T00:10:00.000Z' };
    expect(renderWaiting({ windows: late, blocked: 4, journalEntries: 5 }, nowMs)).toBe(
      'nothing to do: 2 windows end at 09:00 UTC, go out by 2026-11-22 00:10 UTC; ' +
        '5 journal entries wait to be aggregated (`tallystick aggregate`); 4 blocked (`tallystick doctor submissions`)',
    );
  });
});
