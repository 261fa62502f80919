import type { Db } from 'mongodb';
import { describe, expect, it } from 'vitest';
import { putCustomer } from '../../src/customers/put-customer.ts';
import { requeueUsage, type RequeueUsageDeps } from '../../src/aggregation/requeue-usage.ts';
import { onBoundary } from '../../src/platform/boundary.ts';
import { ManualClock } from '../../src/platform/clock.ts';
import type { CustomerChange } from '../../src/customers/customer.ts';
import { Customers } from '../../src/customers/customers-store.ts';
import { DirtyHours } from '../../src/usage/dirty-hours-store.ts';
import { Meters } from '../../src/meters/meters-store.ts';
import { UsageAggregates } from '../../src/aggregation/usage-aggregates-store.ts';
import { RawFacts } from '../../src/usage/raw-facts-store.ts';
import { UsagePeriods } from '../../src/aggregation/usage-periods-store.ts';
import { withDatabase } from '../support/services.ts';
import { derive, deriveWaiting, hourOf, meterOf, ms, storeEvents, storeMeters } from '../support/usage.ts';

const NOW = '2026-11-21T05:30:00Z';
const at = (text: string): Date => new Date(text);

async function put(db: Db, change: CustomerChange): Promise<void> {
  const deps = { clock: new ManualClock(ms(NOW)), customers: new Customers(db), usage: new UsageAggregates(db) };
  await putCustomer(deps, { customerId: 'acme', change });
}

describe('requeueUsage', () => {
  function requeueDeps(db: Db): RequeueUsageDeps {
    return {
      clock: new ManualClock(ms(NOW)),
      mirrorCalendar: () => Promise.resolve(false),
      customers: new Customers(db),
      meters: new Meters(db),
      usageEvents: new RawFacts(db),
      dirtyHours: new DirtyHours(db),
      aggregates: new UsageAggregates(db),
      periods: new UsagePeriods(db),
    };
  }

  const waiting = (db: Db): Promise<string[]> => db.collection('dirty_hours').distinct('pairs');

  it('queues the hours that hold usage, makes planning look again, and is done', async () => {
    await withDatabase(async (db) => {
      await storeMeters(db, [meterOf({ key: 'm' }), meterOf({ key: 'top', aggregation: 'max' })]);
      await derive(
        db,
        await storeEvents(db, [
          { at: '2026-10-31T23:59:59Z' },
          { at: '2026-11-01T00:00:00Z' },
          { at: '2026-11-20T07:10:00Z' },
          { at: '2026-11-20T07:20:00Z', customerId: 'other' },
        ]),
      );
      await db.collection('usage_aggregates').updateMany({}, { $unset: { planDue: 1 } });
      await db.collection('usage_periods').updateMany({}, { $unset: { planDue: 1 } });
      await put(db, { stripeCustomerId: 'cus_1' });
      expect(await requeueUsage(requeueDeps(db))).toEqual({ customers: 1, meters: 0, hours: 2 });
      const hours = [hourOf('2026-11-01T00:00:00Z'), hourOf('2026-11-20T07:00:00Z')];
      expect(await waiting(db)).toEqual(hours.map((hour) => `acme\u001f${hour}`));
      const due = await db.collection('usage_aggregates').find({ planDue: true }).sort({ _id: 1 }).toArray();
      expect(due.map(({ _id, revision }) => [_id, revision])).toEqual(
        ['2026-11-01T00:00:00Z', '2026-11-20T07:00:00Z'].map((start) => [
          { customerId: 'acme', meter: 'm', windowStart: at(start) },
          2,
        ]),
      );
      expect(await db.collection('usage_periods').countDocuments({ planDue: true })).toBe(1);
      expect(await new Customers(db).find('acme')).not.toHaveProperty('requeueFrom');
      expect(await requeueUsage(requeueDeps(db))).toEqual({ customers: 0, meters: 0, hours: 0 });
    });
  });

  it('reaches the same end when it stops after any of its steps and runs again', async () => {
    const steps = [
      'requeue.hours-recorded',
      'requeue.planning-made-due',
      'requeue.customer-finished',
      'requeue.meter-finished',
    ];
    for (const step of steps) {
      await withDatabase(async (db) => {
        await storeMeters(db, [meterOf({ key: 'm' })]);
        await derive(db, await storeEvents(db, [{ at: '2026-11-15T10:30:00Z', quantity: 7 }]));
        await put(db, { stripeCustomerId: 'cus_1', billingAnchor: '2026-11-15T10:23:45Z' });
        await db.collection('meters').updateOne({}, { $set: { requeueFrom: at('2026-11-01T00:00:00Z') } });
        onBoundary((name) => (name === step ? Promise.reject(new Error('stopped')) : undefined));
        try {
          await expect(requeueUsage(requeueDeps(db))).rejects.toThrow('stopped');
        } finally {
          onBoundary(undefined);
        }
        await requeueUsage(requeueDeps(db));
        await deriveWaiting(db);
        const rows = await db.collection('usage_aggregates').find({}).toArray();
        expect(rows.map((row) => [row['windowEnd'], row['quantity'].toString(), row['layout']])).toEqual([
          [at('2026-11-15T10:23:45Z'), '0', 1],
          [at('2026-11-15T11:00:00Z'), '7', 1],
        ]);
        expect(await new Customers(db).listToRequeue(9)).toEqual([]);
        expect(await new Meters(db).listToRequeue()).toEqual([]);
      });
    }
  });

  it('keeps the mark of a change that was made while it ran', async () => {
    await withDatabase(async (db) => {
      await put(db, { stripeCustomerId: 'cus_1' });
      await storeEvents(db, [{ at: '2026-11-20T07:10:00Z' }]);
      onBoundary(async (name) => {
        if (name !== 'requeue.hours-recorded') return;
        onBoundary(undefined);
        await put(db, { billingAnchor: '2026-10-05T00:00:00Z' });
      });
      await requeueUsage(requeueDeps(db));
      expect(await new Customers(db).find('acme')).toHaveProperty('requeueFrom');
      await requeueUsage(requeueDeps(db));
      expect(await new Customers(db).find('acme')).not.toHaveProperty('requeueFrom');
    });
  });
});
