import type { Db, Document } from 'mongodb';
import { describe, expect, it } from 'vitest';
import type { Meter } from '../../src/meters/meter.ts';
import { canonicalQuantity } from '../../src/platform/quantity.ts';
import { Customers, type CustomerDocument } from '../../src/customers/customers-store.ts';
import { type UsageAggregateDocument, UsageAggregates } from '../../src/aggregation/usage-aggregates-store.ts';
import {
  GROUPS_PER_WINDOW_MAX,
  UsageGroups,
  type UsageGroupsDocument,
} from '../../src/aggregation/usage-groups-store.ts';
import { periodKey, UsagePeriods } from '../../src/aggregation/usage-periods-store.ts';
import { withDatabase } from '../support/services.ts';
import { derive, type EventInput, hourOf, meterOf, ms, storeEvents, storeMeters } from '../support/usage.ts';

const range = { customerId: 'acme', from: new Date('2020-01-01'), to: new Date('2030-01-01') };

async function rowsOf(db: Db, meter: string): Promise<UsageAggregateDocument[]> {
  return new UsageAggregates(db).range({ ...range, meter });
}

/** The rows of a meter as `start quantity eventCount`. */
async function linesOf(db: Db, meter: string): Promise<string[]> {
  return (await rowsOf(db, meter)).map(
    ({ _id, quantity, eventCount }) =>
      `${_id.windowStart.toISOString().slice(0, 19)} ${canonicalQuantity(quantity.toString())} ${eventCount}`,
  );
}

/** The quantity and counts of the only row that some events of one hour come to. */
async function figureOf(meter: Partial<Meter>, events: readonly Omit<EventInput, 'at'>[]): Promise<string> {
  return withDatabase(async (db) => {
    await storeMeters(db, [meterOf({ key: 'm', ...meter })]);
    const inputs = events.map((event, index) => ({
      at: `2026-11-21T05:00:${String(index).padStart(2, '0')}Z`,
      ...event,
    }));
    await derive(db, await storeEvents(db, inputs));
    const rows = await rowsOf(db, 'm');
    return rows
      .map((row) => `${canonicalQuantity(row.quantity.toString())} of ${row.eventCount}, ${row.uncountable ?? 0} not`)
      .join(' | ');
  });
}

async function saveCustomer(db: Db, calendars: CustomerDocument['calendars']): Promise<void> {
  const customers = new Customers(db);
  const before = await customers.find('acme');
  const at = new Date('2026-11-01T00:00:00Z');
  const document = { _id: 'acme', calendars, revision: (before?.revision ?? 0) + 1, createdAt: at, updatedAt: at };
  expect(await customers.save(document, before?.revision)).toBe('saved');
}

const quantities = (...values: (string | number)[]): { quantity: string | number }[] =>
  values.map((quantity) => ({ quantity }));
const property = (
  ...values: (string | number | boolean)[]
): { properties: Record<string, string | number | boolean> }[] =>
  values.map((value) => ({ properties: { size: value } }));
const size = { kind: 'property' as const, name: 'size' };

describe('a derived window', () => {
  it.each([
    ['sums', { aggregation: 'sum' }, quantities('0.1', '0.2', '1000000', 3), '1000003.3 of 4, 0 not'],
    [
      'sums what a float would lose',
      { aggregation: 'sum' },
      quantities('100000000000000', '0.000000000001'),
      '100000000000000.000000000001 of 2, 0 not',
    ],
    ['counts', { aggregation: 'count' }, quantities('5', '0', '2'), '3 of 3, 0 not'],
    ['takes the greatest', { aggregation: 'max' }, quantities('9', '10', '2'), '10 of 3, 0 not'],
    ['takes the latest', { aggregation: 'last' }, quantities('9', '10', '2'), '2 of 3, 0 not'],
    [
      'counts distinct users',
      { aggregation: 'unique', uniqueBy: { kind: 'userId' } },
      [{ userId: 'a' }, { userId: 'b' }, { userId: 'a' }, {}],
      '2 of 3, 1 not',
    ],
  ] as [string, Partial<Meter>, EventInput[], string][])('%s', async (_, meter, events, expected) => {
    expect(await figureOf(meter, events)).toBe(expected);
  });

  it('takes the greater id of two latest facts', async () => {
    const events = [
      { at: '2026-11-21T05:00:00Z', key: 'b', quantity: '7' },
      { at: '2026-11-21T05:00:00Z', key: 'a', quantity: '8' },
    ];
    expect(await figureOf({ aggregation: 'last' }, events)).toBe('7 of 2, 0 not');
  });

  it('sums property values that are numbers or plain decimal texts, and counts the others as uncountable', async () => {
    const events = [...property('1.5', 2, '007', '1e3', 'NaN', 'Infinity', '-1', -1, true, '', ' 1', '0x10', '0'), {}];
    expect(await figureOf({ valueFrom: size }, events)).toBe('3.5 of 3, 11 not');
  });

  it('keeps a row for facts none of which can be counted', async () => {
    expect(await figureOf({ valueFrom: size, aggregation: 'max' }, property('many'))).toBe('0 of 0, 1 not');
    expect(await figureOf({ valueFrom: size, aggregation: 'last' }, property('many'))).toBe('0 of 0, 1 not');
  });

  it('skips the uncountable when it looks for the latest and the greatest', async () => {
    const events = property('5', '3', 'none', -9);
    expect(await figureOf({ valueFrom: size, aggregation: 'last' }, events)).toBe('3 of 2, 2 not');
    expect(await figureOf({ valueFrom: size, aggregation: 'max' }, events)).toBe('5 of 2, 2 not');
  });

  it('counts only facts that satisfy every condition, comparing type and value', async () => {
    const events = property('pro', 'basic', 1, '1', '1.0', true, 'true');
    const where = (...values: Meter['where'][number]['in']): Partial<Meter> => ({
      where: [{ property: 'size', in: values }],
    });
    expect(await figureOf(where('pro'), [...events, {}])).toBe('1 of 1, 0 not');
    expect(await figureOf(where({ number: '1' }), events)).toBe('1 of 1, 0 not');
    expect(await figureOf(where('1', true), events)).toBe('2 of 2, 0 not');
    expect(await figureOf(where({ number: '2' }), events)).toBe('');
    const both = {
      where: [...(where('pro').where ?? []), { property: 'zone', in: ['eu'] }],
      aggregation: 'count' as const,
    };
    expect(await figureOf(both, [{ properties: { size: 'pro', zone: 'eu' } }, { properties: { size: 'pro' } }])).toBe(
      '1 of 1, 0 not',
    );
  });

  it('tells values of a unique meter apart by type and canonical value', async () => {
    const events = property('1', 1, 1.0, true, 'true', '1.0', 'x'.repeat(500), 'x'.repeat(500));
    expect(await figureOf({ aggregation: 'unique', uniqueBy: size }, [...events, {}])).toBe('6 of 8, 1 not');
  });

  it('leaves other customers, hours, event types and time before the meter out', async () => {
    await withDatabase(async (db) => {
      await storeMeters(db, [meterOf({ key: 'm', effectiveFromMs: ms('2026-11-21T05:00:00Z') })]);
      const pairs = await storeEvents(db, [
        { at: '2026-11-21T04:59:59.999Z' },
        { at: '2026-11-21T05:00:00Z' },
        { at: '2026-11-21T05:59:59.999Z' },
        { at: '2026-11-21T06:00:00Z' },
        { at: '2026-11-21T05:30:00Z', customerId: 'other' },
        { at: '2026-11-21T05:30:00Z', eventType: 'upload' },
      ]);
      await derive(db, pairs);
      expect(await linesOf(db, 'm')).toEqual(['2026-11-21T05:00:00 2 2', '2026-11-21T06:00:00 1 1']);
    });
  });

  it('is exact over many hours of one customer and of many', async () => {
    await withDatabase(async (db) => {
      await storeMeters(db, [meterOf({ key: 'm' }), meterOf({ key: 'n', aggregation: 'count' })]);
      const inputs = Array.from({ length: 1_300 }, (_, index) => ({
        at: new Date(ms('2026-09-01T00:30:00Z') + index * 3_600_000).toISOString(),
        quantity: String(index),
        customerId: index % 10 === 0 ? 'other' : 'acme',
      }));
      const pairs = await storeEvents(db, inputs);
      await derive(db, pairs);
      const sums = await new UsageAggregates(db).sums({ ...range, meter: 'm' });
      const expected = inputs.reduce(
        (sum, { quantity, customerId }) => sum + (customerId === 'acme' ? Number(quantity) : 0),
        0,
      );
      expect(canonicalQuantity(sums.quantity.toString())).toBe(String(expected));
      expect(sums.eventCount).toBe(1_170);
    });
  });
});

describe('groups of a window', () => {
  const groupsOf = async (db: Db): Promise<UsageGroupsDocument[]> =>
    new UsageGroups(db).range({ ...range, meter: 'm' });

  it('are kept by their values, with null where a fact lacks one', async () => {
    await withDatabase(async (db) => {
      await storeMeters(db, [meterOf({ key: 'm', groupBy: [{ kind: 'property', name: 'plan' }, { kind: 'userId' }] })]);
      const at = '2026-11-21T05:00:00Z';
      await derive(
        db,
        await storeEvents(db, [
          { at, quantity: 1, properties: { plan: 'pro' }, userId: 'u' },
          { at, quantity: 2, properties: { plan: 'pro' }, userId: 'u' },
          { at, quantity: 4, properties: { plan: 'pro' } },
          { at, quantity: 8 },
        ]),
      );
      const [document] = await groupsOf(db);
      const groups = document?.groups.map((group) => [group.by, group.quantity.toString(), group.eventCount]);
      expect(groups).toEqual([
        [['pro', 'u'], '3', 2],
        [['pro', null], '4', 1],
        [[null, null], '8', 1],
      ]);
    });
  });

  it.each([
    ['sum', '30'],
    ['count', '20'],
    ['max', '2'],
    ['last', '1'],
    ['unique', '2'],
  ] as const)('beyond the most that are kept are added up under other: %s', async (aggregation, otherQuantity) => {
    await withDatabase(async (db) => {
      const uniqueBy = { kind: 'userId' as const };
      await storeMeters(db, [
        meterOf({ key: 'm', aggregation, groupBy: [size], ...(aggregation === 'unique' && { uniqueBy }) }),
      ]);
      // Named groups have three facts each, the rest two.
      const events = Array.from({ length: GROUPS_PER_WINDOW_MAX + 10 }, (_, group) =>
        Array.from({ length: group < GROUPS_PER_WINDOW_MAX ? 3 : 2 }, (_, fact) => ({
          at: `2026-11-21T05:00:0${2 - fact}Z`,
          quantity: String(fact + 1),
          userId: `user-${fact}`,
          properties: { size: `g${group}` },
        })),
      ).flat();
      await derive(db, await storeEvents(db, events));
      const [document] = await groupsOf(db);
      expect(document?.groups).toHaveLength(GROUPS_PER_WINDOW_MAX + 1);
      const other = document?.groups.at(-1);
      expect([other?.other, other?.by, other?.eventCount, other?.quantity.toString()]).toEqual([
        true,
        [],
        20,
        otherQuantity,
      ]);
      const [row] = await rowsOf(db, 'm');
      expect(document?.eventCount).toBe(row?.eventCount);
    });
  });
});

describe('a billing anchor inside an hour', () => {
  const calendars = [{ layout: 1, anchor: new Date('2026-11-15T10:23:45Z'), interval: 'month' as const }];

  it('splits the hour at that instant, and the periods with it', async () => {
    await withDatabase(async (db) => {
      await saveCustomer(db, calendars);
      await storeMeters(db, [meterOf({ key: 'm' }), meterOf({ key: 'peak', aggregation: 'max' })]);
      await derive(
        db,
        await storeEvents(db, [
          { at: '2026-11-15T10:00:00Z', quantity: 1 },
          { at: '2026-11-15T10:23:44.999Z', quantity: 2 },
          { at: '2026-11-15T10:23:45Z', quantity: 4 },
          { at: '2026-11-15T11:00:00Z', quantity: 8 },
        ]),
      );
      expect(await linesOf(db, 'm')).toEqual([
        '2026-11-15T10:00:00 3 2',
        '2026-11-15T10:23:45 4 1',
        '2026-11-15T11:00:00 8 1',
      ]);
      const [first, second] = await rowsOf(db, 'm');
      expect([first?.windowEnd, second?.windowEnd]).toEqual([
        new Date('2026-11-15T10:23:45Z'),
        new Date('2026-11-15T11:00:00Z'),
      ]);
      const periods = new UsagePeriods(db);
      const before = await periods.find(periodKey('acme', 'peak', new Date('2026-10-15T10:23:45Z')));
      const after = await periods.find(periodKey('acme', 'peak', new Date('2026-11-15T10:23:45Z')));
      expect([before?.quantity.toString(), after?.quantity.toString()]).toEqual(['2', '8']);
    });
  });

  it.each([
    [
      'that is taken away leaves its window as an empty row',
      calendars,
      [...calendars, { layout: 2 }],
      ['2026-11-15T10:00:00 7 3', '2026-11-15T10:23:45 0 0'],
    ],
    [
      'that is set cuts the former window in two',
      [],
      calendars,
      ['2026-11-15T10:00:00 3 2', '2026-11-15T10:23:45 4 1'],
    ],
  ] as [string, CustomerDocument['calendars'], CustomerDocument['calendars'], string[]][])(
    '%s',
    async (_, before, after, expected) => {
      await withDatabase(async (db) => {
        await saveCustomer(db, before);
        await storeMeters(db, [meterOf({ key: 'm' })]);
        const pairs = await storeEvents(db, [
          { at: '2026-11-15T10:00:00Z', quantity: 1 },
          { at: '2026-11-15T10:10:00Z', quantity: 2 },
          { at: '2026-11-15T10:30:00Z', quantity: 4 },
        ]);
        await derive(db, pairs);
        await saveCustomer(db, after);
        await derive(db, pairs);
        expect(await linesOf(db, 'm')).toEqual(expected);
      });
    },
  );

  it('empties a window that keeps its start and loses all its facts to the new one', async () => {
    await withDatabase(async (db) => {
      await saveCustomer(db, []);
      await storeMeters(db, [meterOf({ key: 'm' })]);
      const pairs = await storeEvents(db, [{ at: '2026-11-15T10:30:00Z', quantity: 4 }]);
      await derive(db, pairs);
      await saveCustomer(db, calendars);
      await derive(db, pairs);
      expect(await linesOf(db, 'm')).toEqual(['2026-11-15T10:00:00 0 0', '2026-11-15T10:23:45 4 1']);
    });
  });
});

describe('the fence', () => {
  const hour = { customerId: 'acme', hour: hourOf('2026-11-21T05:00:00Z') };

  it('keeps the newer derivation when an older one is merged after it', async () => {
    await withDatabase(async (db) => {
      await storeMeters(db, [meterOf({ key: 'm' })]);
      await storeEvents(db, [{ at: '2026-11-21T05:00:00Z', quantity: 1 }]);
      await derive(db, [hour]);
      const [older] = await rowsOf(db, 'm');
      await storeEvents(db, [{ at: '2026-11-21T05:10:00Z', quantity: 2 }]);
      await derive(db, [hour]);
      if (older === undefined) throw new Error('nothing was derived');
      const { revision: _, ...derived } = older;
      await db.client.withSession((session) => new UsageAggregates(db).mergeRows([derived], session));
      expect(await linesOf(db, 'm')).toEqual(['2026-11-21T05:00:00 3 2']);
    });
  });

  it('keeps a slow run from overwriting a quicker one that saw more', async () => {
    await withDatabase(async (db) => {
      await storeMeters(db, [meterOf({ key: 'm' })]);
      await storeEvents(db, [{ at: '2026-11-21T05:00:00Z', quantity: 1 }]);
      // Holds each row between its reading and its merging.
      const hold = [
        { $set: { held: { $function: { body: 'function () { sleep(1500); return 1; }', args: [], lang: 'js' } } } },
        { $unset: 'held' },
      ];
      const slow = derive(db, [hour], hold);
      await new Promise((resolve) => {
        setTimeout(resolve, 700);
      });
      await storeEvents(db, [{ at: '2026-11-21T05:10:00Z', quantity: 2 }]);
      await derive(db, [hour]);
      await slow;
      expect(await linesOf(db, 'm')).toEqual(['2026-11-21T05:00:00 3 2']);
    });
  });

  it('makes an equal derivation change nothing', async () => {
    await withDatabase(async (db) => {
      await storeMeters(db, [meterOf({ key: 'm' }), meterOf({ key: 'top', aggregation: 'max' })]);
      await storeEvents(db, [{ at: '2026-11-21T05:00:00Z', quantity: 5 }]);
      await derive(db, [hour]);
      const before = [await rowsOf(db, 'm'), await rowsOf(db, 'top')];
      await derive(db, [hour]);
      expect([await rowsOf(db, 'm'), await rowsOf(db, 'top')]).toEqual(before);
      expect(before[0]?.[0]).toMatchObject({ revision: 1, planDue: true });
    });
  });

  it('raises the revision and makes planning due only when the quantity changed', async () => {
    await withDatabase(async (db) => {
      await storeMeters(db, [meterOf({ key: 'm' }), meterOf({ key: 'top', aggregation: 'max' })]);
      const collections = { m: 'usage_aggregates', top: 'usage_periods' };
      const find = async (meter: 'm' | 'top'): Promise<Document | null> =>
        db.collection(collections[meter]).findOne({ '_id.meter': meter });
      await storeEvents(db, [{ at: '2026-11-21T05:00:00Z', quantity: 5 }]);
      await derive(db, [hour]);
      const planned = { sequence: 1, identifier: 'x', at: new Date(0) };
      for (const meter of ['m', 'top'] as const) {
        expect(await find(meter)).toMatchObject({ revision: 1, planDue: true });
        await db.collection(collections[meter]).updateMany({}, { $unset: { planDue: 1 }, $set: { planned } });
      }
      await storeEvents(db, [{ at: '2026-11-21T05:01:00Z', quantity: 0 }]);
      await derive(db, [hour]);
      for (const meter of ['m', 'top'] as const) {
        const same = await find(meter);
        expect(same).toMatchObject({ revision: 1, eventCount: 2, planned });
        expect(same).not.toHaveProperty('planDue');
      }
      await storeEvents(db, [{ at: '2026-11-21T05:02:00Z', quantity: 9 }]);
      await derive(db, [hour]);
      for (const meter of ['m', 'top'] as const) {
        expect(await find(meter)).toMatchObject({ revision: 2, eventCount: 3, planDue: true, planned });
      }
    });
  });

  it('makes planning due by window or by period, never by both', async () => {
    await withDatabase(async (db) => {
      await storeMeters(db, [meterOf({ key: 'm' }), meterOf({ key: 'top', aggregation: 'max' })]);
      await derive(db, await storeEvents(db, [{ at: '2026-11-21T05:00:00Z' }]));
      const due = { planDue: true };
      const windows = await db.collection('usage_aggregates').distinct('_id.meter', due);
      const periods = await db.collection('usage_periods').distinct('_id.meter', due);
      expect([windows, periods]).toEqual([['m'], ['top']]);
    });
  });
});
