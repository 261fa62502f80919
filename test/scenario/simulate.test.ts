/** A few seeds of `scripts/simulate`: whole weeks of usage on a virtual clock, with everything that goes wrong. */
import { describe, expect, it } from 'vitest';
import { simulateSeed } from '../../scripts/lib/simulate/simulate-seed.ts';
import { openDatabase } from '../../src/storage/database.ts';
import { ensureIndexes } from '../../src/storage/indexes.ts';
import { mongodbUri, withDatabase } from '../support/services.ts';

describe('a week of late events, corrections, crashes, lost answers, rejections and lagging summaries', () => {
  it.each([2, 6, 7])('ends with equal halves (seed %i)', { timeout: 180_000 }, (seed) =>
    withDatabase(async (db) => {
      const database = openDatabase({ uri: mongodbUri(), name: db.databaseName });
      try {
        await ensureIndexes(database.db);
        const result = await simulateSeed({ database, mongodbUri: mongodbUri() }, { seed, days: 4 });
        expect(result.violations).toEqual([]);
        expect(result.events).toBeGreaterThan(20);
        expect(result.calls).toBeGreaterThan(20);
      } finally {
        await database.close();
      }
    }),
  );
});
