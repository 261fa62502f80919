import type { Db } from 'mongodb';
import { describe, expect, it } from 'vitest';
import { reshapedHours } from '../../src/customers/calendar/billing-customer.ts';
import type { HourCuts } from '../../src/customers/calendar/window.ts';
import { Customers } from '../../src/customers/customers-store.ts';
import { UniqueValues } from '../../src/aggregation/unique-values-store.ts';
import { UsageGroups } from '../../src/aggregation/usage-groups-store.ts';
import { periodKey, UsagePeriods } from '../../src/aggregation/usage-periods-store.ts';
import { withDatabase } from '../support/services.ts';
import { derive, hourOf, meterOf, ms, storeEvents, storeMeters } from '../support/usage.ts';

const ANCHOR = '2026-11-15T10:23:45Z';
const CUTS: HourCuts = { calendar: { anchorMs: ms(ANCHOR), interval: 'month' } };
const BEFORE = { fromMs: ms('2026-10-15T10:23:45Z'), toMs: ms(ANCHOR) };
const AFTER = { fromMs: ms(ANCHOR), toMs: ms('2026-12-15T10:23:45Z') };

const seats = meterOf({ key: 'seats', aggregation: 'unique', uniqueBy: { kind: 'userId' } });

async function change(db: Db, cuts: HourCuts | undefined): Promise<void> {
  await new Customers(db).setMirroredCalendar('acme', cuts, new Date('2026-11-16T00:00:00Z'));
}

/** How a period's distinct count grew, as `time count`. */
async function growthOf(db: Db, period: { fromMs: number; toMs: number }): Promise<string[]> {
  const customer = (await new Customers(db).billingOf(['acme'])).get('acme');
  if (customer === undefined) throw new Error('no customer');
  const scope = { customerId: 'acme', meter: 'seats', period, reshapedHours: reshapedHours(customer, period) };
  const steps = await new UniqueValues(db).growth(scope);
  return steps.map(({ windowStart, count }) => `${windowStart.toISOString().slice(5, 19)} ${count}`);
}

async function figureOf(db: Db, period: { fromMs: number }): Promise<string | undefined> {
  const row = await new UsagePeriods(db).find(periodKey('acme', 'seats', new Date(period.fromMs)));
  return row?.quantity.toString();
}

describe('an hour that a changed calendar cuts anew', () => {
  it('counts a distinct value in the window that it is of now, and in no former one', async () => {
    await withDatabase(async (db) => {
      await storeMeters(db, [seats]);
      const pairs = await storeEvents(db, [
        { at: '2026-11-15T10:10:00Z', userId: 'a' },
        { at: '2026-11-15T10:30:00Z', userId: 'b' },
        { at: '2026-11-15T10:40:00Z', userId: 'c' },
      ]);
      await derive(db, pairs);
      await change(db, CUTS);
      await derive(db, pairs);
      expect(await growthOf(db, BEFORE)).toEqual(['11-15T10:00:00 1']);
      expect(await growthOf(db, AFTER)).toEqual(['11-15T10:23:45 2']);
      expect([await figureOf(db, BEFORE), await figureOf(db, AFTER)]).toEqual(['1', '2']);
      await change(db, undefined);
      await derive(db, pairs);
      expect(await growthOf(db, { fromMs: ms('2026-11-01'), toMs: ms('2026-12-01') })).toEqual(['11-15T10:00:00 3']);
    });
  });

  it('keeps the values that it has while it is not derived again', async () => {
    await withDatabase(async (db) => {
      await storeMeters(db, [seats]);
      await derive(db, await storeEvents(db, [{ at: '2026-11-15T10:10:00Z', userId: 'a' }]));
      await change(db, CUTS);
      await derive(db, await storeEvents(db, [{ at: '2026-11-10T08:00:00Z', userId: 'b' }]));
      expect(await figureOf(db, BEFORE)).toBe('2');
      expect(await growthOf(db, BEFORE)).toEqual(['11-10T08:00:00 1', '11-15T10:00:00 2']);
    });
  });

  it.each(['max', 'last', 'unique'] as const)(
    'counts of a period (%s) nothing that was used after it, once the hour is derived that the boundary cuts',
    (aggregation) =>
      withDatabase(async (db) => {
        await storeMeters(db, [meterOf({ key: 'seats', aggregation, uniqueBy: { kind: 'userId' } })]);
        const cut = await storeEvents(db, [
          { at: '2026-11-15T10:30:00Z', quantity: '30', userId: 'b' },
          { at: '2026-11-15T10:40:00Z', quantity: '40', userId: 'c' },
        ]);
        await derive(db, cut);
        await change(db, CUTS);
        // The calendar is known, and nothing of it is queued yet, when other usage of the period comes.
        await derive(db, await storeEvents(db, [{ at: '2026-11-10T08:00:00Z', quantity: '1', userId: 'a' }]));
        await derive(db, cut);
        expect(await figureOf(db, BEFORE)).toBe('1');
        expect(await figureOf(db, AFTER)).toBe({ max: '40', last: '40', unique: '2' }[aggregation]);
      }),
  );

  it('has no groups left in windows that are no more', async () => {
    await withDatabase(async (db) => {
      await storeMeters(db, [meterOf({ key: 'calls', groupBy: [{ kind: 'userId' }] })]);
      const pairs = [{ customerId: 'acme', hour: hourOf('2026-11-15T10:00:00Z') }];
      await storeEvents(db, [{ at: '2026-11-15T10:30:00Z', userId: 'a' }]);
      await derive(db, pairs);
      const groupsOf = async (): Promise<string[]> => {
        const range = { customerId: 'acme', meter: 'calls', from: new Date(0), to: new Date('2030-01-01') };
        const found = await new UsageGroups(db).range(range);
        return found.map(({ _id, groups }) => `${_id.windowStart.toISOString().slice(11, 19)} ${groups.length}`);
      };
      expect(await groupsOf()).toEqual(['10:00:00 1']);
      await change(db, CUTS);
      await derive(db, pairs);
      expect(await groupsOf()).toEqual(['10:00:00 0', '10:23:45 1']);
    });
  });
});
