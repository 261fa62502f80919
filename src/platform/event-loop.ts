import { setImmediate } from 'node:timers/promises';

/** How long one piece of work keeps everything else of this process waiting: a request, a probe, a heartbeat. */
export const TURN_MS_MAX = 20;

/** Lets others run whenever a turn is over, for a loop that waits for nothing else for long. */
export class Turns {
  #endsAt = performance.now() + TURN_MS_MAX;

  get isOver(): boolean {
    return performance.now() >= this.#endsAt;
  }

  /** Goes on at once while the turn lasts. */
  async next(): Promise<void> {
    if (!this.isOver) return;
    await setImmediate();
    this.#endsAt = performance.now() + TURN_MS_MAX;
  }
}

/**
 * Does something with each item, and lets others run whenever a turn is over. For every loop whose length is decided by
 * who sends usage, and that waits for nothing by itself.
 */
export async function eachInTurns<T>(items: Iterable<T>, work: (item: T) => void): Promise<void> {
  const turns = new Turns();
  for (const item of items) {
    work(item);
    if (turns.isOver) await turns.next();
  }
}
