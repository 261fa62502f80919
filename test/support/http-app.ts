/** An app on a real database, wired like the daemon's, for tests of the routes for usage events. */
import type { Db } from 'mongodb';
import { ingestUsageEvents } from '../../src/usage/ingest-usage-events.ts';
import { replayRejectedEvent } from '../../src/usage/replay-rejected-event.ts';
import { type Clock, ManualClock } from '../../src/platform/clock.ts';
import type { UsageEvent } from '../../src/usage/usage-event.ts';
import { type AppDeps, buildApp } from '../../src/platform/http/app.ts';
import { registerEvents } from '../../src/usage/events-routes.ts';
import { Metrics } from '../../src/platform/http/metrics.ts';
import { registerRejectedEvents } from '../../src/usage/rejected-events-routes.ts';
import type { App } from '../../src/platform/http/route.ts';
import { ApiKeys } from '../../src/platform/mongo/api-keys.ts';
import { DirtyHours } from '../../src/usage/dirty-hours-store.ts';
import { ensureIndexes } from '../../src/daemon/indexes-store.ts';
import { RejectedEvents } from '../../src/usage/rejected-events-store.ts';
import { toUsageEventDocument, UsageEvents } from '../../src/usage/usage-events-store.ts';
import { UsageLog } from '../../src/usage/usage-log-store.ts';
import { withDatabase } from './services.ts';

export const ADMIN_KEY = 'an-admin-key-for-tests-only';
/** The present of the tests. */
export const NOW_MS = Date.parse('2026-11-21T05:30:00Z');

export interface EventsApp {
  readonly app: App;
  readonly db: Db;
  readonly clock: ManualClock;
  readonly apiKeys: ApiKeys;
  readonly rejected: RejectedEvents;
  readonly log: { fields: object; phrase: string }[];
}

export interface EventsAppOptions {
  readonly eventsPerRequestMax?: number;
  readonly eventsPerSecondMax?: number;
  readonly bodyBytesMax?: number;
  readonly queueBytesMax?: number;
  readonly requestTimeoutMs?: number;
  readonly readRequestMsMax?: number;
  readonly metricsBearer?: string;
  readonly metered?: ReadonlySet<string>;
  readonly health?: AppDeps['health'];
  readonly gauges?: AppDeps['gauges'];
  readonly routes?: AppDeps['routes'];
}

/** Calls `use` with an app; what it opened is closed afterwards. */
export function withEventsApp<T>(options: EventsAppOptions, use: (lent: EventsApp) => Promise<T>): Promise<T> {
  return withDatabase(async (db) => {
    await ensureIndexes(db);
    const clock = new ManualClock(NOW_MS);
    const usageLog = new UsageLog({
      events: new UsageEvents(db),
      dirtyHours: new DirtyHours(db),
      clock,
      queueBytesMax: options.queueBytesMax ?? 64 * 1024 * 1024,
      onCloseFailed: (error) => {
        throw error;
      },
    });
    const parts = { apiKeys: new ApiKeys(db), rejected: new RejectedEvents(db), clock };
    const log: EventsApp['log'] = [];
    const app = await buildApp(wire(parts, { usageLog, log, options }));
    try {
      return await use({ app, db, log, ...parts });
    } finally {
      await app.close();
      await usageLog.drain();
    }
  });
}

interface Wiring {
  readonly usageLog: UsageLog;
  readonly log: EventsApp['log'];
  readonly options: EventsAppOptions;
}

function wire(
  parts: { apiKeys: ApiKeys; rejected: RejectedEvents; clock: Clock },
  { usageLog, log, options }: Wiring,
): AppDeps {
  const { apiKeys, rejected, clock } = parts;
  const metrics = new Metrics();
  const say = (fields: object, phrase: string): void => {
    log.push({ fields, phrase });
  };
  const append = (events: readonly UsageEvent[], bytes: number) =>
    usageLog.append(
      events.map((event) => toUsageEventDocument(event, clock.now())),
      bytes,
    );
  const ingestDeps = {
    append,
    findStored: (events: readonly UsageEvent[]) => usageLog.findStored(events),
    keepRejected: (refused: Parameters<RejectedEvents['keep']>[0], at: Date) => rejected.keep(refused, at),
    unmeteredTypes: (types: ReadonlySet<string>) =>
      Promise.resolve([...types].filter((type) => options.metered?.has(type) === false)),
    unmappedCustomers: () => Promise.resolve([]),
    mappedElsewhere: async () => new Map(),
    observeDelay: (delayMs: number) => metrics.observeDelay(delayMs),
    clock,
  };
  const bodyBytesMax = options.bodyBytesMax ?? 1024 * 1024;
  return {
    log: { info: say, warn: say, error: say },
    auth: { findApiKey: (id) => apiKeys.find(id), adminApiKey: ADMIN_KEY, clock },
    health: options.health ?? { isDraining: () => false, checks: [] },
    metrics,
    gauges: options.gauges ?? [],
    bodyBytesMax,
    requestTimeoutMs: options.requestTimeoutMs ?? 30_000,
    ...(options.readRequestMsMax !== undefined && { readRequestMsMax: options.readRequestMsMax }),
    metricsBearer: options.metricsBearer,
    version: '0.0.0',
    routes: options.routes ?? [
      (app) =>
        registerEvents(app, {
          ingest: (input) => ingestUsageEvents(ingestDeps, input),
          observe: (result, elapsedMs) => metrics.observeIngest(result, elapsedMs),
          eventAgeDaysMax: 34,
          eventsPerRequestMax: options.eventsPerRequestMax ?? 1_000,
          eventsPerSecondMax: options.eventsPerSecondMax ?? 100_000,
          bodyBytesMax,
          clock,
        }),
      (app) =>
        registerRejectedEvents(app, {
          rejected,
          replay: (input) => replayRejectedEvent({ rejected, append, findStored: ingestDeps.findStored, clock }, input),
          eventAgeDaysMax: 34,
        }),
    ],
  };
}
