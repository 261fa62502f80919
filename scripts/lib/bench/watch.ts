import { setTimeout } from 'node:timers/promises';
import { startProgress } from '../progress.ts';

const LOOK_MS = 5_000;
const MS_PER_MINUTE = 60_000;

/** Long work of another process, as it looks from here. */
export interface Watched {
  readonly label: string;
  readonly total: number;
  /** It is given up after so long. */
  readonly msMax: number;
  /** How much of the total is done. */
  look(): Promise<{ readonly done: number; readonly note: string }>;
  /** What is left of it, for the error. */
  left(): Promise<string>;
}

/**
 * Waits for work, and shows on standard error how far it has come.
 * @throws Error what failed; or, after `msMax`, how much of it was left.
 */
export async function watch<T>(work: Promise<T>, watched: Watched): Promise<T> {
  const { label, total, msMax } = watched;
  const progress = startProgress({ label, total });
  const giveUpAtMs = performance.now() + msMax;
  const ended = work.then((value) => ({ value }));
  // Whoever gives up waits for it no longer.
  ended.catch(() => {});
  for (;;) {
    const end = await Promise.race([ended, setTimeout(LOOK_MS, undefined, { ref: false })]);
    if (end !== undefined) {
      progress.clear();
      return end.value;
    }
    if (performance.now() > giveUpAtMs) {
      progress.clear();
      throw new Error(`${label}: given up after ${Math.round(msMax / MS_PER_MINUTE)} minutes; ${await watched.left()}`);
    }
    const { done, note } = await watched.look();
    progress.update(done, note);
  }
}
