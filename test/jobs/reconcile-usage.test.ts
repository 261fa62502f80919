import { Decimal128 } from 'mongodb';
import { describe, expect, it } from 'vitest';
import { HOUR_MS, MINUTE_MS } from '../../src/platform/durations.ts';
import { ingestEvents, meterOf, storeMeters } from '../support/usage.ts';
import { type Pipeline, withPipeline } from '../support/pipeline.ts';

const METERS = [
  meterOf({ key: 'calls', stripe: { eventName: 'calls' } }),
  meterOf({ key: 'peak', aggregation: 'max', stripe: { eventName: 'peak' } }),
];

async function sendUsage(pipeline: Pipeline): Promise<string> {
  await storeMeters(pipeline.stores.database.db, METERS);
  await pipeline.run('sync-meters');
  const customer = await pipeline.mapCustomer('acme');
  await ingestEvents(
    pipeline.stores.database.db,
    Array.from({ length: 40 }, (_, index) => ({
      at: new Date(Date.parse('2026-06-13T00:10:00Z') + index * HOUR_MS).toISOString(),
      quantity: String(index + 1),
    })),
  );
  await pipeline.run('aggregate-usage');
  await pipeline.run('submit-meter-events');
  return customer;
}

describe('reconcileUsage', () => {
  it('finds a match and confirms what it saw', () =>
    withPipeline({}, async (pipeline) => {
      await sendUsage(pipeline);
      expect(await pipeline.run('reconcile-usage')).toMatchObject({ verdicts: { match: 2 }, healed: 0 });
      expect((await pipeline.stores.submissions.census()).map(({ state }) => state)).toEqual(['confirmed']);
      // Nothing was submitted since: the next run reads nothing and still says match.
      expect(await pipeline.run('reconcile-usage')).toMatchObject({ verdicts: { match: 2 }, reads: 0 });
    }));

  it('heals nothing while summaries lag, however often it reads', () =>
    withPipeline({ simulator: { summaryLagMs: 6 * HOUR_MS } }, async (pipeline) => {
      await sendUsage(pipeline);
      for (let hour = 0; hour < 5; hour += 1) {
        const result = await pipeline.run('reconcile-usage');
        expect(result).toMatchObject({ verdicts: { stale: 2 }, healed: 0 });
        pipeline.clock.advance(HOUR_MS);
      }
      pipeline.clock.advance(2 * HOUR_MS);
      expect(await pipeline.run('reconcile-usage')).toMatchObject({ verdicts: { match: 2 }, healed: 0 });
      expect(pipeline.simulator.meterEventCount).toBe(80);
    }));

  it('replaces a submission that Stripe did not count, once, after two equal reads beyond the lag', () =>
    withPipeline({}, async (pipeline) => {
      const customer = await sendUsage(pipeline);
      const lost = pipeline.simulator
        .meterEvents()
        .find(({ eventName, value }) => eventName === 'calls' && value === '7');
      await cancelSecretly(pipeline, lost?.identifier ?? '');
      expect(await pipeline.run('reconcile-usage')).toMatchObject({ verdicts: { stale: 1, match: 1 }, healed: 0 });
      pipeline.clock.advance(13 * HOUR_MS);
      expect(await pipeline.run('reconcile-usage')).toMatchObject({ verdicts: { stale: 1 }, healed: 0 });
      pipeline.clock.advance(11 * MINUTE_MS);
      expect(await pipeline.run('reconcile-usage')).toMatchObject({ verdicts: { missing: 1 }, healed: 1 });
      expect(await pipeline.run('reconcile-usage')).toMatchObject({ healed: 0 });
      await pipeline.run('submit-meter-events');
      expect(pipeline.simulator.countedTotal({ customer, meter: 'calls' })).toBe('820');
      expect(await pipeline.run('reconcile-usage')).toMatchObject({ verdicts: { match: 2 }, healed: 0 });
      expect((await pipeline.stores.submissions.find(lost?.identifier ?? ''))?.state).toBe('replaced');
    }));

  it('leaves a plan waiting in report mode and beyond the bounds', () =>
    withPipeline({ environment: { HEAL_FRACTION_MAX: '0.001' } }, async (pipeline) => {
      await sendUsage(pipeline);
      const lost = pipeline.simulator
        .meterEvents()
        .find(({ eventName, value }) => eventName === 'calls' && value === '7');
      await cancelSecretly(pipeline, lost?.identifier ?? '');
      pipeline.clock.advance(13 * HOUR_MS);
      await pipeline.run('reconcile-usage');
      pipeline.clock.advance(11 * MINUTE_MS);
      expect(await pipeline.run('reconcile-usage')).toMatchObject({ verdicts: { missing: 1 }, healed: 0, waiting: 1 });
      expect(await pipeline.run('reconcile-usage', { dryRun: true })).toMatchObject({ healed: 0, waiting: 1 });
    }));

  it('leaves usage at Stripe that is not ours to a person', () =>
    withPipeline({}, async (pipeline) => {
      const customer = await sendUsage(pipeline);
      await pipeline.parts.stripe?.meterEvents.send({
        identifier: 'somebody-else',
        idempotencyKey: 'somebody-else',
        eventName: 'calls',
        stripeCustomerId: customer,
        value: '5',
        timestampMs: Date.parse('2026-06-14T05:00:00Z'),
        customerKey: 'stripe_customer_id',
        valueKey: 'value',
      });
      pipeline.clock.advance(13 * HOUR_MS);
      await pipeline.run('reconcile-usage');
      pipeline.clock.advance(11 * MINUTE_MS);
      expect(await pipeline.run('reconcile-usage')).toMatchObject({ verdicts: { surplus: 1 }, healed: 0, waiting: 1 });
      expect(pipeline.simulator.countedTotal({ customer, meter: 'calls' })).toBe('825');
    }));

  it('queues an aggregate that differs from raw, and leaves one that counted more facts to a person', () =>
    withPipeline({}, async (pipeline) => {
      await sendUsage(pipeline);
      const rows = pipeline.stores.database.db.collection('usage_aggregates');
      const keyOf = (hour: string): Record<string, unknown> => ({
        '_id.meter': 'calls',
        '_id.windowStart': new Date(hour),
      });
      await rows.updateOne(keyOf('2026-06-13T03:00:00Z'), { $set: { quantity: Decimal128.fromString('999') } });
      await rows.updateOne(keyOf('2026-06-13T04:00:00Z'), { $set: { eventCount: 7 } });
      const result = await pipeline.run('reconcile-usage');
      expect(result).toMatchObject({
        aggregates: { requeued: 1, person: [{ meter: 'calls', stored: { eventCount: 7 } }] },
      });
      await pipeline.run('aggregate-usage');
      const mended = await rows.findOne(keyOf('2026-06-13T03:00:00Z'));
      expect(String(mended?.['quantity'])).toBe('4');
    }));
});

/** Takes an event out of Stripe's total without our knowing, as an asynchronous loss would. */
async function cancelSecretly({ simulator }: Pipeline, identifier: string): Promise<void> {
  const response = await fetch(`${simulator.url}/v1/billing/meter_event_adjustments`, {
    method: 'POST',
    headers: { authorization: 'Bearer sk_test_other', 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams({ event_name: 'calls', type: 'cancel', 'cancel[identifier]': identifier }),
  });
  expect(response.status).toBe(200);
}
