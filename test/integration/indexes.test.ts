import { describe, expect, it } from 'vitest';
import { isDuplicateKey } from '../../src/platform/mongo/errors.ts';
import { ensureIndexes, INDEXES, listIndexFaults } from '../../src/daemon/indexes-store.ts';
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

  /** An index made by hand, in place of ours, and what is said of it. */
  const BY_HAND: { collection: string; key: Record<string, 1>; options: object; said: RegExp }[] = [
    {
      collection: 'customers',
      key: { stripeCustomerId: 1 },
      options: {},
      said: /unique none instead of true, partialFilterExpression none instead of \{/,
    },
    {
      collection: 'usage_aggregates',
      key: { uncountable: 1 },
      options: { sparse: true },
      said: /sparse true instead of none/,
    },
    {
      collection: 'late_checks',
      key: { checkedAt: 1 },
      options: { expireAfterSeconds: 60, name: 'mine' },
      said: /expireAfterSeconds 60 instead of \d{4,}/,
    },
    { collection: 'dirty_hours', key: { pairs: 1 }, options: { unique: true }, said: /unique true instead of none/ },
    { collection: 'dirty_hours', key: { pairs: 1 }, options: { hidden: true }, said: /hidden true instead of none/ },
  ];
  it.each(BY_HAND)(
    'names $collection $key with $options, and makes it anew',
    async ({ collection, key, options, said }) => {
      await withDatabase(async (db) => {
        await db.collection(collection).createIndex(key, options);
        const found = (await listIndexFaults(db)).find(({ index }) => index === `${collection} ${JSON.stringify(key)}`);
        expect(found?.detail).toMatch(said);
        const mended: string[] = [];
        await ensureIndexes(db, ({ index }) => mended.push(index));
        expect(mended).toEqual([`${collection} ${JSON.stringify(key)}`]);
        expect(await listIndexFaults(db)).toEqual([]);
      });
    },
  );

  it('names a unique index that is none of ours, and leaves it to a person', async () => {
    await withDatabase(async (db) => {
      await ensureIndexes(db);
      await db.collection('usage_events').createIndex({ customerId: 1 }, { unique: true });
      await ensureIndexes(db);
      expect(await listIndexFaults(db)).toEqual([
        { index: 'usage_events {"customerId":1}', detail: expect.stringContaining('unique and none of ours') },
      ]);
    });
  });

  it('refuses documents that break a unique index, and names the collection', async () => {
    await withDatabase(async (db) => {
      const twice = [{ stripeCustomerId: 'cus_1' }, { stripeCustomerId: 'cus_1' }];
      await db.collection('customers').insertMany(twice);
      await expect(ensureIndexes(db)).rejects.toMatchObject({
        code: 'configuration_invalid',
        message: expect.stringMatching(/MONGODB_DATABASE holds documents in customers that break its unique index/),
      });
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
