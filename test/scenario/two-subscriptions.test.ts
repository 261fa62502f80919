/** One customer with two subscriptions, whose periods begin in the same hour at different seconds. */
import { describe, expect, it } from 'vitest';
import { HOUR_MS, MINUTE_MS } from '../../src/platform/durations.ts';
import { hear, passTime, stripeOf, subscribe } from '../support/billing.ts';
import { type Pipeline, withPipeline } from '../support/pipeline.ts';
import { type EventInput, ingestEvents, meterOf, ms, storeMeters } from '../support/usage.ts';

const FIRST = { from: '2026-06-15T12:23:45Z', to: '2026-07-15T12:23:45Z' };
const SECOND = { from: '2026-06-15T12:50:10Z', to: '2026-07-15T12:50:10Z' };

const METERS = [
  meterOf({ key: 'calls', stripe: { eventName: 'calls' } }),
  meterOf({ key: 'peak', aggregation: 'max', stripe: { eventName: 'peak' } }),
  meterOf({
    key: 'bytes',
    valueFrom: { kind: 'property', name: 'bytes' },
    stripe: { eventName: 'bytes' },
  }),
];

const use = (at: string, quantity: string): EventInput => ({ at, quantity, properties: { bytes: `${quantity}.5` } });

/** Each a power of two, so that a wrong sum tells what is wrong with it. */
const BEFORE = [
  use('2026-06-15T12:23:44.999Z', '1'),
  use('2026-06-15T12:23:45Z', '2'),
  use('2026-06-15T12:50:09.999Z', '4'),
  use('2026-06-15T12:50:10Z', '8'),
  use('2026-07-01T00:00:00Z', '16'),
];
const AT_THE_END = [
  use('2026-07-15T12:00:00Z', '32'),
  use('2026-07-15T12:23:44.999Z', '64'),
  use('2026-07-15T12:23:45Z', '128'),
  use('2026-07-15T12:50:09.999Z', '256'),
  use('2026-07-15T12:50:10Z', '512'),
];

async function send(pipeline: Pipeline, events: readonly EventInput[]): Promise<void> {
  await ingestEvents(pipeline.stores.database.db, events);
  for (const job of ['aggregate-usage', 'submit-meter-events']) await pipeline.run(job);
}

/** What the final invoice of each subscription bills, by the name of the product. */
async function billed(pipeline: Pipeline, customer: string): Promise<Record<string, string>> {
  const { data } = await stripeOf(pipeline).invoices.list({ customer, limit: 100 });
  const lines = data
    .filter(({ status, billing_reason }) => status !== 'draft' && billing_reason === 'subscription_cycle')
    .flatMap((invoice) => invoice.lines.data);
  return Object.fromEntries(
    lines.map(({ period, quantity_decimal }) => [
      new Date(period.start * 1000).toISOString().slice(11, 19),
      quantity_decimal?.toString() ?? '',
    ]),
  );
}

describe('two subscriptions of one customer with anchors in the same hour', () => {
  it('are each billed for the usage of their own period, to the second', { timeout: 60_000 }, () =>
    withPipeline({}, async (pipeline) => {
      const { simulator, stores } = pipeline;
      await storeMeters(stores.database.db, METERS);
      await pipeline.run('sync-meters');
      const customer = await pipeline.mapCustomer('acme');
      await simulator.advanceTo(ms(FIRST.from));
      await subscribe(pipeline, customer, ['calls']);
      await simulator.advanceTo(ms(SECOND.from));
      await subscribe(pipeline, customer, ['bytes']);
      await hear(pipeline);
      expect((await stores.customers.billingOf(['acme'])).get('acme')?.calendars.at(-1)).toMatchObject({
        calendar: { anchorMs: ms(FIRST.from), interval: 'month' },
        also: [{ anchorMs: ms(SECOND.from), interval: 'month' }],
      });

      await passTime(pipeline, ms('2026-07-02T00:00:00Z'));
      await send(pipeline, BEFORE);
      await passTime(pipeline, ms(SECOND.to) + 30 * MINUTE_MS);
      await send(pipeline, AT_THE_END);
      const windows = await stores.usageAggregates.range({
        customerId: 'acme',
        meter: 'calls',
        from: new Date('2026-07-15T12:00:00Z'),
        to: new Date('2026-07-15T13:00:00Z'),
      });
      expect(windows.map(({ quantity }) => quantity.toString())).toEqual(['96', '384', '512']);

      await passTime(pipeline, ms(SECOND.to) + 3 * HOUR_MS);
      expect(await billed(pipeline, customer)).toEqual({
        '12:23:45': String(2 + 4 + 8 + 16 + 32 + 64),
        '12:50:10': String(8.5 + 16.5 + 32.5 + 64.5 + 128.5 + 256.5),
      });
      // The running figure follows the subscription that began first.
      const peaks = simulator
        .meterEvents()
        .filter(({ eventName }) => eventName === 'peak')
        .map(({ value, timestamp }) => [new Date(timestamp * 1000).toISOString().slice(5, 19), value]);
      expect(peaks.filter(([at]) => (at ?? '') >= '07-15')).toEqual([
        ['07-15T12:00:00', '48'],
        ['07-15T12:23:45', '256'],
        ['07-15T12:50:10', '256'],
      ]);
    }),
  );
});
