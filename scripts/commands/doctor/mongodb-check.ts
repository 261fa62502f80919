import { randomUUID } from 'node:crypto';
import { systemClock } from '../../../src/platform/clock.ts';
import type { ReviewArea } from '../../../src/daemon/needs-review.ts';
import { createLogger } from '../../../src/platform/logger.ts';
import { readDeployment } from '../../../src/platform/mongo/deployment.ts';
import { Heartbeats } from '../../../src/platform/mongo/heartbeats.ts';
import { listIndexFaults } from '../../../src/daemon/indexes-store.ts';
import { readNeedsReview } from '../../../src/daemon/read-needs-review.ts';
import { openStores } from '../../../src/daemon/stores.ts';
import { EXIT } from '../../lib/exit-codes.ts';
import { type Check, type CheckContext, type Problem, skewProblem } from './check.ts';
import { withDatabase } from './with-database.ts';

/** MongoDB answers, is a replica set whose majority acknowledges writes, and its clock is ours. */
export async function checkMongodb({ config }: CheckContext): Promise<Problem[]> {
  return withDatabase(config, async ({ db }) => {
    const beforeMs = Date.now();
    const { replicaSet, isSharded, serverTimeMs } = await readDeployment(db);
    const afterMs = Date.now();
    const problems: Problem[] = [];
    if (replicaSet === undefined && !isSharded) {
      problems.push({
        what: 'it is a standalone server and no replica set: nothing it acknowledges is safe',
        todo: 'start mongod with --replSet and run rs.initiate() once; one member is enough',
        exitCode: EXIT.failure,
      });
    }
    const read = { theirMs: serverTimeMs, beforeMs, afterMs, resolutionMs: 0 };
    const skew = skewProblem("MongoDB's", read);
    await new Heartbeats(db).proveMajority();
    if (skew !== undefined) problems.push({ what: skew, todo: 'synchronise both by NTP', exitCode: EXIT.failure });
    return problems;
  });
}

/** Every index is there, and is what it should be. */
export async function checkIndexes({ config }: CheckContext): Promise<Problem[]> {
  return withDatabase(config, async ({ db }) =>
    (await listIndexFaults(db)).map(({ index, detail }) => ({
      what: `the index ${index} ${detail}`,
      todo: 'start the daemon once: it makes what is missing or different',
      exitCode: EXIT.failure,
    })),
  );
}

/** What waits for a human, in the areas asked for, as `tallystick status` lists it. */
export function checkReview(areas: readonly ReviewArea[]): Check {
  return ({ config }) =>
    withDatabase(config, async (database) => {
      const log = createLogger({ level: 'silent' });
      const stores = openStores(database, { ...config, holder: randomUUID(), clock: systemClock, log });
      const items = await readNeedsReview({ stores, config, nowMs: systemClock.now() });
      return items
        .filter(({ area }) => areas.includes(area))
        .map(({ area, what, todo }) => ({ check: area, what, todo, exitCode: EXIT.failure }));
    });
}
