import { HOUR_MS } from '../../../src/platform/durations.ts';
import type { DaemonPopulation } from './stack.ts';
import { settleAndCompare } from './target.ts';

/** Where a process is frozen: with its journal entry written, its events inserted, its entry confirmed. */
const PLACES = ['ingest.journal-written', 'ingest.events-inserted', 'ingest.journal-confirmed'] as const;
const BATCH = 8;
/** Longer than any limit on a journal entry. */
const FROZEN_MS = 25 * HOUR_MS;

/**
 * Freezes the process (SIGSTOP) in the middle of a commit, lets its journal entry grow old, has another process give
 * the entry up, and lets the first one go on. @returns what differs afterwards.
 */
export async function freezeBetweenWrites(
  population: DaemonPopulation,
  options: { giveUp: () => Promise<void>; say: (line: string) => void },
): Promise<string[]> {
  const { target, mill } = population;
  const { daemon, db } = target;
  const faults: string[] = [];
  for (const place of PLACES) {
    const batch = mill.batch(BATCH);
    const { held } = await daemon.hold(place);
    const sent = target.send(batch);
    await held;
    daemon.signal('SIGSTOP');
    const aged = await db
      .collection('dirty_hours')
      .updateMany({ closedAt: { $exists: false } }, [{ $set: { openedAt: { $subtract: ['$openedAt', FROZEN_MS] } } }]);
    await options.giveUp();
    const left = await db.collection('dirty_hours').countDocuments({});
    daemon.signal('SIGCONT');
    await daemon.order({ kind: 'release' });
    await sent;
    mill.acknowledge(batch);
    if (aged.modifiedCount === 0) faults.push(`${place}: there was no open journal entry`);
    if (left > 0) faults.push(`${place}: ${left} journal entries were not given up`);
    const differences = await settleAndCompare(population);
    options.say(`  frozen at ${place} for 25 h: ${differences.length === 0 ? 'aggregates equal raw' : 'they differ'}`);
    faults.push(...differences.map((difference) => `${place}: ${difference}`));
  }
  return faults;
}
