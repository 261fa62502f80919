import { readEmbeddedEnvironment } from '../../../packages/dev-services/src/environment.ts';
import { startEmbeddedMongo } from '../../../packages/dev-services/src/mongo.ts';
import { resolveMongod } from '../../../packages/dev-services/src/resolve-mongod.ts';
import { openDatabase } from '../../../src/platform/mongo/database.ts';
import { ensureIndexes } from '../../../src/daemon/indexes-store.ts';
import type { RoleWork } from '../child.ts';
import { simulateSeed } from './simulate-seed.ts';

/** A process that lives one seed after the other, with a MongoDB of its own. */
export async function liveSeeds(): Promise<RoleWork> {
  const program = await resolveMongod(readEmbeddedEnvironment(), () => {});
  const mongo = await startEmbeddedMongo({ program });
  const database = openDatabase({ uri: mongo.uri, name: 'simulate' });
  await ensureIndexes(database.db);
  return {
    ready: true,
    answer: (question) => simulateSeed({ database, mongodbUri: mongo.uri }, question as { seed: number; days: number }),
    async stop() {
      await database.close();
      await mongo.stop();
    },
  };
}
