/** Group commit over a real MongoDB: what is acknowledged, when, and what the journal says meanwhile. */
import type { Db } from 'mongodb';
import { afterEach, describe, expect, it } from 'vitest';
import { onBoundary } from '../../src/platform/boundary.ts';
import { ManualClock } from '../../src/platform/clock.ts';
import { parseUsageEvent } from '../../src/usage/usage-event.ts';
import { readEmbeddedEnvironment } from '../../packages/dev-services/src/environment.ts';
import { startEmbeddedMongo } from '../../packages/dev-services/src/mongo.ts';
import { resolveMongod } from '../../packages/dev-services/src/resolve-mongod.ts';
import { openDatabase } from '../../src/platform/mongo/database.ts';
import { DirtyHours } from '../../src/usage/dirty-hours-store.ts';
import { toUsageEventDocument, type UsageEventDocument, UsageEvents } from '../../src/usage/usage-events-store.ts';
import { UsageLog } from '../../src/usage/usage-log-store.ts';
import { withDatabase } from '../support/services.ts';

const NOW_MS = Date.parse('2026-06-15T12:00:00Z');
const QUEUE_BYTES_MAX = 1_000_000;

afterEach(() => onBoundary(undefined));

function eventOf(key: string, given: { customerId?: string; quantity?: string; minute?: number } = {}) {
  const verdict = parseUsageEvent(
    {
      idempotencyKey: key,
      customerId: given.customerId ?? 'acme',
      eventType: 'call',
      occurredAt: new Date(NOW_MS - 3_600_000 + (given.minute ?? 0) * 60_000).toISOString(),
      quantity: given.quantity ?? '1',
    },
    { nowMs: NOW_MS, ageMsMax: 86_400_000 },
  );
  if ('fault' in verdict) throw new Error(verdict.fault.detail);
  return toUsageEventDocument(verdict.event, NOW_MS);
}

interface OpenLog {
  readonly log: UsageLog;
  readonly events: CountingEvents;
  readonly closeFailures: unknown[];
}

/** Counts the statements, which say whether keys were looked up before the insert. */
class CountingEvents extends UsageEvents {
  readonly inserted: number[] = [];
  lookups = 0;

  override insertAll(documents: readonly UsageEventDocument[]): ReturnType<UsageEvents['insertAll']> {
    this.inserted.push(documents.length);
    return super.insertAll(documents);
  }

  override fingerprintsOf(ids: readonly string[]): ReturnType<UsageEvents['fingerprintsOf']> {
    this.lookups += 1;
    return super.fingerprintsOf(ids);
  }
}

function openLog(db: Db, queueBytesMax = QUEUE_BYTES_MAX): OpenLog {
  const events = new CountingEvents(db);
  const closeFailures: unknown[] = [];
  const log = new UsageLog({
    events,
    dirtyHours: new DirtyHours(db),
    clock: new ManualClock(NOW_MS),
    queueBytesMax,
    onCloseFailed: (error) => closeFailures.push(error),
  });
  return { log, events, closeFailures };
}

const count = (db: Db, collection: string, filter: object = {}): Promise<number> =>
  db.collection(collection).countDocuments(filter);

describe('UsageLog', () => {
  it('does not take any other refusal for a duplicate', () =>
    withDatabase(async (db) => {
      await db.createCollection('usage_events', { validator: { customerId: { $ne: 'refused' } } });
      const { log } = openLog(db);
      await expect(log.append([eventOf('a'), eventOf('b', { customerId: 'refused' })], 100)).rejects.toMatchObject({
        kind: 'defect',
        code: 'store_failed',
      });
    }));

  it('tells duplicates and conflicts apart within one batch and against earlier ones', () =>
    withDatabase(async (db) => {
      const { log } = openLog(db);
      expect(
        await log.append([eventOf('a'), eventOf('b'), eventOf('a'), eventOf('b', { quantity: '2' })], 100),
      ).toEqual(['accepted', 'accepted', 'duplicate', 'conflict']);
      const again = [
        eventOf('a', { quantity: '1.0' }),
        eventOf('b', { quantity: '3' }),
        eventOf('a', { customerId: 'b' }),
      ];
      expect(await log.append(again, 100)).toEqual(['duplicate', 'conflict', 'accepted']);
      expect(await count(db, 'usage_events')).toBe(3);
      await log.drain();
    }));

  it('stores what many callers append at once, each event once, in few inserts', () =>
    withDatabase(async (db) => {
      const { log, events } = openLog(db);
      const callers = Array.from({ length: 100 }, (_, index) => log.append([eventOf(`key-${index % 80}`)], 10));
      const outcomes = (await Promise.all(callers)).flat();
      expect(outcomes.filter((outcome) => outcome === 'accepted')).toHaveLength(80);
      expect(outcomes.filter((outcome) => outcome === 'duplicate')).toHaveLength(20);
      expect(await count(db, 'usage_events')).toBe(80);
      expect(events.inserted.length).toBeLessThan(10);
      expect(log.queuedBytes).toBe(0);
      await log.drain();
    }));

  it('cuts a request that is larger than a commit, and keeps the order of its outcomes', () =>
    withDatabase(async (db) => {
      const { log, events } = openLog(db);
      await log.append([eventOf('key-1500')], 10);
      const outcomes = await log.append(
        Array.from({ length: 2_500 }, (_, index) => eventOf(`key-${index}`)),
        1_000,
      );
      expect(outcomes.flatMap((outcome, index) => (outcome === 'duplicate' ? [index] : []))).toEqual([1_500]);
      expect(Math.max(...events.inserted)).toBeLessThanOrEqual(1_000);
      await log.drain();
    }));

  it('has its journal entry durable before an event is stored', () =>
    withDatabase(async (db) => {
      const seen: { entries: number; events: number }[] = [];
      onBoundary(async (name) => {
        if (name !== 'ingest.journal-written') return;
        seen.push({ entries: await count(db, 'dirty_hours'), events: await count(db, 'usage_events') });
      });
      const { log } = openLog(db);
      await log.append([eventOf('a')], 10);
      expect(seen).toEqual([{ entries: 1, events: 0 }]);
      const [entry] = await db.collection('dirty_hours').find().toArray();
      expect(entry?.['pairs']).toEqual([`acme\u001f${(NOW_MS - 3_600_000) / 3_600_000}`]);
      await log.drain();
    }));

  it('closes an entry only when every insert under it was answered', () =>
    withDatabase(async (db) => {
      let release = (): void => {};
      const held = new Promise<void>((resolve) => {
        release = resolve;
      });
      const { log } = openLog(db);
      await log.append([eventOf('a')], 10);
      const reached = new Promise<void>((resolve) => {
        onBoundary((name) => {
          if (name !== 'ingest.journal-written') return undefined;
          resolve();
          return held;
        });
      });
      const appended = log.append([eventOf('b')], 10);
      await reached;
      const drained = log.drain();
      await new Promise((resolve) => setTimeout(resolve, 200));
      expect(await count(db, 'dirty_hours', { closedAt: { $exists: true } })).toBe(0);
      release();
      expect(await appended).toEqual(['accepted']);
      await drained;
      expect(await count(db, 'dirty_hours', { closedAt: { $exists: true } })).toBe(1);
      expect(await count(db, 'dirty_hours')).toBe(1);
    }));

  it('writes the pairs anew when the entry is gone at its confirmation or at its close', () =>
    withDatabase(async (db) => {
      for (const place of ['ingest.events-inserted', 'ingest.journal-confirmed']) {
        await db.collection('dirty_hours').deleteMany({});
        onBoundary(async (name) => {
          if (name === place) await db.collection('dirty_hours').deleteMany({});
        });
        const { log, closeFailures } = openLog(db);
        expect(await log.append([eventOf(`key-${place}`)], 10)).toEqual(['accepted']);
        onBoundary(undefined);
        await log.drain();
        expect(await count(db, 'dirty_hours', { closedAt: { $exists: true } }), place).toBeGreaterThan(0);
        expect(closeFailures).toEqual([]);
      }
    }));

  it('writes the pairs anew when a run gave the entry up', () =>
    withDatabase(async (db) => {
      onBoundary(async (name) => {
        if (name === 'ingest.journal-confirmed') {
          await db.collection('dirty_hours').updateMany({}, { $set: { markedAt: new Date(NOW_MS) } });
        }
      });
      const { log } = openLog(db);
      await log.append([eventOf('a')], 10);
      await log.drain();
      expect(await count(db, 'dirty_hours', { closedAt: { $exists: true }, markedAt: { $exists: false } })).toBe(1);
    }));

  it('refuses with a passing error when a run gave the entry up before new pairs could be added', () =>
    withDatabase(async (db) => {
      const { log } = openLog(db);
      await log.append([eventOf('a')], 10);
      await db.collection('dirty_hours').updateMany({}, { $set: { markedAt: new Date(NOW_MS) } });
      const elsewhere = [eventOf('b', { customerId: 'other' })];
      await expect(log.append(elsewhere, 10)).rejects.toMatchObject({ kind: 'transient', code: 'journal_entry_lost' });
      expect(await count(db, 'usage_events')).toBe(1);
      expect(await log.append(elsewhere, 10)).toEqual(['accepted']);
      await log.drain();
    }));

  it('looks keys up before the insert once many were duplicates', () =>
    withDatabase(async (db) => {
      const { log, events } = openLog(db);
      const known = Array.from({ length: 50 }, (_, index) => eventOf(`key-${index}`));
      await log.append(known, 100);
      await log.append(known, 100);
      expect(events.inserted).toEqual([50, 50]);
      const mixed = [...known.slice(0, 25), eventOf('new'), eventOf('key-30', { quantity: '9' })];
      const outcomes = await log.append(mixed, 100);
      expect(outcomes.slice(0, 25).every((outcome) => outcome === 'duplicate')).toBe(true);
      expect(outcomes.slice(25)).toEqual(['accepted', 'conflict']);
      expect(events.inserted).toEqual([50, 50, 1]);
      await log.drain();
    }));

  it('refuses what would exceed the bytes that may wait, and takes it once there is room', () =>
    withDatabase(async (db) => {
      const { log } = openLog(db, 1_000);
      const first = log.append([eventOf('a')], 900);
      await expect(log.append([eventOf('b')], 200)).rejects.toMatchObject({
        kind: 'transient',
        code: 'ingest_queue_full',
      });
      expect(await first).toEqual(['accepted']);
      expect(await log.append([eventOf('b')], 200)).toEqual(['accepted']);
      expect(await count(db, 'usage_events')).toBe(2);
      await log.drain();
    }));
});

describe('UsageLog on three nodes', () => {
  it('acknowledges nothing without a majority, and everything once when it is back', { timeout: 120_000 }, async () => {
    const program = await resolveMongod(readEmbeddedEnvironment(), () => {});
    const mongo = await startEmbeddedMongo({ program, nodeCount: 3 });
    const database = openDatabase({ uri: mongo.uri, name: 'usage_log' });
    try {
      const { log } = openLog(database.db);
      expect(await log.append([eventOf('a')], 10)).toEqual(['accepted']);
      const { primary } = (await database.db.admin().command({ hello: 1 })) as { primary: string };
      const secondaries = mongo.nodes.filter(({ port }) => !primary.endsWith(`:${port}`));
      for (const node of secondaries) await node.kill();
      // With a duplicate among them: a write-concern failure hides it, and must not pass for success.
      const batch = [eventOf('a'), eventOf('b')];
      await expect(log.append(batch, 10)).rejects.toMatchObject({ kind: 'transient' });
      for (const node of secondaries) await node.restart();
      const outcomes = await appendUntilTaken(log, batch);
      expect(outcomes[0]).toBe('duplicate');
      expect(['accepted', 'duplicate']).toContain(outcomes[1]);
      expect(await count(database.db, 'usage_events')).toBe(2);
      // Every node gone between the journal and the insert: the driver's bulk error then has no code and no class.
      onBoundary((name) =>
        name === 'ingest.journal-written'
          ? Promise.all(mongo.nodes.map((node) => node.kill())).then(() => undefined)
          : undefined,
      );
      await expect(log.append([eventOf('c')], 10)).rejects.toMatchObject({
        kind: 'transient',
        code: 'store_unavailable',
      });
      onBoundary(undefined);
      await log.drain();
    } finally {
      await database.close();
      await mongo.stop();
    }
  });
});

async function appendUntilTaken(log: UsageLog, batch: UsageEventDocument[]): Promise<string[]> {
  for (let tries = 0; ; tries += 1) {
    try {
      return await log.append(batch, 10);
    } catch (error) {
      if (tries === 20) throw error;
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }
}
