/**
 * One MongoDB replica set and one Redis for the whole run. Each test takes a database and a key prefix of its own from
 * them (services.ts); what a test leaves behind fails the run at its end.
 */
import { randomBytes } from 'node:crypto';
import { MongoClient } from 'mongodb';
import type { TestProject } from 'vitest/node';
import { startEmbeddedServices, type EmbeddedServices } from '../../packages/dev-services/src/services.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    mongodbUri: string;
    redisUrl: string;
    /** Begins the name of every database and Redis key of this run. */
    runPrefix: string;
  }
}

/**
 * Many small databases: a light cache, and dropped ones are removed after seconds. By default mongod keeps their files for
 * five minutes, all of them open: more than a process may have open.
 */
const MONGOD_ARGS = ['--wiredTigerCacheSizeGB', '0.5', '--setParameter', 'minSnapshotHistoryWindowInSeconds=10'];

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const services = await startServices();
  const runPrefix = `tallytest_${randomBytes(4).toString('hex')}_`;
  project.provide('mongodbUri', services.mongodbUri);
  project.provide('redisUrl', services.redisUrl);
  project.provide('runPrefix', runPrefix);
  return async () => {
    try {
      await assertNothingLeft(services.mongodbUri, runPrefix);
    } catch (err) {
      // The runner only prints what a teardown throws.
      process.exitCode = 1;
      throw err;
    } finally {
      await services.stop();
    }
  };
}

/** A missing service stops the run with one line, not a stack. */
async function startServices(): Promise<EmbeddedServices> {
  const lines: string[] = [];
  try {
    return await startEmbeddedServices({ say: (line) => lines.push(line), mongodArgs: MONGOD_ARGS });
  } catch (err) {
    const failure = new Error(`the tests need MongoDB and Redis: ${err instanceof Error ? err.message : String(err)}`);
    delete failure.stack;
    throw failure;
  }
}

async function assertNothingLeft(mongodbUri: string, runPrefix: string): Promise<void> {
  const client = await MongoClient.connect(mongodbUri, { serverSelectionTimeoutMS: 5_000 });
  try {
    const { databases } = await client.db().admin().listDatabases({ nameOnly: true });
    const left = databases.map(({ name }) => name).filter((name) => name.startsWith(runPrefix));
    if (left.length > 0) throw new Error(`tests left databases behind: ${left.join(', ')}`);
  } finally {
    await client.close();
  }
}
