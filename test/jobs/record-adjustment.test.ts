import type { Db } from 'mongodb';
import { afterEach, describe, expect, it } from 'vitest';
import { readUsage } from '../../src/aggregation/read-usage.ts';
import { onBoundary } from '../../src/platform/boundary.ts';
import { ManualClock } from '../../src/platform/clock.ts';
import type { MeterUsage } from '../../src/aggregation/usage-report.ts';
import { AggregateChecks } from '../../src/reconciliation/aggregate-check-store.ts';
import { withLiveUsage } from '../../src/aggregation/live-usage-store.ts';
import { UsageAggregates } from '../../src/aggregation/usage-aggregates-store.ts';
import type { RowKey } from '../../src/aggregation/usage-derivation-store.ts';
import { adjust } from '../support/adjustments.ts';
import { withDatabase } from '../support/services.ts';
import {
  derive,
  deriveWaiting,
  hourOf,
  ingestEvents,
  meterOf,
  ms,
  storeEvents,
  storeMeters,
} from '../support/usage.ts';

const plan = { kind: 'property' as const, name: 'plan' };
const METERS = [
  meterOf({ key: 'sum', groupBy: [plan] }),
  meterOf({ key: 'count', aggregation: 'count', where: [{ property: 'plan', in: ['pro'] }] }),
  meterOf({ key: 'peak', aggregation: 'max' }),
];
const AT = '2026-11-20T07:10:00Z';

afterEach(() => onBoundary(undefined));

async function usageOf(db: Db, groupBy?: string[]): Promise<Record<string, MeterUsage>> {
  const report = await readUsage(
    {
      clock: new ManualClock(ms('2026-11-21T05:30:00Z')),
      withLiveUsage: (work) => withLiveUsage(db, work),
    },
    {
      customerId: 'acme',
      from: '2026-11-01T00:00:00Z',
      to: '2026-12-01T00:00:00Z',
      ...(groupBy && { meter: 'sum', groupBy }),
    },
  );
  return Object.fromEntries(report.meters.map((usage) => [usage.meter, usage]));
}

async function figures(db: Db): Promise<Record<string, string>> {
  const usage = await usageOf(db);
  return Object.fromEntries(Object.values(usage).map((of) => [of.meter, `${of.quantity} of ${of.eventCount}`]));
}

async function rows(db: Db, meter: string): Promise<string[]> {
  const range = { customerId: 'acme', meter, from: new Date(0), to: new Date('2100-01-01') };
  const found = await new UsageAggregates(db).range(range);
  return found.map(
    (row) => `${row._id.windowStart.toISOString().slice(0, 13)} ${row.quantity.toString()} ${row.eventCount}`,
  );
}

/** A row of a meter whose facts are gone, though its hour holds others; returns the difference that it is. */
async function withoutFacts(db: Db, meter: string): Promise<object> {
  const rows = db.collection<{ _id: RowKey }>('usage_aggregates');
  const row = await rows.findOne({ '_id.meter': 'sum' });
  if (row === null) throw new Error('nothing was derived');
  await rows.insertOne({ ...row, _id: { ...row._id, meter } });
  const none = { quantity: '0', eventCount: 0 };
  return { customerId: 'acme', meter, hour: hourOf(AT), stored: { quantity: '5', eventCount: 1 }, raw: none };
}

describe('recordAdjustment', () => {
  it('goes straight to its meter, live and derived, and leaves the others alone', async () => {
    await withDatabase(async (db) => {
      await storeMeters(db, METERS);
      await ingestEvents(db, [
        { at: AT, quantity: '10', properties: { plan: 'pro' } },
        { at: AT, quantity: '2.5', properties: { plan: 'basic' } },
      ]);
      await adjust(db, { meter: 'sum', quantity: '-3.25', occurredAt: AT });
      await adjust(db, { meter: 'count', quantity: '4', occurredAt: AT });
      // An hour without any event.
      await adjust(db, { meter: 'sum', quantity: '-100', occurredAt: '2026-11-20T09:59:59.999Z' });
      const expected = { sum: '-90.75 of 4', count: '5 of 2', peak: '10 of 2' };
      expect(await figures(db)).toEqual(expected);
      await deriveWaiting(db);
      expect(await figures(db)).toEqual(expected);
      expect(await rows(db, 'sum')).toEqual(['2026-11-20T07 9.25 3', '2026-11-20T09 -100 1']);
      expect(await rows(db, 'count')).toEqual(['2026-11-20T07 5 2']);
    });
  });

  it('stands among the facts without a group, so that groups still add up', async () => {
    await withDatabase(async (db) => {
      await storeMeters(db, METERS);
      await ingestEvents(db, [
        { at: AT, quantity: '10', properties: { plan: 'pro' } },
        { at: AT, quantity: '1' },
      ]);
      await adjust(db, { meter: 'sum', quantity: '-3', occurredAt: AT });
      await adjust(db, { meter: 'sum', quantity: '0.5', occurredAt: '2026-11-20T09:00:00Z' });
      const groups = [
        { by: { 'properties.plan': null }, quantity: '-1.5', eventCount: 3 },
        { by: { 'properties.plan': 'pro' }, quantity: '10', eventCount: 1 },
      ];
      expect((await usageOf(db, ['plan']))['sum']).toMatchObject({ quantity: '8.5', groups });
      await deriveWaiting(db);
      expect((await usageOf(db, ['plan']))['sum']).toMatchObject({ quantity: '8.5', groups });
    });
  });

  it('answers duplicate to the same again and refuses other content under the same key', async () => {
    await withDatabase(async (db) => {
      await storeMeters(db, METERS);
      const fix = { meter: 'sum', quantity: '-1', occurredAt: AT, idempotencyKey: 'fix' };
      const first = await adjust(db, fix);
      expect(first.outcome).toBe('created');
      expect(await adjust(db, { ...fix, quantity: '-1.0' })).toEqual({ ...first, outcome: 'duplicate' });
      await expect(adjust(db, { ...fix, reason: 'another' })).rejects.toMatchObject({
        code: 'adjustment_conflict',
        message: expect.stringContaining('Different: reason.'),
      });
      expect(await adjust(db, { ...fix, customerId: 'other' })).toMatchObject({ outcome: 'created' });
      await expect(adjust(db, { ...fix, meter: 'peak' })).rejects.toMatchObject({ code: 'adjustment_not_additive' });
      await expect(adjust(db, { ...fix, meter: 'none' })).rejects.toMatchObject({ code: 'meter_not_found' });
      expect(await figures(db)).toMatchObject({ sum: '-1 of 1' });
    });
  });

  it.each(['adjust.journal-written', 'adjust.fact-stored', 'adjust.journal-closed'])(
    'counts once when the process ends at %s and the request is sent again',
    async (place) => {
      await withDatabase(async (db) => {
        await storeMeters(db, METERS);
        const fix = { meter: 'sum', quantity: '7', occurredAt: AT, idempotencyKey: 'fix' };
        const reached = new Promise<void>((resolve) => {
          onBoundary((name) => (name === place ? (resolve(), new Promise<void>(() => {})) : undefined));
        });
        void adjust(db, fix);
        await reached;
        onBoundary(undefined);
        const isStored = place !== 'adjust.journal-written';
        // Whatever is stored is known to be derived again.
        expect(await figures(db)).toMatchObject({ sum: isStored ? '7 of 1' : '0 of 0' });
        expect((await adjust(db, fix)).outcome).toBe(isStored ? 'duplicate' : 'created');
        await deriveWaiting(db);
        expect(await rows(db, 'sum')).toEqual(['2026-11-20T07 7 1']);
      });
    },
  );

  it('is part of what aggregates are checked against, also where an hour holds nothing else', async () => {
    await withDatabase(async (db) => {
      await storeMeters(db, METERS);
      await adjust(db, { meter: 'sum', quantity: '5', occurredAt: AT });
      await deriveWaiting(db);
      await adjust(db, { meter: 'sum', quantity: '-2', occurredAt: AT });
      const checks = new AggregateChecks(db);
      const hour = hourOf(AT);
      const found = [];
      for await (const batch of checks.rawHours('acme', hour)) found.push(...batch);
      expect(found).toEqual([{ customerId: 'acme', hour }]);
      const cells = [{ hour, customerIds: ['acme'] }];
      const lost = await withoutFacts(db, 'peak');
      expect(await checks.compareStep({ layout: 0, meters: METERS, cells })).toEqual([
        {
          customerId: 'acme',
          meter: 'sum',
          hour,
          stored: { quantity: '5', eventCount: 1 },
          raw: { quantity: '3', eventCount: 2 },
        },
        lost,
      ]);
    });
  });

  it('reads events and adjustments of one moment, whatever arrives between the two reads', async () => {
    await withDatabase(async (db) => {
      await storeMeters(db, METERS);
      await storeEvents(db, [{ at: AT, quantity: '1' }]);
      const hour = { customerId: 'acme', hour: hourOf(AT) };
      const hold = [
        { $set: { held: { $function: { body: 'function () { sleep(300); return 1; }', args: [], lang: 'js' } } } },
        { $unset: 'held' },
      ];
      const slow = derive(db, [hour], hold);
      await new Promise((resolve) => setTimeout(resolve, 120));
      await storeEvents(db, [{ at: AT, quantity: '20' }]);
      await derive(db, [hour]);
      await adjust(db, { meter: 'sum', quantity: '300', occurredAt: AT });
      await slow;
      // Never the adjustment without the event that was stored before it.
      expect(['2026-11-20T07 21 2', '2026-11-20T07 321 3']).toContain((await rows(db, 'sum'))[0]);
    });
  });
});
