/** What a person is told of usage that Stripe holds and nothing bills: doctor, status, customers show, reconcile, explain. */
import { expect, it } from 'vitest';
import { HOUR_MS } from '../../src/platform/durations.ts';
import { openStripe } from '../../src/stripe/client.ts';
import { withDaemon } from '../support/daemon.ts';

it('a person is told of usage that nothing bills, by every verb, until there is a subscription or a reason', async () => {
  await withDaemon({}, async ({ simulator, run, cliHere: t }) => {
    const stripe = openStripe({ secretKey: 'sk_test_daemon', apiBase: simulator.url });
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
    expect((await t('customers', 'show', 'acme')).stdout).toMatch(/nothing bills it:[^]*n +500 +call +no subscription/);
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
  });
}, 600_000);
