/** One answer with very many meters: what it says, and what it costs. */
import type { Db } from 'mongodb';
import { describe, expect, it } from 'vitest';
import { readUsage } from '../../src/aggregation/read-usage.ts';
import { ManualClock } from '../../src/platform/clock.ts';
import type { Meter } from '../../src/meters/meter.ts';
import type { UsageQuery } from '../../src/aggregation/usage-query.ts';
import type { UsageReport } from '../../src/aggregation/usage-report.ts';
import { withLiveUsage } from '../../src/aggregation/live-usage-store.ts';
import { METERS, toMeterDocument } from '../../src/meters/meters-store.ts';
import { withDatabase } from '../support/services.ts';
import { deriveWaiting, ingestEvents, meterOf, ms } from '../support/usage.ts';

const METERS_MADE = 500;
const NOW = ms('2026-11-21T05:30:00Z');
const AGGREGATIONS = ['sum', 'count', 'max', 'last', 'unique'] as const;

function read(db: Db, query: Partial<UsageQuery> = {}): Promise<UsageReport> {
  const deps = {
    clock: new ManualClock(NOW),
    withLiveUsage: <T>(work: Parameters<typeof withLiveUsage<T>>[1]) => withLiveUsage(db, work),
  };
  return readUsage(deps, { customerId: 'acme', ...query });
}

/** Counts the reads that go through a database. */
function counting(db: Db): { db: Db; reads: () => number } {
  let reads = 0;
  const collectionOf = db.collection.bind(db);
  const counted = new Proxy(db, {
    get: (target, name) => {
      if (name !== 'collection') return Reflect.get(target, name) as unknown;
      return (of: string) => {
        const collection = collectionOf(of);
        for (const method of ['find', 'findOne', 'aggregate'] as const) {
          const original = collection[method].bind(collection) as (...given: unknown[]) => unknown;
          Object.assign(collection, {
            [method]: (...given: unknown[]) => {
              reads += 1;
              return original(...given);
            },
          });
        }
        return collection;
      };
    },
  });
  return { db: counted, reads: () => reads };
}

async function storeAll(db: Db, meters: readonly Meter[]): Promise<void> {
  const updatedAt = new Date(0);
  const documents = meters.map((meter) => toMeterDocument(meter, { revision: 1, updatedAt }));
  await db.collection(METERS).insertMany(documents as never[]);
}

/** Half of it is derived, half waits in the journal. */
async function useUp(db: Db): Promise<void> {
  const events = Array.from({ length: 60 }, (_, index) => ({
    at: `2026-11-${String(1 + (index % 20)).padStart(2, '0')}T0${index % 10}:00:00Z`,
    quantity: String(index),
    userId: `user-${index % 7}`,
    properties: { size: index % 5 },
  }));
  await ingestEvents(db, events.slice(0, 30));
  await deriveWaiting(db);
  await ingestEvents(db, events.slice(30));
}

describe('the usage of very many meters', () => {
  it(
    'is what each of them says alone, whatever counts it and however much is derived',
    () =>
      withDatabase(async (db) => {
        const meters = Array.from({ length: 25 }, (_, index) =>
          meterOf({
            key: `meter-${index}`,
            aggregation: AGGREGATIONS[index % 5] ?? 'sum',
            eventType: index % 7 === 6 ? 'other' : 'call',
            ...(AGGREGATIONS[index % 5] === 'unique' && { uniqueBy: { kind: 'userId' as const } }),
            ...(index % 3 === 1 && { where: [{ property: 'size', in: [{ number: '1' }, { number: '2' }] }] }),
            ...(index % 4 === 3 && { effectiveFromMs: ms('2026-11-08T00:00:00Z') }),
          }),
        );
        await storeAll(db, meters);
        await useUp(db);
        for (const window of ['total', 'day', 'hour'] as const) {
          const together = (await read(db, { window })).meters;
          expect(together).toHaveLength(meters.length);
          expect(together.filter(({ eventCount }) => eventCount > 0).length).toBeGreaterThan(15);
          for (const usage of together) {
            const alone = await read(db, { window, meter: usage.meter });
            expect(alone.meters).toEqual([usage]);
          }
        }
      }),
    120_000,
  );

  it(
    'costs few statements',
    () =>
      withDatabase(async (db) => {
        await storeAll(
          db,
          Array.from({ length: METERS_MADE }, (_, index) => meterOf({ key: `meter-${index}` })),
        );
        await useUp(db);
        const { db: counted, reads } = counting(db);
        const { meters } = await read(counted);
        expect(meters).toHaveLength(METERS_MADE);
        expect(new Set(meters.map(({ quantity }) => quantity))).toEqual(new Set(['1770']));
        expect(reads()).toBeLessThan(METERS_MADE / 5);
      }),
    120_000,
  );
});
