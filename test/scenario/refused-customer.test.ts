/** A customer that Stripe does not have: refused when it is put, and when it is there all the same, seen by everybody. */
import { describe, expect, it } from 'vitest';
import { DAY_MS } from '../../src/platform/durations.ts';
import { openStripe } from '../../src/stripe/client.ts';
import { type LentDaemon, withDaemon } from '../support/daemon.ts';

const CUSTOMER = 'GET /v1/customers/{id}';
const GHOST = { stripeCustomerId: 'cus_ThisIsNotThere1' };

async function createCustomer({ simulator }: LentDaemon): Promise<string> {
  return (await stripeOf(simulator.url).customers.create({})).id;
}

function stripeOf(apiBase: string): ReturnType<typeof openStripe> {
  return openStripe({ secretKey: 'sk_test_daemon', apiBase });
}

async function put(daemon: LentDaemon, path: string, body: object): Promise<{ status: number; body: unknown }> {
  const response = await daemon.call('PUT', `/v1/customers/${path}`, body);
  return { status: response.status, body: await response.json() };
}

describe('putting a customer', { timeout: 120_000 }, () => {
  it('asks Stripe whether it has the customer, unless it is told not to', () =>
    withDaemon({}, async (daemon) => {
      const refused = await put(daemon, 'ghost', GHOST);
      expect(refused).toMatchObject({ status: 422, body: { code: 'stripe_customer_not_found' } });
      expect((await daemon.call('GET', '/v1/customers/ghost')).status).toBe(404);
      const gone = await createCustomer(daemon);
      await stripeOf(daemon.simulator.url).customers.del(gone);
      expect(await put(daemon, 'gone', { stripeCustomerId: gone })).toMatchObject({ status: 422 });
      const there = await createCustomer(daemon);
      expect(await put(daemon, 'acme', { stripeCustomerId: there })).toMatchObject({ status: 200 });
      for (const query of ['?unchecked', '?unchecked=true']) {
        const body = { stripeCustomerId: `${GHOST.stripeCustomerId}${query.length}` };
        expect(await put(daemon, `ghost${query.length}${query}`, body)).toMatchObject({ status: 200 });
      }
      // What is mapped already is not asked for again, so that its other fields can be changed.
      const again = { stripeCustomerId: `${GHOST.stripeCustomerId}10`, name: 'Ghost' };
      expect(await put(daemon, 'ghost10', again)).toMatchObject({ status: 200, body: { name: 'Ghost' } });
      const [cli, unchecked] = [
        await daemon.cliHere('customers', 'put', 'ghost', JSON.stringify(GHOST)),
        await daemon.cliHere('customers', 'put', 'ghost', JSON.stringify(GHOST), '--unchecked'),
      ];
      expect([cli.code, cli.stderr]).toEqual([1, expect.stringContaining('stripe_customer_not_found')]);
      expect(unchecked.code).toBe(0);
    }));

  it('maps while Stripe is in trouble, and says that nobody checked', () =>
    withDaemon({}, async (daemon) => {
      const stripeCustomerId = await createCustomer(daemon);
      daemon.simulator.failNext('errorBefore', { route: CUSTOMER, times: 9 });
      expect(await put(daemon, 'acme', { stripeCustomerId })).toMatchObject({
        status: 200,
        body: { stripeCustomerId, warnings: [{ code: 'stripe_customer_unverified' }] },
      });
    }));
});

describe('a customer that Stripe does not have', { timeout: 180_000 }, () => {
  it('is drift of its own, and neither stops the others nor is hidden by a later run over one of them', () =>
    withDaemon({}, async (daemon) => {
      const meter = { eventType: 'call', aggregation: 'sum', stripe: { eventName: 'calls' } };
      expect((await daemon.call('PUT', '/v1/meters/calls', meter)).status).toBe(200);
      await daemon.run('sync-meters');
      await put(daemon, 'acme', { stripeCustomerId: await createCustomer(daemon) });
      await put(daemon, 'ghost?unchecked', GHOST);
      const occurredAt = new Date(Date.now() - DAY_MS / 12).toISOString();
      const events = ['acme', 'ghost'].map((customerId) => {
        return { idempotencyKey: customerId, customerId, eventType: 'call', occurredAt, quantity: '3' };
      });
      expect((await daemon.call('POST', '/v1/events', { events })).status).toBe(200);
      await daemon.run('aggregate-usage');
      await daemon.run('submit-meter-events');

      const all = await daemon.cliHere('reconcile');
      expect([all.code, all.stdout]).toEqual([5, expect.stringMatching(/ghost +calls .*customer_not_found/)]);
      // Both numbers of every pair are shown, equal ones too, and as of when they are.
      expect(all.stdout).toMatch(/acme +calls +\S+ +match +3 +3/);
      const one = await daemon.cliHere('reconcile', '--customer', 'acme');
      expect([one.code, one.stdout]).toEqual([0, expect.stringMatching(/acme +calls +\S+ +match \(as of .+\) +3 +3/)]);
      const fresh = await daemon.cliHere('reconcile', '--customer', 'acme', '--fresh');
      expect([fresh.code, fresh.stdout]).toEqual([0, expect.stringMatching(/acme +calls +\S+ +match +3 +3/)]);
      const status = await daemon.cliHere('status');
      expect(status.stdout).toMatch(/reconcile-usage .*without customer ghost .*customer_not_found/);
      const doctor = await daemon.cliHere('doctor', 'jobs');
      expect([doctor.code, doctor.stdout]).toEqual([
        1,
        expect.stringMatching(/^jobs: reconcile-usage .*customer ghost/),
      ]);
      const metrics = await (await daemon.call('GET', '/metrics')).text();
      expect(metrics).toContain('tallystick_reconciliation_pairs{verdict="customer_not_found"} ');
      expect(metrics).toContain('tallystick_job_refused_items{job="reconcile-usage"} ');

      await daemon.cliHere('submit', '--pause');
      await daemon.run('catch-up-events');
      const restored = await daemon.cliHere('doctor', 'restore');
      expect([restored.code, restored.stdout]).toEqual([
        5,
        expect.stringMatching(/ghost +calls +cus_ThisIsNotThere1 +customer_not_found/),
      ]);
    }));
});
