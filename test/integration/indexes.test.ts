import { describe, expect, it } from 'vitest';
import { isDuplicateKey } from '../../src/storage/errors.ts';
import { ensureIndexes, INDEXES } from '../../src/storage/indexes.ts';
import { withDatabase } from '../support/services.ts';

const at = new Date('2026-11-01T00:00:00Z');

/** Two documents that must not both exist, for each unique index. */
const VIOLATIONS: { collection: string; key: string; documents: [object, object]; allowed: object[] }[] = [
  {
    collection: 'meters',
    key: '{"stripe.eventName":1}',
    documents: [
      { _id: 'a', stripe: { eventName: 'calls' } },
      { _id: 'b', stripe: { eventName: 'calls' } },
    ],
    allowed: [{ _id: 'c' }, { _id: 'd' }],
  },
  {
    collection: 'customers',
    key: '{"stripeCustomerId":1}',
    documents: [
      { _id: 'a', stripeCustomerId: 'cus_1' },
      { _id: 'b', stripeCustomerId: 'cus_1' },
    ],
    allowed: [{ _id: 'c' }, { _id: 'd' }],
  },
];

describe('ensureIndexes', () => {
  it('creates every index that is listed, and nothing else, however often it runs', async () => {
    await withDatabase(async (db) => {
      await Promise.all([ensureIndexes(db), ensureIndexes(db)]);
      await ensureIndexes(db);
      for (const collection of new Set(INDEXES.map((rule) => rule.collection))) {
        const keys = (await db.collection(collection).indexes()).map((index) => JSON.stringify(index.key));
        const wanted = INDEXES.filter((rule) => rule.collection === collection).map((rule) => JSON.stringify(rule.key));
        expect(keys.sort()).toEqual(['{"_id":1}', ...wanted].sort());
      }
    });
  });

  it('compresses usage events with zstd', async () => {
    await withDatabase(async (db) => {
      await ensureIndexes(db);
      const [events] = await db.listCollections({ name: 'usage_events' }).toArray();
      expect(JSON.stringify(events)).toContain('block_compressor=zstd');
    });
  });

  it('is tried by a violation for each unique index', () => {
    const unique = INDEXES.filter((rule) => rule.options?.unique === true);
    expect(VIOLATIONS.map(({ collection, key }) => `${collection} ${key}`).sort()).toEqual(
      unique.map((rule) => `${rule.collection} ${JSON.stringify(rule.key)}`).sort(),
    );
  });

  it.each(VIOLATIONS)('refuses a second document with the same $key in $collection', async (violation) => {
    await withDatabase(async (db) => {
      await ensureIndexes(db);
      const collection = db.collection<{ _id: string }>(violation.collection);
      const [first, second] = violation.documents as [{ _id: string }, { _id: string }];
      await collection.insertOne(first);
      await expect(collection.insertOne(second)).rejects.toSatisfy(isDuplicateKey);
      await collection.insertMany(violation.allowed as { _id: string }[]);
    });
  });

  it('finds what is due through the partial indexes', async () => {
    await withDatabase(async (db) => {
      await ensureIndexes(db);
      await db.collection('usage_aggregates').insertOne({ planDue: true, windowEnd: at });
      const plan = await db
        .collection('usage_aggregates')
        .find({ planDue: true, windowEnd: { $lte: at } })
        .explain();
      expect(JSON.stringify(plan['queryPlanner'])).toContain('planDue_1_windowEnd_1');
      const requeue = await db
        .collection('customers')
        .find({ requeueFrom: { $exists: true } })
        .explain();
      expect(JSON.stringify(requeue['queryPlanner'])).toContain('requeueFrom_1');
    });
  });
});
