/** A bounded torture: the parts of scripts/torture that need no process of their own, at a smaller size. */
import { afterEach, describe, expect, it } from 'vitest';
import { crashAtEveryBoundary, listCrashPoints, lostAtStripe } from '../../scripts/lib/torture/crash-points.ts';
import { readBoundaryNames } from '../../scripts/lib/torture/boundaries.ts';
import { submitThroughFaults } from '../../scripts/lib/torture/faulty-stripe.ts';
import { overlapRuns } from '../../scripts/lib/torture/overlapping-runs.ts';
import { type InProcessPopulation, withParts } from '../../scripts/lib/torture/stack.ts';
import { settleAndCompare } from '../../scripts/lib/torture/target.ts';
import { onBoundary } from '../../src/platform/boundary.ts';
import { HOUR_MS } from '../../src/platform/durations.ts';
import { mongodbUri, withDatabase } from '../support/services.ts';

const FROZEN_MS = 25 * HOUR_MS;
const quietly = { say: (): void => {} };

afterEach(() => onBoundary(undefined));

function stageOf(boundary: string): string {
  return boundary.slice(0, boundary.indexOf('.'));
}

/** Lends a small population on a database of its own. */
function withPopulation(
  size: { seed: number; customers: number; hours: number },
  use: (population: InProcessPopulation) => Promise<void>,
): Promise<void> {
  return withDatabase((db) => withParts({ mongodbUri: mongodbUri(), databaseName: db.databaseName }, size, use));
}

describe('a process that ends between two side effects', () => {
  it('has boundaries to end at in every stage', () => {
    const stages = new Set(readBoundaryNames().map(stageOf));
    expect([...stages]).toEqual(
      expect.arrayContaining(['aggregate', 'ingest', 'plan', 'reconcile', 'replay', 'requeue', 'submit']),
    );
  });

  const stages = [...new Set(listCrashPoints().map(stageOf))];

  it.each(stages)('is taken over with the same end at every boundary of %s', { timeout: 120_000 }, (stage) =>
    withPopulation({ seed: 1, customers: 2, hours: 4 }, async (population) => {
      const only = listCrashPoints().filter((boundary) => stageOf(boundary) === stage);
      expect(await crashAtEveryBoundary(population, { ...quietly, batchSize: 4, only })).toEqual([]);
    }),
  );
});

describe('three calls in ten to Stripe failing', () => {
  it('leave each submission counted exactly once', { timeout: 60_000 }, () =>
    withPopulation({ seed: 3, customers: 10, hours: 20 }, async (population) => {
      expect(await submitThroughFaults(population, { ...quietly, submissions: 120 })).toEqual([]);
    }),
  );
});

describe('aggregation runs', () => {
  it('overlap without losing an event that arrived meanwhile', { timeout: 60_000 }, () =>
    withPopulation({ seed: 5, customers: 2, hours: 2 }, async (population) => {
      expect(await overlapRuns(population, { ...quietly, rounds: 2, holdMs: 200 })).toEqual([]);
    }),
  );

  it.each(['ingest.journal-written', 'ingest.events-inserted', 'ingest.journal-confirmed'])(
    'give up the entry of a process frozen for 25 hours at %s, and nothing is left underived',
    (place) =>
      withPopulation({ seed: 9, customers: 2, hours: 3 }, async (population) => {
        const { target, mill } = population;
        const frozen = holdAt(place);
        const batch = mill.batch(6);
        const sent = target.send(batch);
        await frozen.reached;
        await target.db
          .collection('dirty_hours')
          .updateMany({}, [{ $set: { openedAt: { $subtract: ['$openedAt', FROZEN_MS] } } }]);
        expect(await target.run('aggregate-usage')).toMatchObject({ entries: 1 });
        expect(await target.db.collection('dirty_hours').countDocuments({})).toBe(0);
        frozen.release();
        await sent;
        mill.acknowledge(batch);
        expect(await settleAndCompare(population)).toEqual([]);
      }),
  );
});

describe('what torture has found', () => {
  it('sends a last value that a late event changed in the window that was planned last', () =>
    withPopulation({ seed: 2, customers: 1, hours: 1 }, async (population) => {
      const { target, mill, customers } = population;
      for (let late = 0; late < 4; late += 1) {
        const event = mill.event({ customerId: customers[0] ?? '' });
        await target.send({ events: [event], valid: [event], conflicts: 0, rejected: 0 });
        mill.acknowledge({ valid: [event] });
        expect(await settleAndCompare(population)).toEqual([]);
      }
    }));

  it('takes back the figures of a period that a moved anchor does away with', () =>
    withPopulation({ seed: 4, customers: 1, hours: 3 }, async (population) => {
      const { target, mill, customers, anchorMs } = population;
      for (const days of [0, 3, 1]) {
        const billingAnchor = new Date(anchorMs - days * 24 * HOUR_MS).toISOString();
        await target.putCustomer(customers[0] ?? '', { billingAnchor, billingInterval: 'year' });
        const batch = mill.batch(8);
        await target.send(batch);
        mill.acknowledge(batch);
        expect(await settleAndCompare(population)).toEqual([]);
      }
    }));

  it('makes up for a shortfall once, also when the heal waits to be sent through several reconciliations', () =>
    withPopulation({ seed: 6, customers: 2, hours: 3 }, async (population) => {
      const { target, mill } = population;
      const sendMore = async (): Promise<void> => {
        const batch = mill.batch(20);
        await target.send(batch);
        mill.acknowledge(batch);
      };
      await sendMore();
      await lostAtStripe(true).before(population);
      // Only pairs with new submissions are read again.
      await sendMore();
      for (const job of ['aggregate-usage', 'submit-meter-events']) await target.run(job);
      for (let runs = 0; runs < 3; runs += 1) await target.run('reconcile-usage');
      expect(await target.db.collection('meter_submissions').countDocuments({ subject: 'heal' })).toBe(1);
      expect(await settleAndCompare(population)).toEqual([]);
    }));
});

/** Holds whoever comes to a boundary first. */
function holdAt(place: string): { reached: Promise<void>; release: () => void } {
  let release = (): void => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const reached = new Promise<void>((resolve) => {
    onBoundary((name) => {
      if (name !== place) return undefined;
      onBoundary(undefined);
      resolve();
      return held;
    });
  });
  return { reached, release };
}
