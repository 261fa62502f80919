import type { Clock } from '../clock.ts';

const WAIT_MS_MIN = 1_000;
const WAIT_MS_MAX = 10_000;
/** A pause that begins so soon after another one is the same trouble. */
const SAME_TROUBLE_MS = 30_000;

/** A worker that can be told to take no jobs for a while. */
export interface PausableWorker {
  pause(doNotWaitActive?: boolean): Promise<void>;
  resume(): Promise<void> | void;
}

export interface RefusalPauseDeps {
  readonly worker: PausableWorker;
  /** Whether Redis takes writes. */
  readonly canWrite: () => Promise<boolean>;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/**
 * Lets a worker rest while Redis refuses what it writes (memory full, a replica, a failed snapshot). BullMQ asks again at
 * once after such an answer: thousands of times a second.
 */
export class RefusalPause {
  readonly #deps: RefusalPauseDeps;
  #isPausing = false;
  #waitMs = WAIT_MS_MIN;
  #endedAtMs = Number.NEGATIVE_INFINITY;

  constructor(deps: RefusalPauseDeps) {
    this.#deps = deps;
  }

  /** Begins a pause, unless there is one, and ends it when Redis takes writes again. */
  async begin(): Promise<void> {
    const { worker, canWrite, clock, signal } = this.#deps;
    if (this.#isPausing || signal.aborted) return;
    this.#isPausing = true;
    if (clock.now() - this.#endedAtMs > SAME_TROUBLE_MS) this.#waitMs = WAIT_MS_MIN;
    await worker.pause(true);
    do {
      await clock.sleep(this.#waitMs, signal);
      this.#waitMs = Math.min(this.#waitMs * 2, WAIT_MS_MAX);
    } while (!signal.aborted && !(await canWrite()));
    this.#endedAtMs = clock.now();
    this.#isPausing = false;
    if (!signal.aborted) await worker.resume();
  }
}
