/**
 * Lends a test a real database and a real Redis, and takes them back however the test ends. A test file that imports
 * this shares one connection to each among its tests.
 */
import { Redis } from 'ioredis';
import { MongoClient, type Db } from 'mongodb';
import { afterAll, inject } from 'vitest';

/** What `withRedis` lends. */
export interface LentRedis {
  readonly redis: Redis;
  readonly url: string;
  /** Begins every key of this test; ends in a character that needs no escape. Deleted with all its keys afterwards. */
  readonly prefix: string;
}

const SELECTION_MS_MAX = 10_000;
const SCAN_COUNT = 500;

let client: MongoClient | undefined;
let redis: Redis | undefined;
let lentCount = 0;

afterAll(async () => {
  await client?.close();
  redis?.disconnect();
  client = undefined;
  redis = undefined;
});

/** The address of the run's MongoDB replica set, for code that opens its own connection. */
export function mongodbUri(): string {
  return inject('mongodbUri');
}

/** The address of the run's Redis, for code that opens its own connection. */
export function redisUrl(): string {
  return inject('redisUrl');
}

/** Calls `use` with an empty database of its own (majority reads and writes), dropped afterwards. */
export async function withDatabase<T>(use: (db: Db, client: MongoClient) => Promise<T>): Promise<T> {
  client ??= await MongoClient.connect(mongodbUri(), {
    serverSelectionTimeoutMS: SELECTION_MS_MAX,
    readConcern: { level: 'majority' },
    writeConcern: { w: 'majority', journal: true },
  });
  const db = client.db(uniqueName());
  try {
    return await use(db, client);
  } finally {
    await db.dropDatabase();
  }
}

/** Calls `use` with a connection and a key prefix of its own, whose keys are deleted afterwards. */
export async function withRedis<T>(use: (lent: LentRedis) => Promise<T>): Promise<T> {
  redis ??= new Redis(redisUrl(), { maxRetriesPerRequest: 1 });
  const prefix = uniqueName();
  try {
    return await use({ redis, url: redisUrl(), prefix });
  } finally {
    await deleteKeys(redis, prefix);
  }
}

async function deleteKeys(connection: Redis, prefix: string): Promise<void> {
  let cursor = '0';
  do {
    const [next, keys] = await connection.scan(cursor, 'MATCH', `${prefix}*`, 'COUNT', SCAN_COUNT);
    if (keys.length > 0) await connection.del(...keys);
    cursor = next;
  } while (cursor !== '0');
}

/** Unique over the parallel workers of this run and over runs on the same server. */
function uniqueName(): string {
  lentCount += 1;
  return `${inject('runPrefix')}${process.pid}_${lentCount}`;
}
