import type { Config } from '../../../src/config.ts';
import { type Database, openDatabase } from '../../../src/platform/mongo/database.ts';

/** Lends the database of the settings, whatever it is: that it is no replica set is for a check to tell. */
export async function withDatabase<T>(config: Config, work: (database: Database) => Promise<T>): Promise<T> {
  const database = openDatabase({ uri: config.mongodbUri, name: config.mongodbDatabase });
  try {
    return await work(database);
  } finally {
    await database.close();
  }
}
