import { aggregateUsage } from '../../../src/aggregation/aggregate-usage.ts';
import { inDerivationRun } from '../../../src/aggregation/derivation-run-store.ts';
import { pause } from './load.ts';
import type { InProcessPopulation } from './stack.ts';
import { settleAndCompare } from './target.ts';

const BATCH = 6;
/** Events that arrive while the slow run stands between its read and its merge. */
const BATCHES_MEANWHILE = 3;

/**
 * Two aggregation runs at once: the slow one has read and not yet merged while events arrive and the fast one derives
 * them. @returns what differs afterwards.
 */
export async function overlapRuns(
  population: InProcessPopulation,
  options: { rounds: number; holdMs: number; say: (line: string) => void },
): Promise<string[]> {
  const { target, mill } = population;
  for (let round = 0; round < options.rounds; round += 1) {
    await sendBatch(population);
    const slow = aggregate(population, options.holdMs);
    for (let batches = 0; batches < BATCHES_MEANWHILE; batches += 1) {
      await pause(mill.below(options.holdMs));
      await sendBatch(population);
      await aggregate(population, 0);
    }
    await slow;
    // What the journal still names is derived by the next run; what it does not name has to be right already.
    const differences = await settleAndCompare(population);
    if (differences.length > 0) return differences.map((difference) => `round ${round + 1}: ${difference}`);
  }
  const { merged } = await countRows(target);
  options.say(
    `  ${options.rounds} rounds of one slow and ${BATCHES_MEANWHILE} fast runs, ${merged} rows, all equal raw`,
  );
  return [];
}

async function aggregate({ target, clock }: InProcessPopulation, holdMs: number): Promise<void> {
  const log = { info: () => {}, error: () => {} };
  await aggregateUsage(
    { inRun: (work) => inDerivationRun(target.db, work, holdMs === 0 ? [] : [busyWait(holdMs)]), clock, log },
    {},
  );
}

/** A stage that takes its time with the first row that passes; the grouping before it has read everything by then. */
function busyWait(holdMs: number): object {
  const body = `function(number) { if (number === 1) { var end = Date.now() + ${holdMs}; while (Date.now() < end) {} } return true; }`;
  return {
    $match: { $expr: { $function: { body, args: [{ $cond: [{ $eq: ['$_id.meter', 'calls'] }, 1, 0] }], lang: 'js' } } },
  };
}

async function sendBatch({ target, mill }: InProcessPopulation): Promise<void> {
  const batch = mill.batch(BATCH);
  await target.send(batch);
  mill.acknowledge(batch);
}

async function countRows({ db }: InProcessPopulation['target']): Promise<{ merged: number }> {
  return { merged: await db.collection('usage_aggregates').countDocuments({}) };
}
