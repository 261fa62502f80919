import { Child } from '../child.ts';
import type { SeedResult } from './simulate-seed.ts';

export const SEED_ROLE = 'seed';

/**
 * Lives seeds in several processes, each taking the next one that no other has taken.
 * @param tell called with each result, in the order in which they end; returns whether to go on.
 */
export async function simulateSeeds(
  options: { first: number; seeds: number; days: number; processes: number },
  tell: (result: SeedResult) => boolean,
): Promise<void> {
  const { first, seeds, days } = options;
  let next = first;
  let goesOn = true;
  const takeTurns = async (): Promise<void> => {
    const child = await Child.start(SEED_ROLE);
    try {
      while (goesOn && next < first + seeds) {
        const seed = next;
        next += 1;
        const result = await child.ask<SeedResult>({ seed, days });
        goesOn = tell(result) && goesOn;
      }
    } catch (error) {
      goesOn = false;
      throw error;
    } finally {
      await child.stop();
    }
  };
  const turns = Array.from({ length: Math.min(options.processes, seeds) }, takeTurns);
  for (const turn of await Promise.allSettled(turns)) if (turn.status === 'rejected') throw turn.reason;
}
