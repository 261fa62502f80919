/** MongoDB and Redis for the demo and the tests: those the environment names, or our own. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ServicesError } from './errors.ts';
import { readEmbeddedEnvironment, type EmbeddedEnvironment } from './environment.ts';
import type { Say } from './first-step.ts';
import { isDataInUse, startEmbeddedMongo } from './mongo.ts';
import { startEmbeddedRedis } from './redis.ts';
import { resolveMongod } from './resolve-mongod.ts';
import { resolveRedis } from './resolve-redis.ts';

export interface EmbeddedServicesOptions {
  /** Where both keep their data over restarts. Absent: nothing outlives `stop`. */
  readonly dataDir?: string;
  /** Receives one line for each thing that was chosen, skipped or started. */
  readonly say: Say;
  /** More command line arguments for mongod. */
  readonly mongodArgs?: readonly string[];
  /** Default: read from the process. */
  readonly environment?: EmbeddedEnvironment;
}

export interface EmbeddedServices {
  readonly mongodbUri: string;
  readonly redisUrl: string;
  /** Ends what was started here, last first. @throws ServicesError `embedded_stop_failed` with every failure. */
  stop(): Promise<void>;
}

const MONGODB_FOLDER = 'mongodb';
/** A server whose parent was killed ends within seconds. */
const IN_USE_MS_MAX = 15_000;
const IN_USE_POLL_MS = 250;

/** Removes a data folder with all that both services kept in it. @throws ServicesError `embedded_unavailable` while they run on it. */
export async function removeDataFolder(dataDir: string): Promise<void> {
  for (let waitedMs = 0; await isDataInUse(join(dataDir, MONGODB_FOLDER)); waitedMs += IN_USE_POLL_MS) {
    if (waitedMs >= IN_USE_MS_MAX) throw inUse(dataDir);
    await delay(IN_USE_POLL_MS);
  }
  await rm(dataDir, { recursive: true, force: true });
}

function inUse(dataDir: string): ServicesError {
  return new ServicesError(
    'embedded_unavailable',
    `a MongoDB runs on the data in ${dataDir}: is another tallystick running on it?`,
  );
}

/** A running server: where it is and how to end it. */
interface Service {
  readonly url: string;
  stop(): Promise<void>;
}

/**
 * Both services, started where no address is given. When the second cannot be had, the first is ended again.
 * @throws ServicesError `embedded_unavailable`
 */
export async function startEmbeddedServices(options: EmbeddedServicesOptions): Promise<EmbeddedServices> {
  const environment = options.environment ?? readEmbeddedEnvironment();
  const mongo = await provideMongo(options, environment);
  let redis: Service;
  try {
    redis = await provideRedis(options, environment);
  } catch (err) {
    await mongo.stop();
    throw err;
  }
  return { mongodbUri: mongo.url, redisUrl: redis.url, stop: () => stopAll([redis, mongo]) };
}

async function provideMongo(options: EmbeddedServicesOptions, environment: EmbeddedEnvironment): Promise<Service> {
  const { say, dataDir, mongodArgs } = options;
  if (environment.mongodbUri !== undefined) {
    say('MongoDB: the one named in MONGODB_URI');
    return { url: environment.mongodbUri, stop: async () => {} };
  }
  const mongo = await startEmbeddedMongo({
    program: await resolveMongod(environment, say),
    ...(dataDir !== undefined && { dataDir: join(dataDir, MONGODB_FOLDER) }),
    ...(mongodArgs !== undefined && { args: mongodArgs }),
  });
  say(`MongoDB: started as a replica set on port ${mongo.nodes.map((node) => node.port).join(', ')}`);
  return { url: mongo.uri, stop: () => mongo.stop() };
}

async function provideRedis(options: EmbeddedServicesOptions, environment: EmbeddedEnvironment): Promise<Service> {
  const { say, dataDir } = options;
  if (environment.redisUrl !== undefined) {
    say('Redis: the one named in REDIS_URL');
    return { url: environment.redisUrl, stop: async () => {} };
  }
  const redis = await startEmbeddedRedis({
    program: await resolveRedis(environment, say),
    ...(dataDir !== undefined && { dataDir: join(dataDir, 'redis') }),
  });
  say(`Redis: started on port ${redis.port}`);
  return { url: redis.url, stop: () => redis.stop() };
}

async function stopAll(services: readonly Service[]): Promise<void> {
  const failures: unknown[] = [];
  for (const service of services) {
    try {
      await service.stop();
    } catch (err) {
      failures.push(err);
    }
  }
  if (failures.length === 0) return;
  throw new ServicesError('embedded_stop_failed', 'not every embedded service stopped', new AggregateError(failures));
}
