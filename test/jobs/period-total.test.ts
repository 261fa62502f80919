import { describe, expect, it } from 'vitest';
import { openStripe } from '../../src/stripe/client.ts';
import { type Pipeline, START_MS, withPipeline } from '../support/pipeline.ts';
import { type EventInput, ingestEvents, meterOf, ms, storeMeters } from '../support/usage.ts';

const METERS = [
  meterOf({ key: 'peak', aggregation: 'max', stripe: { eventName: 'peak' } }),
  meterOf({ key: 'level', aggregation: 'last', stripe: { eventName: 'level' } }),
  meterOf({ key: 'seats', aggregation: 'unique', uniqueBy: { kind: 'userId' }, stripe: { eventName: 'seats' } }),
];

interface Made {
  readonly formula: 'sum' | 'count' | 'last';
  readonly eventTimeWindow?: 'hour' | 'day';
}

/** Makes a Stripe meter as a person would. */
async function makeStripeMeter(pipeline: Pipeline, eventName: string, made: Made): Promise<string> {
  const stripe = openStripe({ secretKey: 'sk_test_pipeline', apiBase: pipeline.simulator.url });
  const { id } = await stripe.billing.meters.create({
    event_name: eventName,
    display_name: eventName,
    default_aggregation: { formula: made.formula },
    ...(made.eventTimeWindow && { event_time_window: made.eventTimeWindow }),
  });
  return id;
}

async function withTotals(use: (pipeline: Pipeline, read: TotalsOf) => Promise<void>): Promise<void> {
  await withPipeline({}, async (pipeline) => {
    await storeMeters(pipeline.stores.database.db, METERS);
    const ids = new Map<string, string>();
    for (const { key } of METERS) ids.set(key, await makeStripeMeter(pipeline, key, { formula: 'last' }));
    const { meters } = (await pipeline.run('sync-meters')) as { meters: { outcome: string }[] };
    expect(meters.map(({ outcome }) => outcome)).toEqual(['present', 'present', 'present']);
    const stripeCustomerId = await pipeline.mapCustomer('acme');
    await use(pipeline, async (from, to) => {
      const range = { stripeCustomerId, fromMs: ms(from), toMs: ms(to) };
      const { summaries } = pipeline.parts.stripe ?? {};
      const totals: Record<string, string | undefined> = {};
      for (const [key, stripeMeterId] of ids) {
        totals[key] = (await summaries?.total({ ...range, stripeMeterId }))?.toString();
      }
      return totals;
    });
  });
}

/** Stripe's totals over a range. */
type TotalsOf = (from: string, to: string) => Promise<Record<string, string | undefined>>;

async function send(pipeline: Pipeline, events: readonly EventInput[]): Promise<void> {
  await ingestEvents(pipeline.stores.database.db, events);
  for (const job of ['aggregate-usage', 'submit-meter-events']) await pipeline.run(job);
}

/** What Stripe received of a meter: `time value`, in the order of receipt. */
function received(pipeline: Pipeline, meter: string): string[] {
  return pipeline.simulator
    .meterEvents()
    .filter(({ eventName }) => eventName === meter)
    .map(({ value, timestamp }) => `${new Date(timestamp * 1000).toISOString().slice(8, 19)} ${value}`);
}

describe('a Stripe meter that keeps the last value', () => {
  it('is sent the running figure, also when it falls, each stamped later than the one before', () =>
    withTotals(async (pipeline, totalsOf) => {
      await send(pipeline, [
        { at: '2026-06-15T06:10:00Z', quantity: '5', userId: 'a' },
        { at: '2026-06-15T07:10:00Z', quantity: '9', userId: 'b' },
        { at: '2026-06-15T08:10:00Z', quantity: '3', userId: 'a' },
      ]);
      expect(received(pipeline, 'peak')).toEqual(['15T07:00:00 9']);
      expect(received(pipeline, 'level')).toEqual(['15T08:00:00 3']);
      expect(received(pipeline, 'seats')).toEqual(['15T07:00:00 2']);
      // Later in the same window, and before what was sent.
      await send(pipeline, [
        { at: '2026-06-15T08:20:00Z', quantity: '2', userId: 'a' },
        { at: '2026-06-15T05:10:00Z', quantity: '12.5', userId: 'c' },
      ]);
      expect(received(pipeline, 'peak')).toEqual(['15T07:00:00 9', '15T07:00:01 12.5']);
      expect(received(pipeline, 'level')).toEqual(['15T08:00:00 3', '15T08:00:01 2']);
      expect(received(pipeline, 'seats')).toEqual(['15T07:00:00 2', '15T07:00:01 3']);
      const counted = await totalsOf('2026-06-01T00:00:00Z', '2026-06-15T12:00:00Z');
      expect(counted).toEqual({ peak: '12.5', level: '2', seats: '3' });
      const modes = await pipeline.stores.database.db.collection('meter_submissions').distinct('mode');
      expect(modes).toEqual(['period_total']);
    }));

  it('is sent no newer figure while an older one is unanswered', () =>
    withTotals(async (pipeline) => {
      const submissions = pipeline.stores.database.db.collection('meter_submissions');
      await send(pipeline, [{ at: '2026-06-15T06:10:00Z', quantity: '5', userId: 'a' }]);
      const later = new Date(START_MS + 3_600_000);
      await submissions.updateMany({}, { $set: { state: 'in_doubt', dueAt: later, firstAttemptAt: later } });
      await send(pipeline, [{ at: '2026-06-15T07:10:00Z', quantity: '9', userId: 'b' }]);
      expect(received(pipeline, 'peak')).toEqual(['15T06:00:00 5']);
      expect(await submissions.countDocuments()).toBe(3);
      await submissions.updateMany({}, { $set: { state: 'accepted' }, $unset: { dueAt: 1 } });
      await send(pipeline, []);
      expect(received(pipeline, 'peak')).toEqual(['15T06:00:00 5', '15T07:00:00 9']);
    }));

  it('keeps in each period the figure of that period when the calendar moves', () =>
    withTotals(async (pipeline, totalsOf) => {
      await send(pipeline, [
        { at: '2026-06-05T06:10:00Z', quantity: '50', userId: 'a' },
        { at: '2026-06-09T07:10:00Z', quantity: '20', userId: 'a' },
        { at: '2026-06-09T08:10:00Z', quantity: '30', userId: 'b' },
        { at: '2026-06-13T08:10:00Z', quantity: '10', userId: 'b' },
      ]);
      const customer = await pipeline.stores.customers.find('acme');
      if (customer === null) throw new Error('no customer');
      const stated = { billingAnchor: new Date('2026-06-09T08:00:00Z'), billingInterval: 'month' as const };
      const calendars = [{ layout: 1, anchor: stated.billingAnchor, interval: stated.billingInterval }];
      const requeueFrom = new Date('2026-05-09T08:00:00Z');
      const changed = { ...customer, ...stated, calendars, requeueFrom, revision: customer.revision + 1 };
      await pipeline.stores.customers.save(changed, customer.revision);
      await pipeline.run('requeue-usage');
      await send(pipeline, []);
      const before = await totalsOf('2026-05-09T08:00:00Z', '2026-06-09T08:00:00Z');
      expect(before).toEqual({ peak: '50', level: '20', seats: '1' });
      const after = await totalsOf('2026-06-09T08:00:00Z', '2026-06-15T12:00:00Z');
      expect(after).toEqual({ peak: '30', level: '10', seats: '1' });
    }));

  it('and every other that cannot be fed is refused by name', () =>
    withPipeline({}, async (pipeline) => {
      const refused: [string, 'sum' | 'max' | 'count', Made][] = [
        ['added', 'sum', { formula: 'last' }],
        ['counted', 'count', { formula: 'last' }],
        ['tallied', 'max', { formula: 'count' }],
        ['windowed', 'max', { formula: 'last', eventTimeWindow: 'day' }],
      ];
      const { db } = pipeline.stores.database;
      for (const [key, aggregation, made] of refused) {
        await storeMeters(db, [meterOf({ key, aggregation, stripe: { eventName: key } })]);
        await makeStripeMeter(pipeline, key, made);
      }
      const { meters } = (await pipeline.run('sync-meters')) as { meters: { meter: string; fault?: string }[] };
      expect(Object.fromEntries(meters.map(({ meter, fault }) => [meter, fault]))).toEqual({
        added: 'the formula last and needs sum',
        counted: 'the formula last and needs sum',
        tallied: 'the formula count and needs sum',
        windowed: 'the event_time_window day',
      });
      await pipeline.mapCustomer('acme');
      await send(pipeline, [{ at: new Date(START_MS - 7_200_000).toISOString() }]);
      expect(pipeline.simulator.meterEvents()).toEqual([]);
      const blocked = await pipeline.stores.submissions.blockedReasons();
      expect(blocked).toEqual([{ reason: 'meter_formula_refused', count: 4 }]);
    }));
});
