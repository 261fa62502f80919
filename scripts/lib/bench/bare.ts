/** What the daemon is held against: the driver alone, on collections laid out like ours. */
import { buildApp } from '../../../src/platform/http/app.ts';
import { Metrics } from '../../../src/platform/http/metrics.ts';
import { createLogger } from '../../../src/platform/logger.ts';
import { parseUsageEvent } from '../../../src/usage/usage-event.ts';
import { type Database, openDatabase } from '../../../src/platform/mongo/database.ts';
import { toUsageEventDocument, USAGE_EVENTS, type UsageEventDocument } from '../../../src/usage/usage-events-store.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { eventOf, type EventSeries } from './event-series.ts';
import type { RoleWork } from '../child.ts';

const BATCH_EVENTS = 1_000;
const BATCHES_IN_FLIGHT = 4;
/** Together as many connections as the driver opens by default. */
const POOLS = 3;
const ANY_AGE = { nowMs: Number.MAX_SAFE_INTEGER, ageMsMax: Number.MAX_SAFE_INTEGER };

/** Made beforehand, so that only the driver is timed. */
export function documentsOf(series: EventSeries, firstIndex: number, count: number): UsageEventDocument[] {
  return Array.from({ length: count }, (_, offset) =>
    toUsageEventDocument(eventOf(series, firstIndex + offset), series.startMs),
  );
}

/** Inserts with the bare driver; returns the milliseconds it took. */
export async function insertBare(database: Database, documents: readonly UsageEventDocument[]): Promise<number> {
  const collection = database.db.collection<UsageEventDocument>(USAGE_EVENTS);
  let next = 0;
  const insert = async (): Promise<void> => {
    while (next < documents.length) {
      const from = next;
      next += BATCH_EVENTS;
      await collection.insertMany(documents.slice(from, from + BATCH_EVENTS), { ordered: false });
    }
  };
  const startedAt = performance.now();
  await Promise.all(Array.from({ length: BATCHES_IN_FLIGHT }, insert));
  return performance.now() - startedAt;
}

/** A server like the daemon's whose only route inserts the one event of each request by itself. */
export async function startBareServer(env: Readonly<Record<string, string | undefined>>): Promise<RoleWork> {
  const settings = { uri: env['MONGODB_URI'] ?? '', name: env['MONGODB_DATABASE'] ?? '' };
  const databases = Array.from({ length: POOLS }, () => openDatabase(settings));
  const collections = databases.map(({ db }) => db.collection<UsageEventDocument>(USAGE_EVENTS));
  let requests = 0;
  const app = await buildApp({
    log: createLogger({ level: 'error' }),
    auth: { findApiKey: () => Promise.resolve(null), adminApiKey: undefined, clock: systemClock },
    health: { isDraining: () => false, checks: [] },
    metrics: new Metrics(),
    bodyBytesMax: 1_048_576,
    requestTimeoutMs: 30_000,
    version: 'bench',
    routes: [
      (app) =>
        app.post('/bare', async (request) => {
          const verdict = parseUsageEvent(request.body, ANY_AGE);
          if ('fault' in verdict) throw new Error(verdict.fault.detail);
          requests += 1;
          const document = toUsageEventDocument(verdict.event, Date.now());
          await collections[requests % POOLS]?.insertMany([document], { ordered: false });
          return { accepted: 1, duplicates: 0 };
        }),
    ],
  });
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  return {
    ready: { url: `${url}/bare` },
    stop: async () => {
      await app.close();
      for (const database of databases) await database.close();
    },
  };
}
