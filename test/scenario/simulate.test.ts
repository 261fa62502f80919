/** A few seeds of `scripts/simulate`: whole weeks of usage on a virtual clock, with everything that goes wrong. */
import { describe, expect, it } from 'vitest';
import { simulateSeed } from '../../scripts/lib/simulate/simulate-seed.ts';
import { openDatabase } from '../../src/platform/mongo/database.ts';
import { ensureIndexes } from '../../src/daemon/indexes-store.ts';
import { mongodbUri, withDatabase } from '../support/services.ts';

const DAYS = 4;

describe('days of late events, moved subscriptions, final invoices, crashes, lost answers and lagging summaries', () => {
  it.each([3, 7])('end with equal halves, and with invoices that bill them (seed %i)', { timeout: 240_000 }, (seed) =>
    withDatabase(async (db) => {
      const database = openDatabase({ uri: mongodbUri(), name: db.databaseName });
      try {
        await ensureIndexes(database.db);
        const result = await simulateSeed({ database, mongodbUri: mongodbUri() }, { seed, days: DAYS });
        const { violations, diary: _, ...tally } = result;
        expect(violations, `to replay: scripts/simulate --seed ${seed} --seeds 1 --days ${DAYS}`).toEqual([]);
        expect(tally.events).toBeGreaterThan(20);
        expect(tally.calls).toBeGreaterThan(20);
        expect(tally.invoices).toBeGreaterThan(0);
        expect(tally.late).toBeGreaterThan(0);
      } finally {
        await database.close();
      }
    }),
  );
});
