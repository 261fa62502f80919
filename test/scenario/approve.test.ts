/** A loss at Stripe that waits for a person, from the command line to the corrected total. */
import { describe, expect, it } from 'vitest';
import { DAY_MS } from '../../src/platform/durations.ts';
import { type LentDaemon, withDaemon } from '../support/daemon.ts';
import { loseAtStripe } from '../support/drift.ts';

const SETTINGS = { RECONCILE_MODE: 'report', SUMMARY_LAG_MAX_MS: '0', SUMMARY_REREAD_MS: '0' };

describe('a plan that waits', () => {
  it('is shown by reconcile, carried out by reconcile approve, and kept with who decided', () =>
    withDaemon({ environment: SETTINGS }, async (daemon) => {
      const customer = await sendUsage(daemon);
      const { cli } = daemon;
      await loseAtStripe(daemon, daemon.simulator.meterEvents()[0]?.identifier ?? '');

      const shown = await cli('reconcile');
      expect(shown.code).toBe(5);
      expect(shown.stdout).toMatch(/1 missing[\s\S]*waiting for a person 1[\s\S]*send again what Stripe lost/);
      const [, id = ''] = /reconcile approve (\S+) --actor/.exec(shown.stdout) ?? [];
      const dry = await cli('reconcile', 'approve', id, '--actor', 'ada', '--dry-run');
      expect([dry.code, dry.stdout]).toEqual([0, expect.stringContaining('would carry out')]);
      const done = await cli('reconcile', 'approve', id, '--actor', 'ada', '--customer', 'acme', '--json');
      expect(JSON.parse(done.stdout)).toMatchObject({ applied: 1, rows: [{ customerId: 'acme', meter: 'calls' }] });
      await daemon.run('submit-meter-events');
      expect(daemon.simulator.countedTotal({ customer, meter: 'calls' })).toBe('7');
      expect(await daemon.get(`/v1/reconciliations/${id}`)).toMatchObject({
        waiting: 1,
        approvals: [{ actor: 'ada', acceptSurplus: false, applied: 1 }],
        comparisons: { data: [{ waits: false, applied: true, plan: [{ kind: 'replace' }] }] },
      });
      const again = await daemon.call('POST', `/v1/reconciliations/${id}/approve`, { actor: 'ada' });
      expect([again.status, await again.json()]).toEqual([409, expect.objectContaining({ code: 'nothing_waits' })]);
      expect(await daemon.run('reconcile-usage')).toMatchObject({ verdicts: { match: 1 } });
    }));

  it('needs an administrator, a name, and known fields', () =>
    withDaemon({ environment: SETTINGS }, async (daemon) => {
      const path = '/v1/reconciliations/none/approve';
      const answers = [{}, { actor: '' }, { actor: 'ada', acceptsurplus: true }].map((body) =>
        daemon.call('POST', path, body),
      );
      expect((await Promise.all(answers)).map(({ status }) => status)).toEqual([400, 400, 400]);
      const unknown = await daemon.call('POST', path, { actor: 'ada' });
      expect([unknown.status, await unknown.json()]).toEqual([
        404,
        expect.objectContaining({ code: 'reconciliation_not_found' }),
      ]);
      expect((await fetch(daemon.url + path, { method: 'POST' })).status).toBe(401);
    }));
});

/** One customer that used 7 an hour ago, which Stripe has taken; returns its id there. */
async function sendUsage(daemon: LentDaemon): Promise<string> {
  const response = await fetch(`${daemon.simulator.url}/v1/customers`, {
    method: 'POST',
    headers: { authorization: 'Bearer sk_test_other', 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams({ name: 'acme' }),
  });
  const { id: stripeCustomerId } = (await response.json()) as { id: string };
  const occurredAt = new Date(Date.now() - 3_600_000).toISOString();
  const billingAnchor = `${new Date(Date.now() - 10 * DAY_MS).toISOString().slice(0, 10)}T00:00:00Z`;
  await expectOk(daemon, 'PUT', '/v1/customers/acme', { stripeCustomerId, billingAnchor });
  await expectOk(daemon, 'PUT', '/v1/meters/calls', {
    displayName: 'calls',
    unit: 'call',
    eventType: 'call',
    aggregation: 'sum',
    stripe: { eventName: 'calls' },
  });
  await daemon.run('sync-meters');
  const event = { idempotencyKey: 'one', customerId: 'acme', eventType: 'call', occurredAt, quantity: '7' };
  await expectOk(daemon, 'POST', '/v1/events', event);
  await daemon.run('aggregate-usage');
  await daemon.run('submit-meter-events');
  return stripeCustomerId;
}

async function expectOk(daemon: LentDaemon, method: string, path: string, body: object): Promise<void> {
  const response = await daemon.call(method, path, body);
  expect([response.ok, await response.text()]).toEqual([true, expect.anything()]);
}
