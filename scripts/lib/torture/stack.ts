import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DAY_MS, HOUR_MS } from '../../../src/platform/durations.ts';
import { type EmbeddedMongo, startEmbeddedMongo } from '../../../packages/dev-services/src/mongo.ts';
import { readEmbeddedEnvironment } from '../../../packages/dev-services/src/environment.ts';
import { findFreePorts } from '../../../packages/dev-services/src/ports.ts';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../../packages/dev-services/src/redis.ts';
import { resolveMongod } from '../../../packages/dev-services/src/resolve-mongod.ts';
import { resolveRedis } from '../../../packages/dev-services/src/resolve-redis.ts';
import { startSimulator } from '../../../packages/stripe-double/src/simulator.ts';
import { openDatabase } from '../../../src/platform/mongo/database.ts';
import { ensureIndexes } from '../../../src/daemon/indexes-store.ts';
import { DaemonProcess } from './daemon-process.ts';
import { DaemonTarget } from './daemon-target.ts';
import { InProcessTarget } from './in-process-target.ts';
import { TORTURE_SETTINGS } from './job-parts.ts';
import { SkippingClock } from './skipping-clock.ts';
import { letTimePass, METERS, populate, type Population } from './target.ts';
import { UsageMill } from './usage-mill.ts';

const LOG_FOLDER = join('.tallystick', 'torture');
/** When parts run inside this process, on a clock of their own. */
const IN_PROCESS_START_MS = Date.parse('2026-06-15T12:00:00Z');

export interface Services {
  readonly mongo: EmbeddedMongo;
  readonly redis: EmbeddedRedis;
}

/** How much usage a part makes. */
export interface Size {
  readonly seed: number;
  readonly customers: number;
  readonly hours: number;
}

/** Lends MongoDB and Redis of their own. */
export async function withServices<T>(nodeCount: 1 | 3, use: (services: Services) => Promise<T>): Promise<T> {
  const environment = readEmbeddedEnvironment();
  const quietly = (): void => {};
  const mongo = await startEmbeddedMongo({ program: await resolveMongod(environment, quietly), nodeCount });
  try {
    const redis = await startEmbeddedRedis({ program: await resolveRedis(environment, quietly) });
    try {
      return await use({ mongo, redis });
    } finally {
      await redis.stop();
    }
  } finally {
    await mongo.stop();
  }
}

export interface DaemonPopulation extends Population {
  readonly target: DaemonTarget;
  /** The daemon's. */
  readonly settings: Readonly<Record<string, string>>;
}

/** Lends the daemon's process with meters and customers, on a database of its own and the machine's clock. */
export async function withDaemon<T>(
  services: Services,
  part: Size & {
    name: string;
    roles?: string;
    onDeath?: () => Promise<void>;
    /** Where the daemon reaches a store, when it is not where the store is. */
    reaches?: { MONGODB_URI?: string; REDIS_URL?: string };
  },
  use: (population: DaemonPopulation) => Promise<T>,
): Promise<T> {
  const database = openDatabase({ uri: services.mongo.uri, name: `torture_${part.name}` });
  const simulator = await startSimulator({ rateLimitPerSecond: 0, seed: part.seed });
  const [port] = await findFreePorts(1);
  const apiKey = `tly_${randomBytes(32).toString('base64url')}`;
  mkdirSync(LOG_FOLDER, { recursive: true });
  const settings = {
    ...TORTURE_SETTINGS,
    MONGODB_URI: services.mongo.uri,
    MONGODB_DATABASE: `torture_${part.name}`,
    REDIS_URL: services.redis.url,
    STRIPE_API_BASE: simulator.url,
    ADMIN_API_KEY: apiKey,
    HOST: '127.0.0.1',
    PORT: String(port),
    LOG_LEVEL: 'warn',
    ...(part.roles !== undefined && { ROLES: part.roles }),
    ...part.reaches,
  };
  const daemon = new DaemonProcess({
    logFile: join(LOG_FOLDER, `${part.name}.log`),
    onDeath: async () => {
      await letTimePass(database.db);
      await part.onDeath?.();
    },
    settings,
  });
  try {
    await daemon.start();
    const target = new DaemonTarget({ db: database.db, simulatorUrl: simulator.url, daemon, apiKey });
    const toMs = Math.floor(Date.now() / HOUR_MS) * HOUR_MS - 2 * HOUR_MS;
    const population = { ...populationOf(target, part, toMs), settings };
    await populate(population);
    return await use(population);
  } finally {
    await daemon.stop();
    await database.close();
    await simulator.stop();
  }
}

export interface InProcessPopulation extends Population {
  readonly target: InProcessTarget;
  readonly clock: SkippingClock;
  readonly simulator: Awaited<ReturnType<typeof startSimulator>>;
}

/** Lends the daemon's parts inside this process, on a given database and a clock on which waiting takes no time. */
export async function withParts<T>(
  place: { mongodbUri: string; databaseName: string },
  part: Size,
  use: (population: InProcessPopulation) => Promise<T>,
): Promise<T> {
  const clock = new SkippingClock(IN_PROCESS_START_MS);
  const simulator = await startSimulator({ clock, rateLimitPerSecond: 0, seed: part.seed });
  const { mongodbUri } = place;
  const database = openDatabase({ uri: mongodbUri, name: place.databaseName });
  try {
    await ensureIndexes(database.db);
    const target = new InProcessTarget({ database, mongodbUri, simulatorUrl: simulator.url, clock });
    const population = { ...populationOf(target, part, IN_PROCESS_START_MS), target, clock, simulator };
    await populate(population);
    return await use(population);
  } finally {
    await database.close();
    await simulator.stop();
  }
}

function populationOf<T extends Population['target']>(
  target: T,
  size: Size,
  toMs: number,
): Population & { readonly target: T } {
  const customers = Array.from({ length: size.customers }, (_, index) => `customer-${index}`);
  const fromMs = toMs - size.hours * HOUR_MS;
  const anchorMs = Math.floor(fromMs / DAY_MS) * DAY_MS;
  return {
    target,
    mill: new UsageMill(size.seed, customers, { fromMs, toMs }),
    meters: [...METERS],
    customers,
    anchorMs,
  };
}
