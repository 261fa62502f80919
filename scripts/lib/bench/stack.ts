/** Servers and processes of one part, ended with it. */
import { readEmbeddedEnvironment } from '../../../packages/dev-services/src/environment.ts';
import { startEmbeddedMongo } from '../../../packages/dev-services/src/mongo.ts';
import { startEmbeddedRedis } from '../../../packages/dev-services/src/redis.ts';
import { resolveMongod } from '../../../packages/dev-services/src/resolve-mongod.ts';
import { resolveRedis } from '../../../packages/dev-services/src/resolve-redis.ts';
import { type Database, openDatabase } from '../../../src/platform/mongo/database.ts';
import { ensureIndexes } from '../../../src/daemon/indexes-store.ts';
import { Child } from '../child.ts';
import type { LoadOrder, LoadResult } from './load.ts';
import { BENCH_KEY } from './simulator-role.ts';
import type { LoopDelay } from './watched-role.ts';

export interface Served {
  readonly url: string;
  readonly pid: number;
}

/** A daemon that tells how long its event loop stood since it was asked last. */
export interface Watched extends Served {
  readonly headers: Readonly<Record<string, string>>;
  delay(): Promise<LoopDelay>;
}

export interface Stack {
  /** A database with our collections and indexes. */
  open(name: string): Promise<Database>;
  /** The real daemon in its own process. */
  startDaemon(options: { database: string; roles: string }): Promise<Served>;
  /** The same, with what its event loop was held up by; over a database that nobody has opened yet. */
  startWatchedDaemon(database: string): Promise<Watched>;
  /** The bare HTTP form in its own process. */
  startBare(database: string): Promise<Served>;
  /** Stripe's double in its own process. */
  startSimulator(): Promise<Served & Pick<Child, 'ask'>>;
  /** The submitting job in its own process. */
  startSubmitter(env: Record<string, string>): Promise<Pick<Child, 'ask' | 'pid'>>;
  load(to: Served, order: Omit<LoadOrder, 'url' | 'headers'>): Promise<LoadResult>;
  readonly mongodPid: number;
}

const ADMIN_KEY = 'bench-0123456789-0123456789';

/** @param cacheGigabytes what mongod may hold of its data. */
export async function withStack<T>(cacheGigabytes: number, work: (stack: Stack) => Promise<T>): Promise<T> {
  const opened: (() => Promise<unknown>)[] = [];
  try {
    return await work(await openStack(cacheGigabytes, opened));
  } finally {
    for (const close of opened.toReversed()) await close();
  }
}

async function openStack(cacheGigabytes: number, opened: (() => Promise<unknown>)[]): Promise<Stack> {
  const environment = readEmbeddedEnvironment();
  const silent = (): void => {};
  const mongo = await startEmbeddedMongo({
    program: await resolveMongod(environment, silent),
    args: ['--wiredTigerCacheSizeGB', String(cacheGigabytes)],
  });
  opened.push(() => mongo.stop());
  const redis = await startEmbeddedRedis({ program: await resolveRedis(environment, silent) });
  opened.push(() => redis.stop());
  const start = async (role: string, env: Record<string, string>): Promise<Child> => {
    const child = await Child.start(role, { MONGODB_URI: mongo.uri, REDIS_URL: redis.url, ...env });
    opened.push(() => child.stop());
    return child;
  };
  const serve = async (role: string, env: Record<string, string>): Promise<Served> => {
    const child = await start(role, env);
    return { url: (child.ready as { url: string }).url, pid: child.pid };
  };
  const generator = await start('load', {});
  return {
    mongodPid: mongo.nodes[0]?.pid ?? 0,
    open: async (name) => {
      const database = openDatabase({ uri: mongo.uri, name });
      opened.push(() => database.close());
      await ensureIndexes(database.db);
      return database;
    },
    startDaemon: ({ database, roles }) =>
      serve('daemon', {
        MONGODB_DATABASE: database,
        ROLES: roles,
        ADMIN_API_KEY: ADMIN_KEY,
        PORT: '0',
        LOG_LEVEL: 'warn',
        EVENTS_PER_SECOND_MAX: '10000000',
      }),
    startWatchedDaemon: async (database) => {
      const env = {
        MONGODB_DATABASE: database,
        ROLES: 'http,worker',
        ADMIN_API_KEY: ADMIN_KEY,
        PORT: '0',
        LOG_LEVEL: 'error',
      };
      const child = await start('watched', env);
      const headers = { authorization: `Bearer ${ADMIN_KEY}`, 'content-type': 'application/json' };
      const { url } = child.ready as { url: string };
      return { url, pid: child.pid, headers, delay: () => child.ask<LoopDelay>({}) };
    },
    startSimulator: async () => {
      const child = await start('simulator', {});
      const { url } = child.ready as { url: string };
      return { url, pid: child.pid, ask: (question) => child.ask(question) };
    },
    startSubmitter: (env) =>
      start('submitter', { STRIPE_SECRET_KEY: BENCH_KEY, WINDOW_SETTLE_MS: '0', LOG_LEVEL: 'error', ...env }),
    startBare: (database) => serve('bare', { MONGODB_DATABASE: database }),
    load: (to, order) =>
      generator.ask<LoadResult>({
        ...order,
        url: to.url,
        headers: { authorization: `Bearer ${ADMIN_KEY}`, 'content-type': 'application/json' },
      }),
  };
}
