/** What one customer-hour, one journal entry or very many of them can do to an aggregation run. */
import { randomUUID } from 'node:crypto';
import type { Db } from 'mongodb';
import { describe, expect, it } from 'vitest';
import {
  aggregateUsage,
  type AggregateUsageResult,
  type AggregationRun,
} from '../../src/aggregation/aggregate-usage.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { DaemonError } from '../../src/platform/errors.ts';
import { inDerivationRun } from '../../src/aggregation/derivation-run-store.ts';
import { DIRTY_HOURS, DirtyHours } from '../../src/usage/dirty-hours-store.ts';
import { UsageAggregates } from '../../src/aggregation/usage-aggregates-store.ts';
import { withDatabase } from '../support/services.ts';
import { hourOf, ingestEvents, meterOf, storeMeters } from '../support/usage.ts';

const at = '2026-11-21T05:10:00Z';
const hour = hourOf(at);
const since = new Date('2026-11-21T06:00:00Z');
const range = { from: new Date('2020-01-01'), to: new Date('2030-01-01') };

type Run = AggregationRun<unknown>;

/** Runs the job; `around` may put itself between it and its statements. */
async function aggregate(
  db: Db,
  around: (run: Run) => Partial<Run> = () => ({}),
): Promise<{ result: AggregateUsageResult; errors: string[] }> {
  const errors: string[] = [];
  const result = await aggregateUsage<unknown>(
    {
      inRun: (work) =>
        inDerivationRun(db, (run) => {
          const own = run as unknown as Run;
          const changed = around(own);
          const lent = new Proxy(own, {
            get: (target, name: keyof Run) => {
              const value = changed[name] ?? target[name];
              return changed[name] === undefined ? value.bind(target) : value;
            },
          });
          return work(lent);
        }),
      clock: systemClock,
      log: { info: () => undefined, error: (_fields, phrase) => errors.push(phrase) },
    },
    {},
  );
  return { result, errors };
}

async function quantityOf(db: Db, customerId: string, meter = 'calls'): Promise<string[]> {
  const rows = await new UsageAggregates(db).range({ ...range, customerId, meter });
  return rows.map(({ quantity }) => quantity.toString());
}

describe('very many customers', () => {
  it('are aggregated, however long their ids are', { timeout: 300_000 }, () =>
    withDatabase(async (db) => {
      await storeMeters(db, [meterOf({ key: 'calls' })]);
      const ids = Array.from({ length: 70_000 }, (_, index) => String(index).padStart(250, 'x'));
      await new DirtyHours(db).recordPairs(
        ids.map((customerId) => ({ customerId, hour })),
        since,
      );
      await ingestEvents(db, [{ at, quantity: '7', customerId: ids[69_999] ?? '' }, { at }]);
      const { result } = await aggregate(db);
      expect(result).toMatchObject({ setAside: 0 });
      expect(await quantityOf(db, ids[69_999] ?? '')).toEqual(['7']);
      expect(await quantityOf(db, 'acme')).toEqual(['1']);
      expect(await db.collection(DIRTY_HOURS).countDocuments()).toBe(0);
    }),
  );

  it('are aggregated when there are 350,000 with ordinary ids', { timeout: 300_000 }, () =>
    withDatabase(async (db) => {
      await storeMeters(db, [meterOf({ key: 'calls' })]);
      const ids = Array.from({ length: 350_000 }, () => randomUUID());
      await new DirtyHours(db).recordPairs(
        ids.map((customerId) => ({ customerId, hour })),
        since,
      );
      await ingestEvents(db, [{ at, quantity: '7', customerId: ids[349_999] ?? '' }]);
      const { result } = await aggregate(db);
      expect(result).toMatchObject({ customerHours: 350_000, setAside: 0 });
      expect(await quantityOf(db, ids[349_999] ?? '')).toEqual(['7']);
    }),
  );
});

describe('a customer-hour that cannot be derived', () => {
  const poisoned =
    (run: Run, error: () => Error): Run['customers'] =>
    (ids) =>
      ids.includes('poison') ? Promise.reject(error()) : run.customers(ids);

  it('is set aside by an error that nobody foresaw, and all others are derived', () =>
    withDatabase(async (db) => {
      await storeMeters(db, [meterOf({ key: 'calls' })]);
      const customers = ['a', 'b', 'poison', 'c', 'd', 'e'];
      await ingestEvents(
        db,
        customers.map((customerId) => ({ at, customerId })),
      );
      const { result } = await aggregate(db, (run) => ({
        customers: poisoned(run, () => new RangeError('beyond the buffer')),
      }));
      expect(result.setAside).toBe(1);
      for (const customerId of ['a', 'b', 'c', 'd', 'e']) expect(await quantityOf(db, customerId)).toEqual(['1']);
      const backlog = await new DirtyHours(db).backlog();
      expect(backlog).toMatchObject({
        entries: 1,
        setAside: { customerHours: 1, oldestAt: new Date(0), reason: 'RangeError: beyond the buffer' },
      });
    }));

  it('keeps its age while it is tried in every run, and is derived once it can be', () =>
    withDatabase(async (db) => {
      await storeMeters(db, [meterOf({ key: 'calls' })]);
      await ingestEvents(db, [{ at, customerId: 'poison' }, { at }]);
      const around = (run: Run): Partial<Run> => ({ customers: poisoned(run, () => new TypeError('no')) });
      await aggregate(db, around);
      await ingestEvents(db, [{ at, customerId: 'later' }]);
      expect((await aggregate(db, around)).result).toMatchObject({ setAside: 1 });
      expect(await quantityOf(db, 'later')).toEqual(['1']);
      const [aside] = await db.collection(DIRTY_HOURS).find().toArray();
      expect(aside).toMatchObject({ openedAt: new Date(0), setAside: { attempts: 2 } });
      expect((await aggregate(db)).result).toMatchObject({ setAside: 0 });
      expect(await quantityOf(db, 'poison')).toEqual(['1']);
      expect((await new DirtyHours(db).backlog()).setAside).toBeUndefined();
    }));

  it('does not hide that the store is away: the run ends, and everything waits', () =>
    withDatabase(async (db) => {
      await storeMeters(db, [meterOf({ key: 'calls' })]);
      await ingestEvents(db, [{ at, customerId: 'poison' }]);
      const away = (): Error => new DaemonError({ kind: 'transient', code: 'store_unavailable', message: 'away' });
      await expect(aggregate(db, (run) => ({ customers: poisoned(run, away) }))).rejects.toMatchObject({
        code: 'store_unavailable',
      });
      expect(await new DirtyHours(db).backlog()).toMatchObject({ entries: 1 });
    }));

  it('is set aside as well when its period fails, or the rows of a former calendar', () =>
    withDatabase(async (db) => {
      await storeMeters(db, [meterOf({ key: 'peak', aggregation: 'max' })]);
      await ingestEvents(
        db,
        ['a', 'poison', 'b'].map((customerId) => ({ at, customerId, quantity: '3' })),
      );
      const { result } = await aggregate(db, (run) => ({
        derivePeriods: (steps) =>
          steps.some(({ customerId }) => customerId === 'poison')
            ? Promise.reject(new Error('no period'))
            : run.derivePeriods(steps),
      }));
      expect(result.setAside).toBe(1);
      expect(await db.collection('usage_periods').distinct('_id.customerId')).toEqual(['a', 'b']);
    }));
});

describe('a journal entry that cannot be read', () => {
  it('is left as it is and fails the run, after all others were derived', () =>
    withDatabase(async (db) => {
      await storeMeters(db, [meterOf({ key: 'calls' })]);
      await db.collection(DIRTY_HOURS).insertOne({ openedAt: since, closedAt: since, pairs: 'not a list' });
      await ingestEvents(db, [{ at }]);
      await db.collection(DIRTY_HOURS).insertOne({ openedAt: since, closedAt: since });
      await ingestEvents(db, [{ at, customerId: 'other' }]);
      await expect(aggregate(db)).rejects.toThrow();
      expect(await quantityOf(db, 'acme')).toEqual(['1']);
      expect(await quantityOf(db, 'other')).toEqual(['1']);
    }));
});
