import type { Database } from '../../src/platform/mongo/database.ts';

/**
 * Lends the ledger that the environment names, to a verb that works on it without the daemon. What opens it is loaded
 * only then: no other verb waits for it.
 */
export async function withLedger<T>(work: (db: Database['db']) => Promise<T>): Promise<T> {
  const { loadConfig } = await import('../../src/config.ts');
  const { openDatabase } = await import('../../src/platform/mongo/database.ts');
  const { requireLedger } = await import('../../src/platform/mongo/deployment.ts');
  const config = loadConfig();
  const database = openDatabase({ uri: config.mongodbUri, name: config.mongodbDatabase });
  try {
    await requireLedger(database.db);
    return await work(database.db);
  } finally {
    await database.close();
  }
}
