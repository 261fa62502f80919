import { Decimal128, type Db } from 'mongodb';
import { describe, expect, it } from 'vitest';
import { type Verification, verifyUsage } from '../../src/explain/verify-usage.ts';
import { parseStatedPeriod } from '../../src/aggregation/stated-period.ts';
import type { EventField } from '../../src/meters/meter.ts';
import { Customers } from '../../src/customers/customers-store.ts';
import { auditedCustomerIds, withUsageAudit } from '../../src/explain/usage-audit-store.ts';
import { rowKey } from '../../src/aggregation/usage-derivation-store.ts';
import { GROUPS_PER_WINDOW_MAX, type UsageGroupsDocument } from '../../src/aggregation/usage-groups-store.ts';
import { adjust } from '../support/adjustments.ts';
import { withDatabase } from '../support/services.ts';
import { deriveWaiting, type EventInput, ingestEvents, meterOf, storeMeters } from '../support/usage.ts';

const BY_PLAN: EventField[] = [{ kind: 'property', name: 'plan' }];
const METERS = [
  meterOf({ key: 'sum', groupBy: [...BY_PLAN, { kind: 'userId' }] }),
  meterOf({ key: 'count', aggregation: 'count', where: [{ property: 'plan', in: ['pro'] }] }),
  meterOf({ key: 'peak', aggregation: 'max' }),
  meterOf({ key: 'level', aggregation: 'last', groupBy: BY_PLAN }),
  meterOf({ key: 'users', aggregation: 'unique', uniqueBy: { kind: 'userId' }, groupBy: BY_PLAN }),
];
const ANCHOR = new Date('2026-10-15T10:23:45Z');

function verify(db: Db, period = '2026-11', customerId?: string): Promise<Verification> {
  return verifyUsage(
    {
      customerIds: (hours) => auditedCustomerIds(db, hours),
      withAudit: (work) => withUsageAudit(db, work),
    },
    { ...parseStatedPeriod(period), ...(customerId !== undefined && { customerId }) },
  );
}

/** Facts of three customers around November: on both sides of an anchor, of the month's ends, and with a poison value. */
function facts(): (EventInput & { key: string })[] {
  const instants = ['10-31T23:59:59Z', '11-01T00:00:00Z', '11-15T10:23:44Z', '11-15T10:23:45Z', '11-20T07:00:00Z'];
  const more = ['11-30T23:59:59Z', '12-01T00:00:00Z', '12-15T10:00:00Z', '12-20T00:00:00Z'];
  return ['acme', '\u{10000}', '\uffff'].flatMap((customerId, owner) =>
    [...instants, ...more].flatMap((at, index) =>
      [0, 1].map((copy) => ({
        key: `${owner}-${index}-${copy}`,
        customerId,
        at: `2026-${at}`,
        quantity: `${(index * 7) % 5}.${copy}5`,
        userId: `u${(index + copy) % 4}`,
        properties: { plan: copy === 0 ? 'pro' : 'basic' },
      })),
    ),
  );
}

async function prepare(db: Db): Promise<void> {
  await storeMeters(db, METERS);
  const at = new Date(0);
  const calendars = [{ layout: 1, anchor: ANCHOR, interval: 'month' as const }];
  await new Customers(db).save({ _id: 'acme', calendars, revision: 1, createdAt: at, updatedAt: at }, undefined);
}

async function adjustAll(db: Db): Promise<void> {
  await adjust(db, { idempotencyKey: 'a', meter: 'sum', quantity: '-1.5', occurredAt: '2026-11-15T10:30:00Z' });
  await adjust(db, { idempotencyKey: 'b', meter: 'count', quantity: '3', occurredAt: '2026-11-02T00:00:00Z' });
}

describe('verifyUsage', () => {
  it('finds figures equal, with one hash for the same facts in whatever order they came', async () => {
    const hashes: string[] = [];
    for (const order of [1, -1]) {
      await withDatabase(async (db) => {
        await prepare(db);
        if (order < 0) await adjustAll(db);
        const inOrder = order > 0 ? facts() : facts().toReversed();
        for (let from = 0; from < inOrder.length; from += 30) {
          await ingestEvents(db, inOrder.slice(from, from + 30));
          if (order > 0) await deriveWaiting(db);
        }
        if (order > 0) await adjustAll(db);
        await deriveWaiting(db);
        const result = await verify(db);
        expect(result).toMatchObject({ customers: 3, differing: 0, waiting: 0, differences: [] });
        // The periods of two customers begin with the month, that of the third at its anchor.
        expect(result).toMatchObject({ from: '2026-11-01T00:00:00.000Z', to: '2026-12-01T00:00:00.000Z', periods: 9 });
        hashes.push(result.hash);
        const acme = await verify(db, '2026-11', 'acme');
        expect(acme).toMatchObject({ customers: 1, differing: 0, periods: 3 });
        expect(acme.hash).not.toBe(result.hash);
      });
    }
    expect(hashes[0]).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(new Set(hashes).size).toBe(1);
  });

  it('names every figure that is not what the facts come to', async () => {
    await withDatabase(async (db) => {
      await prepare(db);
      await ingestEvents(db, facts());
      await deriveWaiting(db);
      const { hash } = await verify(db);
      const windows = db.collection('usage_aggregates');
      const start = (text: string): Date => new Date(`2026-${text}:00:00Z`);
      const acme = { '_id.customerId': 'acme' };
      // Changed, lost, and left over without any facts; and a running figure of a period.
      await windows.updateOne({ ...acme, '_id.meter': 'sum', '_id.windowStart': start('11-20T07') }, [
        { $set: { quantity: Decimal128.fromString('99') } },
      ]);
      await windows.deleteOne({ ...acme, '_id.meter': 'count', '_id.windowStart': start('11-01T00') });
      const ghost = { customerId: 'ghost', meter: 'sum', windowStart: start('11-03T00') };
      const row = await windows.findOne({ '_id.meter': 'sum' });
      await windows.insertOne({ ...row, _id: ghost as never, windowEnd: start('11-03T01'), eventCount: 2 });
      const periods = db.collection('usage_periods');
      const users = { ...acme, '_id.meter': 'users', '_id.periodStart': new Date('2026-11-15T10:23:45Z') };
      await periods.updateOne(users, [{ $set: { eventCount: 1 } }]);
      const found = await verify(db);
      expect(found).toMatchObject({ differing: 4, waiting: 0, hash });
      const told = found.differences.map(({ kind, customerId, meter, from }) => [kind, customerId, meter, from]);
      expect(told).toEqual([
        ['window', 'acme', 'count', '2026-11-01T00:00:00.000Z'],
        ['window', 'acme', 'sum', '2026-11-20T07:00:00.000Z'],
        ['period', 'acme', 'users', '2026-11-15T10:23:45.000Z'],
        ['window', 'ghost', 'sum', '2026-11-03T00:00:00.000Z'],
      ]);
      expect(found.differences[1]).toMatchObject({ stored: { quantity: '99', eventCount: 2 }, raw: { eventCount: 2 } });
    });
  });

  it('does not call it drift that hours wait to be derived, or to be queued', async () => {
    await withDatabase(async (db) => {
      await prepare(db);
      await ingestEvents(db, facts());
      const waiting = await verify(db);
      expect(waiting.differing).toBe(0);
      expect(waiting.waiting).toBeGreaterThan(0);
      await deriveWaiting(db);
      expect(await verify(db)).toMatchObject({ differing: 0, waiting: 0, hash: waiting.hash });
      await db
        .collection<{ _id: string }>('customers')
        .updateOne({ _id: 'acme' }, [{ $set: { calendars: [], requeueFrom: new Date('2026-11-01T00:00:00Z') } }]);
      const changed = await verify(db, '2026-11', 'acme');
      expect(changed.differing).toBe(0);
      expect(changed.waiting).toBeGreaterThan(0);
    });
  });

  it('goes over more than a month, in slices, to the same figures', async () => {
    await withDatabase(async (db) => {
      await prepare(db);
      await ingestEvents(db, facts());
      await deriveWaiting(db);
      const whole = await verify(db, '2026-09-30..2026-12-31');
      expect(whole).toMatchObject({ differing: 0, customers: 3 });
      const parts = ['2026-09-30..2026-11-01', '2026-11', '2026-12-01..2026-12-31'].map((part) => verify(db, part));
      const total = (await Promise.all(parts)).reduce((sum, { windows }) => sum + windows, 0);
      expect(whole.windows).toBe(total);
    });
  });

  it('names every group of a window that is not what the facts come to', async () => {
    await withDatabase(async (db) => {
      await prepare(db);
      const byTier: EventField[] = [{ kind: 'property', name: 'tier' }];
      await storeMeters(db, [meterOf({ key: 'tiers', eventType: 'build', groupBy: byTier })]);
      const build = { at: '2026-11-05T10:00:00Z', eventType: 'build', quantity: '1' };
      const tiers = [1.5, 1.5, '1.5', true, ...Array.from({ length: GROUPS_PER_WINDOW_MAX }, (_, tier) => `t${tier}`)];
      await ingestEvents(db, [...facts(), build, ...tiers.map((tier) => ({ ...build, properties: { tier } }))]);
      await deriveWaiting(db);
      const { hash, groups, differing } = await verify(db);
      expect(differing).toBe(0);
      // Of the builds a hundred by name and the others.
      expect(groups).toBeGreaterThan(GROUPS_PER_WINDOW_MAX + 1);
      const documents = db.collection<UsageGroupsDocument>('usage_groups');
      const idOf = (meter: string, hour: string): UsageGroupsDocument['_id'] =>
        rowKey('acme', meter, new Date(`2026-${hour}:00:00Z`));
      // Taken for another, lost with the whole document, not kept as one of the others, and left over without any facts.
      const builds = { _id: idOf('tiers', '11-05T10') };
      const number = { ...builds, 'groups.by': Decimal128.fromString('1.5') };
      await documents.updateOne(number, { $set: { 'groups.$.by': ['2.5'] } });
      await documents.updateOne(builds, { $pull: { groups: { other: true } } });
      const lost = { _id: idOf('users', '11-20T07') };
      const document = await documents.findOneAndDelete(lost);
      if (document === null) throw new Error('the window has no groups');
      await documents.insertOne({ ...document, _id: idOf('users', '11-21T07') });
      const found = await verify(db);
      expect(found).toMatchObject({ differing: 7, waiting: 0, hash, groups });
      expect(found.differences.map(({ kind, meter, from, group }) => [kind, meter, from.slice(5, 13), group])).toEqual([
        ['group', 'tiers', '11-05T10', '["2.5"]'],
        ['group', 'tiers', '11-05T10', '[1.5]'],
        ['group', 'tiers', '11-05T10', 'other'],
        ['group', 'users', '11-20T07', '["basic"]'],
        ['group', 'users', '11-20T07', '["pro"]'],
        ['group', 'users', '11-21T07', '["basic"]'],
        ['group', 'users', '11-21T07', '["pro"]'],
      ]);
      expect(found.differences[2]).toMatchObject({
        stored: { quantity: '0', eventCount: 0 },
        raw: { quantity: '4', eventCount: 4 },
      });
    });
  });

  it('has a hash over what is billed, whatever groups are kept', async () => {
    const hashes: string[] = [];
    for (const isGrouped of [true, false]) {
      await withDatabase(async (db) => {
        await storeMeters(db, isGrouped ? METERS : METERS.map((meter) => ({ ...meter, groupBy: [] })));
        await ingestEvents(db, facts());
        await deriveWaiting(db);
        const { hash, groups } = await verify(db);
        expect(groups > 0).toBe(isGrouped);
        hashes.push(hash);
      });
    }
    expect(hashes[0]).toBe(hashes[1]);
  });
});
