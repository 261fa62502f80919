import { crashAtEveryBoundary } from './crash-points.ts';
import { submitThroughFaults } from './faulty-stripe.ts';
import { freezeBetweenWrites } from './frozen-process.ts';
import { InProcessTarget } from './in-process-target.ts';
import { killUnderLoad } from './kill-daemon.ts';
import { losePrimary } from './lose-primary.ts';
import { loseRedis } from './lose-redis.ts';
import { outlive, refusalOf, silenceOf } from './outlive-trouble.ts';
import { overlapRuns } from './overlapping-runs.ts';
import { withSilentProxy } from './silent-proxy.ts';
import { SkippingClock } from './skipping-clock.ts';
import { type Services, withDaemon, withParts, withServices } from './stack.ts';
import { openRedis, withRedisOnce } from '../../../src/platform/redis/connection.ts';
import { openDatabase } from '../../../src/platform/mongo/database.ts';

export interface PartOptions {
  readonly seed: number;
  readonly isQuick: boolean;
  readonly say: (line: string) => void;
}

export interface TorturePart {
  readonly title: string;
  /** Returns every violation, with what differed. */
  run(options: PartOptions): Promise<string[]>;
}

const FAULT_SEEDS = 5;

/** The parts by their letters. */
export const PARTS: Readonly<Record<string, TorturePart>> = {
  a: {
    title: 'the daemon is killed (-9) under load, clients send again',
    run: ({ seed, isQuick, say }) =>
      withServices(1, (services) =>
        withDaemon(services, { name: 'a', seed, customers: 4, hours: 24 }, (population) =>
          killUnderLoad(population, { kills: isQuick ? 5 : 20, say }),
        ),
      ),
  },
  b: {
    title: 'a process ends at each boundary between side effects',
    run: ({ seed, isQuick, say }) =>
      withServices(1, (services) => {
        const size = { seed, customers: 2, hours: isQuick ? 4 : 12 };
        const onDeath = (): Promise<void> => flushRedis(services);
        // Without the ticker: its sweep would come to some boundaries before they are armed.
        return withDaemon(services, { name: 'b', ...size, roles: 'http,worker', onDeath }, async (population) => {
          const faults = await crashAtEveryBoundary(population, { batchSize: isQuick ? 4 : 10, say });
          return [...population.target.violations, ...faults];
        });
      }),
  },
  c: {
    title: 'Redis is emptied, killed and absent',
    run: ({ seed, isQuick, say }) =>
      withServices(1, (services) =>
        withDaemon(services, { name: 'c', seed, customers: 4, hours: 24 }, (population) => {
          const flush = (): Promise<void> => flushRedis(services);
          return loseRedis(population, { redis: services.redis, flush, awayMs: isQuick ? 4_000 : 10_000, say });
        }),
      ),
  },
  d: {
    title: 'Stripe fails three calls in ten, in every way',
    run: async ({ seed, isQuick, say }) => {
      const faults: string[] = [];
      await withServices(1, async ({ mongo }) => {
        for (let round = 0; round < FAULT_SEEDS; round += 1) {
          const place = { mongodbUri: mongo.uri, databaseName: `torture_d_${round}` };
          const size = { seed: seed + round, customers: 20, hours: 200 };
          const found = await withParts(place, size, (population) =>
            submitThroughFaults(population, { submissions: isQuick ? 400 : 2_000, say }),
          );
          faults.push(...found.map((fault) => `seed ${seed + round}: ${fault}`));
        }
      });
      return faults;
    },
  },
  e: {
    title: 'the primary of three nodes is killed under load; both secondaries are away',
    run: ({ seed, isQuick, say }) =>
      withServices(3, (services) =>
        withDaemon(services, { name: 'e', seed, customers: 4, hours: 24 }, (population) => {
          const { mongo } = services;
          return losePrimary(population, { mongo, kills: isQuick ? 1 : 3, lonelyMs: isQuick ? 12_000 : 30_000, say });
        }),
      ),
  },
  f: {
    title: 'two aggregation runs overlap; a process is frozen for longer than any limit',
    run: ({ seed, isQuick, say }) =>
      withServices(1, async (services) => {
        const place = { mongodbUri: services.mongo.uri, databaseName: 'torture_f' };
        const overlap = await withParts(place, { seed, customers: 2, hours: 3 }, (population) =>
          overlapRuns(population, { rounds: isQuick ? 3 : 10, holdMs: 400, say }),
        );
        const frozen = await withDaemon(services, { name: 'f_frozen', seed, customers: 3, hours: 12 }, (population) => {
          const giveUp = (): Promise<void> => aggregateElsewhere(services, 'torture_f_frozen');
          return freezeBetweenWrites(population, { giveUp, say });
        });
        return [...overlap, ...frozen];
      }),
  },
  g: {
    title: 'Redis falls silent on its connections',
    run: ({ seed, isQuick, say }) =>
      withServices(1, (services) =>
        withSilentProxy(services.redis, (proxy) => {
          const reaches = { REDIS_URL: `redis://127.0.0.1:${proxy.port}` };
          return withDaemon(services, { name: 'g', seed, customers: 4, hours: 24, reaches }, (population) =>
            outlive(population, silenceOf(proxy, 'redis'), { lastsMs: isQuick ? 10_000 : 60_000, say }),
          );
        }),
      ),
  },
  h: {
    title: 'MongoDB falls silent on its connections',
    run: ({ seed, isQuick, say }) =>
      withServices(1, (services) =>
        withSilentProxy({ port: services.mongo.nodes[0]?.port ?? 0 }, (proxy) => {
          const reaches = { MONGODB_URI: `mongodb://127.0.0.1:${proxy.port}/?directConnection=true` };
          return withDaemon(services, { name: 'h', seed, customers: 4, hours: 24, reaches }, (population) =>
            outlive(population, silenceOf(proxy, 'mongodb'), { lastsMs: isQuick ? 10_000 : 60_000, say }),
          );
        }),
      ),
  },
  i: {
    title: 'Redis is full',
    run: (options) => refuseWrites('OOM', options),
  },
  j: {
    title: 'Redis is read-only',
    run: (options) => refuseWrites('READONLY', options),
  },
};

/** How Redis comes to refuse, and to take writes again. */
const REFUSALS = {
  OOM: [
    ['config', 'SET', 'maxmemory', '1'],
    ['config', 'SET', 'maxmemory', '0'],
  ],
  READONLY: [
    ['replicaof', '127.0.0.1', '1'],
    ['replicaof', 'NO', 'ONE'],
  ],
} as const;

function refuseWrites(code: 'OOM' | 'READONLY', { seed, isQuick, say }: PartOptions): Promise<string[]> {
  const [begin, end] = REFUSALS[code];
  return withServices(1, (services) => {
    const name = code.toLowerCase();
    return withDaemon(services, { name, seed, customers: 4, hours: 24 }, (population) => {
      const order = ([command, ...args]: readonly [string, ...string[]]): Promise<unknown> =>
        withRedisOnce(services.redis.url, (redis) => redis.call(command, ...args));
      const trouble = refusalOf(code, { begin: () => order(begin), end: () => order(end) });
      return outlive(population, trouble, { lastsMs: isQuick ? 10_000 : 60_000, say });
    });
  });
}

/** Redis is only the bell: without its queue nothing waits for the locks of a dead worker. */
async function flushRedis({ redis }: Services): Promise<void> {
  const connection = openRedis(redis.url, () => {});
  try {
    await new Promise((resolve) => {
      connection.once('ready', resolve);
    });
    await connection.flushall();
  } finally {
    connection.disconnect();
  }
}

/** An aggregation run in another process than the daemon's: this one. */
async function aggregateElsewhere({ mongo }: Services, name: string): Promise<void> {
  const database = openDatabase({ uri: mongo.uri, name });
  try {
    const clock = new SkippingClock(Date.now());
    const simulatorUrl = 'http://127.0.0.1:1';
    await new InProcessTarget({ database, mongodbUri: mongo.uri, simulatorUrl, clock }).run('aggregate-usage');
  } finally {
    await database.close();
  }
}
