/** Customers whose subscription begins with a trial, from the first event to the first invoice that bills something. */
import { describe, expect, it } from 'vitest';
import { billingPeriodOf } from '../../src/customers/calendar/billing-customer.ts';
import { DAY_MS, HOUR_MS } from '../../src/platform/durations.ts';
import { openStripe } from '../../src/stripe/client.ts';
import { guardOf, hear, passTime, stripeOf, subscribe, wayOf } from '../support/billing.ts';
import { withDaemon } from '../support/daemon.ts';
import { START_MS, withPipeline } from '../support/pipeline.ts';
import { ingestEvents, meterOf, storeMeters } from '../support/usage.ts';

const instant = (ms: number): string => new Date(ms).toISOString();

describe('a trial', () => {
  it.each(['zero', 'counted'] as const)(
    'longer than a month is one billing period, and what Stripe does not charge is no drift (%s)',
    { timeout: 120_000 },
    (trialUsageLine) =>
      withPipeline({ simulator: { trialUsageLine } }, async (pipeline) => {
        const { simulator, stores } = pipeline;
        await storeMeters(stores.database.db, [meterOf({ key: 'calls', stripe: { eventName: 'calls' } })]);
        await pipeline.run('sync-meters');
        const customer = await pipeline.mapCustomer('acme');
        const { id } = await subscribe(pipeline, customer, ['calls']);
        const trialEnd = START_MS + 50 * DAY_MS;
        await stripeOf(pipeline).subscriptions.update(id, { trial_end: trialEnd / 1_000 });
        await hear(pipeline);
        const period = async (atMs: number): Promise<string[]> => {
          const billing = (await stores.customers.billingOf(['acme'])).get('acme');
          if (billing === undefined) throw new Error('no customer');
          const { fromMs, toMs } = billingPeriodOf(billing, atMs);
          return [instant(fromMs), instant(toMs)];
        };
        for (const days of [0, 20, 49]) {
          expect(await period(START_MS + days * DAY_MS)).toEqual([instant(START_MS), instant(trialEnd)]);
        }
        const use = async (at: number, quantity: string): Promise<void> => {
          await ingestEvents(stores.database.db, [{ at: instant(at), quantity }]);
          for (const job of ['aggregate-usage', 'submit-meter-events']) await pipeline.run(job);
        };
        await passTime(pipeline, START_MS + 40 * DAY_MS);
        await use(START_MS + 39 * DAY_MS, '1000');
        await passTime(pipeline, trialEnd + 3 * HOUR_MS);
        // The trial's invoice is looked at, and nothing on it is ours to judge.
        const guard = await guardOf(pipeline, customer);
        expect([wayOf(guard).includes('held'), guard.lines]).toEqual([false, []]);
        expect(await period(trialEnd)).toEqual([instant(trialEnd), instant(Date.parse('2026-09-04T12:00:00Z'))]);
        await use(trialEnd + HOUR_MS, '3000');
        await passTime(pipeline, Date.parse('2026-09-04T16:00:00Z'));
        expect(simulator.invoices().at(-1)).toMatchObject({ total: 1500, status: 'paid' });
        const billed = (await guardOf(pipeline, customer)).lines.map((line) => [line.verdict, line.billed?.toString()]);
        expect(billed).toEqual([['match', '3000']]);
      }),
  );

  it('shows in the daemon as the period it is', () =>
    withDaemon({}, async (daemon) => {
      const stripe = openStripe({ secretKey: 'sk_test_person', apiBase: daemon.simulator.url });
      await daemon.call('PUT', '/v1/meters/calls', {
        displayName: 'Calls',
        unit: 'call',
        eventType: 'call',
        aggregation: 'sum',
        stripe: { eventName: 'calls' },
      });
      await daemon.run('sync-meters');
      const [meter] = (await stripe.billing.meters.list()).data;
      const { id: customer } = await stripe.customers.create({});
      await daemon.call('PUT', '/v1/customers/acme', { stripeCustomerId: customer });
      const price = await stripe.prices.create({
        currency: 'usd',
        product_data: { name: 'Calls' },
        recurring: { interval: 'month', usage_type: 'metered', ...(meter && { meter: meter.id }) },
        unit_amount: 1,
      });
      const { trial_start: start, trial_end: end } = await stripe.subscriptions.create({
        customer,
        items: [{ price: price.id }],
        trial_period_days: 75,
      });
      await daemon.run('catch-up-events');
      await daemon.run('process-webhooks');
      const usage = await daemon.get<{ from: string; to: string }>('/v1/customers/acme/usage?meter=calls');
      expect([Date.parse(usage.from), Date.parse(usage.to)]).toEqual([Number(start) * 1_000, Number(end) * 1_000]);
    }));
});
