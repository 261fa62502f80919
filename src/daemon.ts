import { randomUUID } from 'node:crypto';
import { type Clock, systemClock } from './platform/clock.ts';
import type { Config } from './config.ts';
import { buildApp } from './platform/http/app.ts';
import { listenOn } from './platform/http/listen.ts';
import { Metrics } from './platform/http/metrics.ts';
import { createLogger, type Logger } from './platform/logger.ts';
import { JobQueue, queuePrefix } from './platform/queue/job-queue.ts';
import { openRedis } from './platform/redis/connection.ts';
import { RedisWatch } from './platform/redis/redis-watch.ts';
import { probeKey } from './platform/redis/write-probe.ts';
import { openDatabase } from './platform/mongo/database.ts';
import { installationId } from './platform/mongo/installation.ts';
import { within } from './platform/time-limit.ts';
import { packageVersion } from './platform/version.ts';
import { queuePlace, startTicker, startWorker } from './daemon/background.ts';
import { gaugesOf } from './daemon/gauges.ts';
import { healthChecks } from './daemon/health.ts';
import { jobHandlers } from './daemon/job-handlers.ts';
import type { JobParts } from './daemon/job-parts.ts';
import { ReceptionTally } from './daemon/reception-tally.ts';
import { routesOf } from './daemon/routes.ts';
import { prepareStores } from './daemon/start-checks.ts';
import { openStores } from './daemon/stores.ts';
import { openStripeSide } from './daemon/stripe-side.ts';

export interface Daemon {
  /** Where it listens; empty without the role `http`. */
  readonly url: string;
  /** Answers what was accepted, stops everything else, and releases it last-in-first-out. */
  stop(): Promise<void>;
}

type Release = { readonly name: string; readonly release: () => Promise<void> };

/** How long one resource may take to be released: nothing is lost with one that takes longer. */
const RELEASE_MS_MAX = 3_600;
/** How long all of them may take together. */
const STOP_MS_MAX = 4_600;
/** What the last of them have in any case. */
const RELEASE_MS_MIN = 100;

/**
 * Opens every resource in order, and gives them back in reverse, whatever fails.
 * @param clock another one than the machine's, where somebody tries out what a month brings.
 */
export async function startDaemon(config: Config, clock: Clock = systemClock): Promise<Daemon> {
  const log = createLogger({ level: config.logLevel });
  const releases: Release[] = [];
  try {
    const url = await start({ config, log, clock }, releases);
    log.info({ url, roles: config.roles, version: packageVersion() }, 'daemon started');
    return { url, stop: () => stop(log, releases) };
  } catch (error) {
    // What cannot be released is in the log; what kept the daemon from starting is what has to be told.
    await stop(log, releases).catch(() => {});
    throw error;
  }
}

async function start(
  { config, log, clock }: { config: Config; log: Logger; clock: Clock },
  releases: Release[],
): Promise<string> {
  const database = openDatabase({ uri: config.mongodbUri, name: config.mongodbDatabase });
  releases.push({ name: 'database', release: () => database.close() });
  await prepareStores(config, database, log);
  const installation = await installationId(database.db, new Date(clock.now()));
  const place = queuePlace(config);
  const redis = openRedis(config.redisUrl, (err) => log.debug({ err }, 'redis connection failed'));
  const watch = new RedisWatch({ redis, key: probeKey(queuePrefix(place)), clock, log });
  const stopWatching = watch.start();
  releases.push({
    name: 'redis',
    release: async () => {
      stopWatching();
      redis.disconnect();
    },
  });
  const queue = new JobQueue(place, { log, clock });
  releases.push({ name: 'queue', release: () => queue.close() });
  const stores = openStores(database, { ...config, holder: randomUUID(), clock, log });
  releases.push({ name: 'usage log', release: () => stores.usageLog.drain() });
  const stripe = openStripeSide(config, redis, clock);
  const parts: JobParts = { config, stores, stripe, installation, clock, log };
  const handlers = jobHandlers(parts);
  const roles: readonly string[] = config.roles;
  if (roles.includes('worker')) {
    const worker = startWorker(parts, { queue, watch }, handlers);
    releases.push({ name: 'worker', release: () => worker.stop() });
  }
  if (roles.includes('ticker')) {
    const ticker = startTicker(parts, queue, Object.keys(handlers));
    releases.push({ name: 'ticker', release: () => ticker.stop() });
  }
  return roles.includes('http') ? listen({ parts, queue, watch, jobNames: Object.keys(handlers) }, releases) : '';
}

async function listen(
  input: { parts: JobParts; queue: JobQueue; watch: RedisWatch; jobNames: readonly string[] },
  releases: Release[],
): Promise<string> {
  const { parts, queue, watch, jobNames } = input;
  const { config, stores, clock, log } = parts;
  let isDraining = false;
  const metrics = new Metrics();
  const tally = new ReceptionTally({ receptions: stores.webhookReceptions, clock, log });
  releases.push({ name: 'webhook counts', release: () => tally.stop() });
  const app = await buildApp({
    ...config,
    log,
    version: packageVersion(),
    metrics,
    gauges: gaugesOf(parts, queue, jobNames),
    auth: { findApiKey: (id) => stores.apiKeys.find(id), adminApiKey: config.adminApiKey, clock },
    health: { isDraining: () => isDraining, checks: healthChecks(parts, watch) },
    routes: routesOf({ jobs: parts, jobNames, queue, metrics, tally }),
  });
  releases.push({
    name: 'http',
    release: async () => {
      isDraining = true;
      await app.close();
    },
  });
  return listenOn(app, config);
}

/**
 * Releases everything, each within its time and also past a failure, and then tells of all failures at once. What was
 * not released in time ends with the process: every process may end at any point, and loses nothing by it.
 */
async function stop(log: Logger, releases: Release[]): Promise<void> {
  const failures: unknown[] = [];
  const untilMs = performance.now() + STOP_MS_MAX;
  for (let next = releases.pop(); next !== undefined; next = releases.pop()) {
    const limitMs = Math.max(Math.min(RELEASE_MS_MAX, untilMs - performance.now()), RELEASE_MS_MIN);
    try {
      const isReleased = await within(
        limitMs,
        next.release().then(() => true),
        () => false,
      );
      if (!isReleased) log.warn({ resource: next.name, limitMs }, 'a resource was not released in time');
    } catch (err) {
      log.warn({ err, resource: next.name }, 'could not release a resource');
      failures.push(err);
    }
  }
  if (failures.length > 0) throw new AggregateError(failures, 'not everything could be released');
  log.info({}, 'daemon stopped');
}
