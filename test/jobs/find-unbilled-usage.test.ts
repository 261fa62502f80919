/** Usage that was sent, that Stripe holds, and that no invoice will ever have. */
import { afterEach, describe, expect, it } from 'vitest';
import { onBoundary } from '../../src/platform/boundary.ts';
import { readStatus } from '../../src/daemon/read-status.ts';
import { explainBilling, unbilledGauges } from '../../src/daemon/unbilled-usage.ts';
import { hear, passTime, stripeOf, subscribe } from '../support/billing.ts';
import { type Pipeline, withPipeline } from '../support/pipeline.ts';
import { ingestEvents, meterOf, ms, storeMeters } from '../support/usage.ts';

function withMeters(use: (pipeline: Pipeline) => Promise<void>): Promise<void> {
  return withPipeline({}, async (pipeline) => {
    await storeMeters(pipeline.stores.database.db, [
      meterOf({ key: 'calls', stripe: { eventName: 'calls' } }),
      meterOf({ key: 'bytes', eventType: 'transfer', stripe: { eventName: 'bytes' } }),
    ]);
    await pipeline.run('sync-meters');
    await use(pipeline);
  });
}

async function send(pipeline: Pipeline, ...uses: [at: string, quantity: string, eventType?: string][]): Promise<void> {
  const events = uses.map(([at, quantity, eventType = 'call']) => ({ at, quantity, eventType }));
  await ingestEvents(pipeline.stores.database.db, events);
  for (const job of ['aggregate-usage', 'submit-meter-events']) await pipeline.run(job);
}

/** What is listed: the meter and its parts as [reason, quantity]. */
async function unbilled({ stores }: Pipeline): Promise<[string, [string, string][]][]> {
  const found = await stores.unbilledUsage.list({ limit: 100 });
  return found.map(({ meter, parts }) => [meter, parts.map(({ reason, quantity }) => [reason, quantity])]);
}

afterEach(() => onBoundary(undefined));

describe('usage that nothing bills', () => {
  it('is listed alike after a look that was stopped between two batches', () =>
    withMeters(async (pipeline) => {
      await pipeline.mapCustomer('acme');
      await pipeline.run('catch-up-events');
      await send(pipeline, ['2026-06-15T10:05:00Z', '500']);
      onBoundary((name) => {
        if (name === 'unbilled.batch-saved') throw new Error('stopped here');
      });
      await expect(pipeline.run('find-unbilled-usage')).rejects.toThrow('stopped here');
      onBoundary(undefined);
      expect(await pipeline.run('find-unbilled-usage')).toEqual({ unbilled: 1, accepted: 0 });
      expect(await unbilled(pipeline)).toEqual([['calls', [['no_subscription', '500']]]]);
    }));

  it('is not told before the subscriptions were read: not to know is not to be unbilled', () =>
    withMeters(async (pipeline) => {
      await pipeline.mapCustomer('acme');
      await send(pipeline, ['2026-06-15T10:05:00Z', '500']);
      expect(await pipeline.run('find-unbilled-usage')).toMatchObject({
        unknown: 'subscriptions_not_read',
        unbilled: 0,
      });
      expect((await readStatus(pipeline.parts, [])).unbilled).toMatchObject({
        unknown: 'subscriptions_not_read',
        reasons: [],
      });
      expect(await pipeline.run('reconcile-usage')).toMatchObject({ verdicts: { match: 2 } });

      await pipeline.run('catch-up-events');
      expect(await pipeline.run('find-unbilled-usage')).toEqual({ unbilled: 1, accepted: 0 });
      expect(await unbilled(pipeline)).toEqual([['calls', [['no_subscription', '500']]]]);
      const { unbilled: told } = await readStatus(pipeline.parts, []);
      expect(told).toMatchObject({ reasons: [{ reason: 'no_subscription', count: 1 }], accepted: 0 });
      expect(told.unknown).toBeUndefined();
    }));

  it('is a verdict of reconciliation, and no longer a match', () =>
    withMeters(async (pipeline) => {
      const customer = await pipeline.mapCustomer('acme');
      await pipeline.run('catch-up-events');
      await send(pipeline, ['2026-06-15T10:05:00Z', '500'], ['2026-06-15T10:05:00Z', '3', 'transfer']);
      await subscribe(pipeline, customer, ['bytes']);
      await hear(pipeline);
      const run = await pipeline.run('reconcile-usage');
      // The item for bytes began at noon; for calls there is none.
      expect(run).toMatchObject({ verdicts: { unbilled: 2 } });
      const rows = await pipeline.stores.reconciliations.listRows({ run: String(run['id']), limit: 10 });
      expect(
        rows
          .filter(({ verdict }) => verdict === 'unbilled')
          .map(({ _id, verdict, local, stripe, unbilled: found }) => [_id.meter, verdict, local, stripe, found]),
      ).toEqual([
        ['bytes', 'unbilled', '3', '3', { quantity: '3', reasons: ['before_item'] }],
        ['calls', 'unbilled', '500', '500', { quantity: '500', reasons: ['no_subscription'] }],
      ]);
    }));

  it('is what was used before the item began, to the second, also within one hour', () =>
    withMeters(async (pipeline) => {
      const customer = await pipeline.mapCustomer('acme');
      await pipeline.run('catch-up-events');
      await pipeline.simulator.advanceTo(ms('2026-06-15T12:30:05Z'));
      await subscribe(pipeline, customer, ['calls']);
      await hear(pipeline);
      await pipeline.simulator.advanceTo(ms('2026-06-15T14:00:00Z'));
      await send(
        pipeline,
        ['2026-06-15T12:30:04.999Z', '1'],
        ['2026-06-15T12:30:05Z', '2'],
        ['2026-06-15T13:00:00Z', '4'],
      );
      await pipeline.run('find-unbilled-usage');
      expect(await unbilled(pipeline)).toEqual([['calls', [['before_item', '1']]]]);
      // What Stripe says at the end of the period: exactly the rest is billed.
      await passTime(pipeline, ms('2026-07-15T16:00:00Z'));
      const { data } = await stripeOf(pipeline).invoices.list({ customer, limit: 10 });
      const billed = data.flatMap(({ lines, billing_reason }) =>
        billing_reason === 'subscription_cycle'
          ? lines.data.map(({ quantity_decimal }) => quantity_decimal?.toString())
          : [],
      );
      expect(billed).toEqual(['6']);
    }));

  it('is told apart where an item was added to a running subscription within an hour', () =>
    withMeters(async (pipeline) => {
      const customer = await pipeline.mapCustomer('acme');
      await pipeline.run('catch-up-events');
      const subscription = await subscribe(pipeline, customer, ['bytes']);
      await pipeline.simulator.advanceTo(ms('2026-06-15T13:20:00Z'));
      const [meter] = ((await pipeline.parts.stripe?.listMeters()) ?? []).filter(
        ({ eventName }) => eventName === 'calls',
      );
      const stripe = stripeOf(pipeline);
      const price = await stripe.prices.create({
        currency: 'usd',
        product_data: { name: 'calls' },
        recurring: { interval: 'month', usage_type: 'metered', meter: meter?.id ?? '' },
        unit_amount: 1,
      });
      await stripe.subscriptions.update(subscription.id, { items: [{ price: price.id }] });
      await hear(pipeline);
      await pipeline.simulator.advanceTo(ms('2026-06-15T15:00:00Z'));
      await send(pipeline, ['2026-06-15T13:10:00Z', '1'], ['2026-06-15T13:20:00Z', '2']);
      await pipeline.run('find-unbilled-usage');
      expect(await unbilled(pipeline)).toEqual([['calls', [['before_item', '1']]]]);
    }));

  it('is gone once a subscription bills it, and nothing is asked of the events', () =>
    withMeters(async (pipeline) => {
      const customer = await pipeline.mapCustomer('acme');
      await pipeline.run('catch-up-events');
      await send(pipeline, ['2026-06-15T10:05:00Z', '500']);
      await pipeline.run('find-unbilled-usage');
      expect(await unbilled(pipeline)).toHaveLength(1);
      const [meter] = (await pipeline.parts.stripe?.listMeters()) ?? [];
      const calls =
        ((await pipeline.parts.stripe?.listMeters()) ?? []).find(({ eventName }) => eventName === 'calls') ?? meter;
      const stripe = stripeOf(pipeline);
      const price = await stripe.prices.create({
        currency: 'usd',
        product_data: { name: 'calls' },
        recurring: { interval: 'month', usage_type: 'metered', meter: calls?.id ?? '' },
        unit_amount: 1,
      });
      const start = ms('2026-06-15T00:00:00Z') / 1_000;
      await stripe.subscriptions.create({ customer, items: [{ price: price.id }], backdate_start_date: start });
      await hear(pipeline);
      expect(await pipeline.run('find-unbilled-usage')).toEqual({ unbilled: 0, accepted: 0 });
      expect(await unbilled(pipeline)).toEqual([]);
    }));

  it('alarms nobody where a person said that it is meant, and stays listed', () =>
    withMeters(async (pipeline) => {
      await pipeline.mapCustomer('acme');
      await pipeline.run('catch-up-events');
      await send(pipeline, ['2026-06-15T10:05:00Z', '500']);
      const before = await pipeline.stores.customers.find('acme');
      if (before === null) throw new Error('no customer');
      const after = { ...before, unbilledReason: 'our own account', revision: before.revision + 1 };
      await pipeline.stores.customers.save(after, before.revision);
      expect(await pipeline.run('find-unbilled-usage')).toEqual({ unbilled: 1, accepted: 1 });
      expect(await pipeline.run('reconcile-usage')).toMatchObject({ verdicts: { match: 2 } });
      expect((await readStatus(pipeline.parts, [])).unbilled).toMatchObject({ reasons: [], accepted: 1 });
      expect(await pipeline.stores.unbilledUsage.list({ accepted: true, limit: 5 })).toMatchObject([
        { customerId: 'acme', accepted: 'our own account' },
      ]);
    }));

  it('is not what a cancelled subscription left on its last invoice', () =>
    withMeters(async (pipeline) => {
      const customer = await pipeline.mapCustomer('acme');
      await pipeline.run('catch-up-events');
      const { id } = await subscribe(pipeline, customer, ['calls']);
      await hear(pipeline);
      await pipeline.simulator.advanceTo(ms('2026-06-16T00:00:00Z'));
      await send(pipeline, ['2026-06-15T13:00:00Z', '7']);
      await stripeOf(pipeline).subscriptions.cancel(id, { invoice_now: true });
      await hear(pipeline);
      await pipeline.simulator.advanceTo(ms('2026-06-16T05:00:00Z'));
      await send(pipeline, ['2026-06-16T01:00:00Z', '1']);
      await hear(pipeline);
      await pipeline.run('find-unbilled-usage');
      expect(await unbilled(pipeline)).toEqual([['calls', [['after_item', '1']]]]);
    }));

  it('shows in a gauge, and beside what is on an invoice in an explanation', () =>
    withMeters(async (pipeline) => {
      const customer = await pipeline.mapCustomer('acme');
      await pipeline.run('catch-up-events');
      await send(pipeline, ['2026-06-15T10:05:00Z', '500']);
      await pipeline.run('find-unbilled-usage');
      const gauge = unbilledGauges(pipeline.parts).find(({ name }) => name === 'unbilled_usage');
      expect(await gauge?.read()).toEqual([{ value: 1, labels: { reason: 'no_subscription' } }]);
      const [sent] = await pipeline.stores.submissions.list({ limit: 1 });
      const told = await explainBilling(pipeline.parts, {
        customerId: 'acme',
        meter: 'calls',
        fromMs: ms('2026-06-01T00:00:00Z'),
        toMs: ms('2026-07-01T00:00:00Z'),
        stripeCustomerIds: [customer],
        stripeMeterIds: [sent?.stripeMeterId ?? ''],
      });
      expect(told).toMatchObject({ invoices: [], unbilled: [{ reason: 'no_subscription', quantity: '500' }] });
    }));
});
