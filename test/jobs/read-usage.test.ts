import * as fc from 'fast-check';
import type { Db } from 'mongodb';
import { describe, expect, it } from 'vitest';
import { readUsage } from '../../src/aggregation/read-usage.ts';
import { requeueUsage } from '../../src/aggregation/requeue-usage.ts';
import { ManualClock } from '../../src/platform/clock.ts';
import type { Meter } from '../../src/meters/meter.ts';
import { addQuantities, compareQuantities, type Quantity } from '../../src/platform/quantity.ts';
import type { MeterUsage, UsageReport } from '../../src/aggregation/usage-report.ts';
import type { UsageQuery } from '../../src/aggregation/usage-query.ts';
import { DAY_MS, HOUR_MS } from '../../src/platform/durations.ts';
import { Customers, type CustomerDocument } from '../../src/customers/customers-store.ts';
import { DirtyHours } from '../../src/usage/dirty-hours-store.ts';
import { withLiveUsage } from '../../src/aggregation/live-usage-store.ts';
import { METERS, Meters } from '../../src/meters/meters-store.ts';
import { UsageAggregates } from '../../src/aggregation/usage-aggregates-store.ts';
import { RawFacts } from '../../src/usage/raw-facts-store.ts';
import { UsagePeriods } from '../../src/aggregation/usage-periods-store.ts';
import { withDatabase } from '../support/services.ts';
import {
  deriveWaiting,
  type EventInput,
  ingestEvents,
  meterOf,
  ms,
  storeEvents,
  storeMeters,
} from '../support/usage.ts';

const NOW = ms('2026-11-21T05:30:00Z');
const ANCHOR = '2026-11-15T10:23:45Z';
const DAY = DAY_MS;

function read(db: Db, query: Partial<UsageQuery> = {}): Promise<UsageReport> {
  const deps = {
    clock: new ManualClock(NOW),
    withLiveUsage: <T>(work: Parameters<typeof withLiveUsage<T>>[1]) => withLiveUsage(db, work),
  };
  return readUsage(deps, { customerId: 'acme', ...query });
}

async function saveCustomer(db: Db, given: Partial<CustomerDocument>): Promise<void> {
  const customers = new Customers(db);
  const before = await customers.find('acme');
  const at = new Date(NOW);
  await customers.save(
    {
      _id: 'acme',
      calendars: [],
      createdAt: at,
      updatedAt: at,
      ...before,
      ...given,
      revision: (before?.revision ?? 0) + 1,
    },
    before?.revision,
  );
}

async function requeue(db: Db): Promise<void> {
  await requeueUsage({
    clock: new ManualClock(NOW),
    mirrorCalendar: () => Promise.resolve(false),
    customers: new Customers(db),
    meters: new Meters(db),
    usageEvents: new RawFacts(db),
    dirtyHours: new DirtyHours(db),
    aggregates: new UsageAggregates(db),
    periods: new UsagePeriods(db),
  });
}

const plan = { kind: 'property' as const, name: 'plan' };
const METERS_UNDER_TEST: readonly Meter[] = [
  meterOf({ key: 'sum', groupBy: [plan, { kind: 'userId' }] }),
  meterOf({ key: 'count', aggregation: 'count', where: [{ property: 'plan', in: ['a', 'b'] }] }),
  meterOf({ key: 'max', aggregation: 'max', valueFrom: { kind: 'property', name: 'size' }, groupBy: [plan] }),
  meterOf({ key: 'last', aggregation: 'last', groupBy: [plan] }),
  meterOf({ key: 'unique', aggregation: 'unique', uniqueBy: { kind: 'userId' }, groupBy: [plan] }),
];

interface Fact extends EventInput {
  readonly key: string;
  readonly quantity: string;
}

/** What a meter makes of facts, computed the obvious way. */
function bruteForce(
  meter: Meter,
  facts: readonly Fact[],
): { quantity: Quantity; eventCount: number; uncountable: number } {
  const matching = facts.filter(({ properties }) =>
    meter.where.every((condition) => condition.in.includes(properties?.[condition.property] as string)),
  );
  const counted = matching.flatMap((fact) => {
    if (meter.aggregation === 'unique') return fact.userId === undefined ? [] : [{ fact, value: '0' }];
    if (meter.valueFrom.kind === 'quantity') return [{ fact, value: fact.quantity }];
    const value = fact.properties?.['size'];
    return typeof value === 'number' && value >= 0 ? [{ fact, value: String(value) }] : [];
  });
  const values = counted.map(({ value }) => value);
  const order = [...counted].sort((a, b) => ms(a.fact.at) - ms(b.fact.at) || (a.fact.key < b.fact.key ? -1 : 1));
  const quantity = {
    sum: () => addQuantities(...values),
    count: () => String(counted.length),
    max: () => values.reduce((a, b) => (compareQuantities(a, b) >= 0 ? a : b), '0'),
    last: () => order.at(-1)?.value ?? '0',
    unique: () => String(new Set(counted.map(({ fact }) => fact.userId)).size),
  }[meter.aggregation]();
  return { quantity, eventCount: counted.length, uncountable: matching.length - counted.length };
}

/** Every number of an answer against brute force over the facts of its range. */
function expectExact(report: UsageReport, facts: readonly Fact[], groupBy?: 'plan'): void {
  const within = (from: string, to: string): Fact[] =>
    facts.filter(({ at, customerId }) => customerId === undefined && ms(at) >= ms(from) && ms(at) < ms(to));
  for (const usage of report.meters) {
    const meter = METERS_UNDER_TEST.find(({ key }) => key === usage.meter);
    if (meter === undefined) throw new Error(`${usage.meter} is no meter of the test`);
    const own = within(report.from, report.to);
    const { uncountable, ...figure } = bruteForce(meter, own);
    expect({ quantity: usage.quantity, eventCount: usage.eventCount }).toEqual(figure);
    expect(usage.uncountable ?? 0).toBe(uncountable);
    for (const window of usage.windows) {
      const { uncountable: _, ...expected } = bruteForce(meter, within(window.from, window.to));
      expect({ quantity: window.quantity, eventCount: window.eventCount }).toEqual(expected);
    }
    expect(usage.windows.reduce((sum, { eventCount }) => sum + eventCount, 0)).toBe(usage.eventCount);
    if (groupBy !== undefined && meter.groupBy.length > 0) expectGroups(meter, usage, own);
  }
}

function expectGroups(meter: Meter, usage: MeterUsage, facts: readonly Fact[]): void {
  const plans = [...new Set(facts.map(({ properties }) => properties?.['plan'] ?? null))];
  const expected = plans
    .map((value) => {
      const own = facts.filter(({ properties }) => (properties?.['plan'] ?? null) === value);
      const { quantity, eventCount } = bruteForce(meter, own);
      return { by: { 'properties.plan': value }, quantity, eventCount };
    })
    .filter(({ eventCount }) => eventCount > 0);
  const byText = (a: object, b: object): number => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1);
  expect([...(usage.groups ?? [])].sort(byText)).toEqual(expected.sort(byText));
}

const FROM = ms('2026-11-13T22:00:00Z');
const factArbitrary: fc.Arbitrary<Omit<Fact, 'key'>> = fc.record(
  {
    // Half of the facts lie around the anchor, where hours are cut.
    at: fc
      .oneof(
        fc.integer({ min: FROM, max: FROM + 3 * DAY }),
        fc.integer({ min: ms(ANCHOR) - HOUR_MS, max: ms(ANCHOR) + HOUR_MS }),
      )
      .map((at) => new Date(at).toISOString()),
    quantity: fc.constantFrom('0', '0.1', '2', '7.25', '1000000000000'),
    userId: fc.constantFrom('u1', 'u2', 'u3'),
    properties: fc.record(
      { plan: fc.constantFrom('a', 'b', 'c'), size: fc.constantFrom(1, 2.5, -3, 'none') },
      { requiredKeys: [] },
    ),
    customerId: fc.constant('other'),
  },
  { requiredKeys: ['at', 'quantity'] },
);
const queryArbitrary: fc.Arbitrary<Partial<UsageQuery>> = fc
  .record({
    window: fc.constantFrom('hour' as const, 'day' as const, 'total' as const),
    range: fc.oneof(
      fc.constant({}),
      fc.constant({ period: 'previous' as const }),
      fc
        .tuple(fc.integer({ min: FROM, max: FROM + 3 * DAY }), fc.integer({ min: 1, max: 3 * DAY }))
        .map(([from, span]) => ({ from: new Date(from).toISOString(), to: new Date(from + span).toISOString() })),
    ),
  })
  .map(({ window, range }) => ({ window, ...range }));

describe('live figures', () => {
  it('equal brute force, whatever part of the usage was derived', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(factArbitrary, { minLength: 1, maxLength: 60 }),
        fc.nat(),
        fc.array(queryArbitrary, { minLength: 3, maxLength: 6 }),
        fc.boolean(),
        async (inputs, cut, queries, isAnchored) => {
          const facts = inputs.map((input, index) => ({ ...input, key: `k${String(index).padStart(3, '0')}` }));
          const derived = cut % (facts.length + 1);
          await withDatabase(async (db) => {
            await storeMeters(db, METERS_UNDER_TEST);
            await ingestEvents(db, facts.slice(0, derived));
            await deriveWaiting(db);
            if (isAnchored) {
              const calendars = [{ layout: 1, anchor: new Date(ANCHOR), interval: 'month' as const }];
              await saveCustomer(db, { calendars, requeueFrom: new Date('2026-10-01T00:00:00Z') });
              if (cut % 2 === 0) await requeue(db);
              if (cut % 4 === 0) await deriveWaiting(db);
            }
            await ingestEvents(db, facts.slice(derived));
            for (const query of queries) expectExact(await read(db, query), facts);
          });
        },
      ),
      { numRuns: 25, seed: 20261121 },
    );
  }, 120_000);

  it('group by fields that the meter keeps, over derived and waiting hours', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(factArbitrary, { minLength: 1, maxLength: 40 }), fc.nat(), async (inputs, cut) => {
        const facts = inputs.map((input, index) => ({ ...input, key: `k${String(index).padStart(3, '0')}` }));
        const derived = cut % (facts.length + 1);
        await withDatabase(async (db) => {
          await storeMeters(db, METERS_UNDER_TEST);
          if (cut % 2 === 0) {
            await saveCustomer(db, { calendars: [{ layout: 1, anchor: new Date(ANCHOR), interval: 'month' }] });
          }
          await ingestEvents(db, facts.slice(0, derived));
          await deriveWaiting(db);
          if (cut % 4 === 0) {
            const calendars = [{ layout: 1, anchor: new Date(ANCHOR), interval: 'month' as const }, { layout: 2 }];
            await saveCustomer(db, { calendars, requeueFrom: new Date('2026-10-01T00:00:00Z') });
            await requeue(db);
            await deriveWaiting(db);
          }
          await ingestEvents(db, facts.slice(derived));
          for (const meter of ['sum', 'max', 'last', 'unique']) {
            const range = { from: '2026-11-13T00:00:00Z', to: '2026-11-18T00:00:00Z' };
            expectExact(await read(db, { meter, groupBy: ['plan'], ...range }), facts, 'plan');
          }
        });
      }),
      { numRuns: 12, seed: 20261121 },
    );
  }, 120_000);

  it('of a meter made after its events are right before and after its hours are queued and derived', async () => {
    await withDatabase(async (db) => {
      const at = '2026-11-20T05:00:00Z';
      await ingestEvents(db, [
        { at, quantity: 3 },
        { at: '2026-11-03T05:00:00Z', quantity: 4 },
      ]);
      await storeMeters(db, [meterOf({ key: 'old' })]);
      await deriveWaiting(db);
      const { effectiveFromMs: _, ...fromPeriod } = meterOf({ key: 'new', createdAtMs: NOW });
      await storeMeters(db, [fromPeriod]);
      const requeueFrom = new Date(NOW - 367 * DAY);
      await db.collection<{ _id: string }>(METERS).updateOne({ _id: 'new' }, { $set: { requeueFrom } });
      const quantity = async (): Promise<string | undefined> => (await read(db, { meter: 'new' })).meters[0]?.quantity;
      expect(await quantity()).toBe('7');
      await requeue(db);
      expect(await quantity()).toBe('7');
      await deriveWaiting(db);
      expect(await quantity()).toBe('7');
      expect(await new Meters(db).listToRequeue()).toEqual([]);
    });
  });

  it('count nothing from before the meter counts', async () => {
    await withDatabase(async (db) => {
      await storeMeters(db, [meterOf({ key: 'm', effectiveFromMs: ms('2026-11-20T05:00:00Z') })]);
      await ingestEvents(db, [{ at: '2026-11-20T04:59:59.999Z' }, { at: '2026-11-20T05:00:00Z' }]);
      expect((await read(db)).meters[0]?.quantity).toBe('1');
      await deriveWaiting(db);
      expect((await read(db)).meters[0]?.quantity).toBe('1');
      const before = await read(db, { from: '2026-11-20T04:00:00Z', to: '2026-11-20T05:00:00Z' });
      expect(before.meters[0]).toMatchObject({ quantity: '0', eventCount: 0 });
    });
  });

  it('answer for the current and the previous billing period of the customer', async () => {
    await withDatabase(async (db) => {
      await storeMeters(db, [meterOf({ key: 'm' })]);
      const calendars = [{ layout: 1, anchor: new Date(ANCHOR), interval: 'month' as const }];
      await saveCustomer(db, { calendars });
      await storeEvents(db, []);
      const current = await read(db);
      expect(current).toMatchObject({
        from: '2026-11-15T10:23:45.000Z',
        to: '2026-12-15T10:23:45.000Z',
        asOf: '2026-11-21T05:30:00.000Z',
      });
      expect(await read(db, { period: 'previous' })).toMatchObject({
        from: '2026-10-15T10:23:45.000Z',
        to: current.from,
      });
      expect(current.meters[0]).toEqual({
        meter: 'm',
        unit: 'unit',
        quantity: '0',
        eventCount: 0,
        windows: [{ from: current.from, to: current.to, quantity: '0', eventCount: 0 }],
      });
    });
  });

  it.each([
    ['range_invalid', { from: '2026-11-01T00:00:00Z' }],
    ['range_invalid', { from: '2026-11-02T00:00:00Z', to: '2026-11-02T00:00:00Z' }],
    ['range_invalid', { from: '2026-11-01', to: '2026-11-02' }],
    ['range_invalid', { from: '2026-11-01T00:00:00Z', to: '2026-11-02T00:00:00Z', period: 'current' }],
    ['range_too_long', { from: '2025-01-01T00:00:00Z', to: '2026-11-02T00:00:00Z' }],
    ['meter_not_found', { meter: 'none' }],
    ['group_by_not_kept', { meter: 'sum', groupBy: ['zone'] }],
    ['group_by_not_kept', { meter: 'count', groupBy: ['plan'] }],
  ] as [string, Partial<UsageQuery>][])('refuse with %s: %o', async (code, query) => {
    await withDatabase(async (db) => {
      await storeMeters(db, METERS_UNDER_TEST);
      await expect(read(db, query)).rejects.toMatchObject({ code });
    });
  });
});
