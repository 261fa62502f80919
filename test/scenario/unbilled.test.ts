/** What a person is told of usage that Stripe holds and nothing bills: doctor, status, customers show, reconcile, explain. */
import { expect, it } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { startDaemon } from '../../src/daemon.ts';
import { HOUR_MS } from '../../src/durations.ts';
import { startSimulator } from '../../src/simulator/simulator.ts';
import { openStripe } from '../../src/stripe/client.ts';
import { tallystick } from '../support/command-line.ts';
import { mongodbUri, redisUrl, withDatabase } from '../support/services.ts';

/** Queues of other test files are in other databases of the same Redis. */
const REDIS_DATABASE = 11;
const ADMIN_KEY = 'tly_unbilled_usage_test_key_0001';

it('a person is told of usage that nothing bills, by every verb, until there is a subscription or a reason', async () => {
  await withDatabase(async (db) => {
    const simulator = await startSimulator({ rateLimitPerSecond: 0 });
    const env = {
      MONGODB_URI: mongodbUri(),
      MONGODB_DATABASE: db.databaseName,
      REDIS_URL: `${redisUrl()}/${REDIS_DATABASE}`,
      STRIPE_SECRET_KEY: 'sk_test_unbilled',
      STRIPE_API_BASE: simulator.url,
      ADMIN_API_KEY: ADMIN_KEY,
      PORT: '0',
      LOG_LEVEL: 'silent',
      ROLES: 'http,worker',
      WINDOW_SETTLE_MS: '0',
    };
    const daemon = await startDaemon(loadConfig(env));
    const t = (...args: string[]) =>
      tallystick(args, { env: { ...env, TALLYSTICK_URL: daemon.url, TALLYSTICK_API_KEY: ADMIN_KEY } });
    const run = async (job: string): Promise<void> => {
      const headers = { authorization: `Bearer ${ADMIN_KEY}`, 'content-type': 'application/json' };
      const asked = await fetch(`${daemon.url}/v1/runs`, { method: 'POST', headers, body: JSON.stringify({ job }) });
      const { runId } = (await asked.json()) as { runId: string };
      for (;;) {
        const found = (await (await fetch(`${daemon.url}/v1/runs/${runId}`, { headers })).json()) as { state: string };
        if (found.state === 'succeeded') return;
        if (found.state === 'failed') throw new Error(`${job} failed: ${JSON.stringify(found)}`);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    };
    try {
      const stripe = openStripe({ secretKey: 'sk_test_unbilled', apiBase: simulator.url });
      const { id } = await stripe.customers.create({ name: 'acme' });
      const meter = { eventType: 'call', aggregation: 'sum', unit: 'call', stripe: { eventName: 'n' } };
      expect((await t('meters', 'put', 'n', JSON.stringify(meter))).code).toBe(0);
      expect((await t('meters', 'sync')).code).toBe(0);
      expect((await t('customers', 'put', 'acme', JSON.stringify({ stripeCustomerId: id }))).code).toBe(0);
      const used = { idempotencyKey: 'u1', customerId: 'acme', eventType: 'call', quantity: '500' };
      const occurredAt = new Date(Math.floor(Date.now() / HOUR_MS) * HOUR_MS - HOUR_MS).toISOString();
      expect((await t('send', JSON.stringify({ ...used, occurredAt }))).code).toBe(0);
      expect((await t('aggregate')).code).toBe(0);
      expect((await t('submit')).code).toBe(0);

      const early = await t('doctor', 'unbilled');
      expect(early.stdout).toContain('it is not known whether anything bills the usage');
      expect((await t('status')).stdout).toContain('unbilled usage   not known');
      await run('catch-up-events');
      await run('find-unbilled-usage');

      const doctor = await t('doctor', 'unbilled');
      expect(doctor.stdout).toContain('that Stripe holds: no subscription (acme: 500 call of n)');
      expect(doctor.code).toBe(1);
      expect((await t('status')).stdout).toContain('unbilled usage   1: no subscription');
      expect((await t('unbilled')).stdout).toMatch(/acme +n +500 +call +no subscription/);
      expect((await t('customers', 'show', 'acme')).stdout).toMatch(
        /nothing bills it:[^]*n +500 +call +no subscription/,
      );
      const reconciled = await t('reconcile');
      expect(reconciled.stdout).toContain("nothing bills 500 of acme's n: no subscription");
      expect(reconciled.code).toBe(5);
      const explained = await t('explain', '--customer', 'acme', '--meter', 'n');
      expect(explained.stdout).toMatch(/sent +500 +sent to Stripe/);
      expect(explained.stdout).toContain('on no invoice so far');
      expect(explained.stdout).toMatch(/nothing bills 500 from .* to .*: no subscription/);

      expect((await t('customers', 'put', 'acme', '{"unbilledReason":"our own account"}')).code).toBe(0);
      await run('find-unbilled-usage');
      expect(await t('doctor', 'unbilled')).toMatchObject({ code: 0, stdout: '' });
      expect((await t('reconcile')).code).toBe(0);
      expect((await t('status')).stdout).toContain('none, and 1 that are meant to be so');
    } finally {
      await daemon.stop();
      await simulator.stop();
    }
  });
}, 600_000);
