import type { Db } from 'mongodb';
import { describe, expect, it } from 'vitest';
import { putMeter } from '../../src/meters/put-meter.ts';
import { ManualClock } from '../../src/platform/clock.ts';
import type { MeterChange, MeterDefinition } from '../../src/meters/meter-definition.ts';
import { inDerivationRun } from '../../src/aggregation/derivation-run-store.ts';
import { ensureIndexes } from '../../src/daemon/indexes-store.ts';
import { Meters, toMeter } from '../../src/meters/meters-store.ts';
import { withDatabase } from '../support/services.ts';
import { ms } from '../support/usage.ts';

const NOW = '2026-11-21T05:30:00Z';
const calls: MeterChange = { eventType: 'call', aggregation: 'sum' };

function put(db: Db, change: MeterChange, key = 'calls'): ReturnType<typeof putMeter> {
  return putMeter({ clock: new ManualClock(ms(NOW)), meters: new Meters(db) }, { key, change });
}

async function use(db: Db): Promise<void> {
  await inDerivationRun(db, (run) => run.useMeters(new Date(NOW)));
}

describe('putMeter', () => {
  it('creates a meter with its defaults and queues a year of earlier events', async () => {
    await withDatabase(async (db) => {
      const { meter, created } = await put(db, calls);
      expect(created).toBe(true);
      const expected: MeterDefinition = {
        _id: 'calls',
        displayName: 'calls',
        unit: 'unit',
        eventType: 'call',
        aggregation: 'sum',
        valueFrom: 'quantity',
        where: [],
        groupBy: [],
        lateUsage: 'review',
        requeueFrom: new Date('2025-11-19T05:30:00Z'),
        revision: 1,
        createdAt: new Date(NOW),
        updatedAt: new Date(NOW),
      };
      expect(meter).toEqual(expected);
      expect(await new Meters(db).find('calls')).toEqual(expected);
    });
  });

  it('stores every field in canonical form', async () => {
    await withDatabase(async (db) => {
      await put(db, {
        displayName: 'Active users',
        unit: 'user',
        eventType: 'call',
        aggregation: 'unique',
        uniqueBy: 'userId',
        where: [{ property: 'properties.plan', in: ['pro', 1.5, true] }],
        groupBy: ['plan', 'userId'],
        effectiveFrom: '2026-11-21T07:00:00+02:00',
        lateUsage: 'next_period',
        stripe: { eventName: 'users' },
      });
      const stored = await new Meters(db).find('calls');
      expect(stored).toMatchObject({
        uniqueBy: 'userId',
        where: [{ property: 'plan', in: ['pro', { number: '1.5' }, true] }],
        groupBy: ['properties.plan', 'userId'],
        effectiveFrom: new Date('2026-11-21T05:00:00Z'),
        requeueFrom: new Date('2026-11-21T05:00:00Z'),
        lateUsage: 'next_period',
        stripe: { eventName: 'users' },
      });
      if (stored === null) throw new Error('not stored');
      expect(toMeter(stored)).toMatchObject({ groupBy: [{ kind: 'property', name: 'plan' }, { kind: 'userId' }] });
    });
  });

  it('changes the given fields of a meter that was not used, and queues its hours again', async () => {
    await withDatabase(async (db) => {
      await put(db, { ...calls, groupBy: ['plan'], stripe: { eventName: 'calls' } });
      await new Meters(db).finishRequeue('calls', 1);
      const { meter } = await put(db, { aggregation: 'count', groupBy: null, stripe: null });
      expect(meter).toMatchObject({ eventType: 'call', aggregation: 'count', groupBy: [], revision: 2 });
      expect(meter).toHaveProperty('requeueFrom');
      expect(meter).not.toHaveProperty('stripe');
    });
  });

  it('changes nothing when the same is put again, also when the meter is in use', async () => {
    await withDatabase(async (db) => {
      const change = {
        ...calls,
        where: [{ property: 'plan', in: ['pro', 1] }],
        groupBy: ['plan'],
        stripe: { eventName: 'calls' },
      };
      await put(db, change);
      await use(db);
      const before = await new Meters(db).find('calls');
      expect(await put(db, change)).toMatchObject({ created: false });
      expect(await put(db, {})).toMatchObject({ created: false });
      expect(await new Meters(db).find('calls')).toEqual(before);
    });
  });

  it.each([
    { eventType: 'upload' },
    { aggregation: 'max' },
    { valueFrom: 'properties.size' },
    { where: [{ property: 'plan', in: ['pro'] }] },
    { groupBy: ['zone'] },
    { effectiveFrom: '2026-11-01T00:00:00Z' },
    { stripe: { eventName: 'other' } },
  ] as MeterChange[])('refuses to change what a used meter counts, or where it goes: %o', async (change) => {
    await withDatabase(async (db) => {
      await put(db, { ...calls, stripe: { eventName: 'calls' } });
      await use(db);
      const before = await new Meters(db).find('calls');
      await expect(put(db, change)).rejects.toMatchObject({ kind: 'conflict', code: 'meter_in_use' });
      expect(await new Meters(db).find('calls')).toEqual(before);
    });
  });

  it('lets a used meter change its names, its policy and, once, its connection to Stripe', async () => {
    await withDatabase(async (db) => {
      await put(db, calls);
      await use(db);
      await new Meters(db).finishRequeue('calls', 1);
      await put(db, { displayName: 'Calls', unit: 'call', lateUsage: 'invoice_item', stripe: { eventName: 'calls' } });
      const stored = await new Meters(db).find('calls');
      expect(stored).toMatchObject({ displayName: 'Calls', unit: 'call', lateUsage: 'invoice_item', revision: 2 });
      expect(stored).toMatchObject({ stripe: { eventName: 'calls' }, usedAt: new Date(NOW) });
      expect(stored).not.toHaveProperty('requeueFrom');
    });
  });

  it('refuses a change that was decided before the first use', async () => {
    await withDatabase(async (db) => {
      await put(db, calls);
      const before = (await new Meters(db).find('calls')) ?? undefined;
      await use(db);
      if (before === undefined) throw new Error('not stored');
      const changed = { ...before, aggregation: 'max' as const, revision: 2 };
      expect(await new Meters(db).save(changed, before)).toBe('changed');
    });
  });

  it('refuses an event name that another meter sends to', async () => {
    await withDatabase(async (db) => {
      await ensureIndexes(db);
      await put(db, { ...calls, stripe: { eventName: 'calls' } });
      const error = { kind: 'conflict', code: 'event_name_taken' };
      await expect(put(db, { ...calls, stripe: { eventName: 'calls' } }, 'other')).rejects.toMatchObject(error);
      await put(db, calls, 'without');
      await put(db, calls, 'without-too');
    });
  });

  it.each([
    ['/eventType', { aggregation: 'sum' }],
    ['/eventType', { ...calls, eventType: 'a call' }],
    ['/aggregation', { eventType: 'call' }],
    ['/valueFrom', { ...calls, valueFrom: 'userId' }],
    ['/valueFrom', { ...calls, valueFrom: 'properties.a.b' }],
    ['/valueFrom', { ...calls, aggregation: 'count', valueFrom: 'properties.size' }],
    ['/uniqueBy', { ...calls, aggregation: 'unique' }],
    ['/uniqueBy', { ...calls, aggregation: 'unique', uniqueBy: 'quantity' }],
    ['/uniqueBy', { ...calls, uniqueBy: 'userId' }],
    ['/where/0/property', { ...calls, where: [{ property: 'a.b', in: ['x'] }] }],
    ['/where/0/in', { ...calls, where: [{ property: 'a', in: [] }] }],
    ['/where/0/in/1', { ...calls, where: [{ property: 'a', in: ['x', 1e-20] }] }],
    ['/groupBy/0', { ...calls, groupBy: ['quantity'] }],
    ['/groupBy', { ...calls, groupBy: ['plan', 'properties.plan'] }],
    ['/groupBy', { ...calls, groupBy: ['a', 'b', 'c', 'd', 'e', 'f'] }],
    ['/effectiveFrom', { ...calls, effectiveFrom: '2026-11-21T05:30:00Z' }],
    ['/stripe/eventName', { ...calls, stripe: { eventName: '' } }],
    ['/unit', { ...calls, unit: '' }],
  ] as [string, MeterChange][])('refuses what breaks a rule at %s: %o', async (pointer, change) => {
    await withDatabase(async (db) => {
      await expect(put(db, change)).rejects.toMatchObject({ code: 'meter_invalid', context: { pointer } });
    });
  });

  it('refuses a key that cannot be written in a path', async () => {
    await withDatabase(async (db) => {
      await expect(put(db, calls, 'a/b')).rejects.toMatchObject({ code: 'meter_invalid' });
    });
  });
});
