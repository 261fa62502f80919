/** A bounded torture: the parts of scripts/torture that need no process of their own, at a smaller size. */
import { afterEach, describe, expect, it } from 'vitest';
import { crashAtEveryBoundary } from '../../scripts/lib/torture/crash-points.ts';
import { InProcessTarget } from '../../scripts/lib/torture/in-process-target.ts';
import { SkippingClock } from '../../scripts/lib/torture/skipping-clock.ts';
import { METERS, populate, type Population } from '../../scripts/lib/torture/target.ts';
import { UsageMill } from '../../scripts/lib/torture/usage-mill.ts';
import { onBoundary } from '../../src/boundary.ts';
import { startSimulator } from '../../src/simulator/simulator.ts';
import { openDatabase } from '../../src/storage/database.ts';
import { ensureIndexes } from '../../src/storage/indexes.ts';
import { mongodbUri, withDatabase } from '../support/services.ts';

const START_MS = Date.parse('2026-06-15T12:00:00Z');
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

afterEach(() => onBoundary(undefined));

async function withPopulation(seed: number, use: (population: Population) => Promise<void>): Promise<void> {
  await withDatabase(async (db) => {
    const clock = new SkippingClock(START_MS);
    const simulator = await startSimulator({ clock, rateLimitPerSecond: 0, seed });
    const database = openDatabase({ uri: mongodbUri(), name: db.databaseName });
    try {
      await ensureIndexes(database.db);
      const target = new InProcessTarget({
        database,
        mongodbUri: mongodbUri(),
        simulatorUrl: simulator.url,
        clock,
      });
      const customers = ['c0', 'c1'];
      const range = { fromMs: START_MS - DAY_MS, toMs: START_MS - DAY_MS + 6 * HOUR_MS };
      const population = {
        target,
        mill: new UsageMill(seed, customers, range),
        meters: [...METERS],
        customers,
        anchorMs: START_MS - 12 * HOUR_MS - 3 * DAY_MS,
      };
      await populate(population);
      await use(population);
    } finally {
      await database.close();
      await simulator.stop();
    }
  });
}

describe('a process that ends between two side effects', () => {
  it('is taken over with the same end at every boundary of the sources', { timeout: 120_000 }, () =>
    withPopulation(1, async (population) => {
      expect(await crashAtEveryBoundary(population, { batchSize: 4, say: console.log })).toEqual([]);
    }),
  );
});
