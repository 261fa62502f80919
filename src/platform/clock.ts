/**
 * Time as a port: the system clock in the daemon, a settable one in tests and simulations.
 * Everything that asks for the time of day or waits takes a `Clock`; nothing else calls `Date.now()`.
 */
export interface Clock {
  /** The present instant in UTC milliseconds since the epoch. */
  now(): number;
  /** Resolves after `delayMs` of this clock's time, or at once when `signal` aborts. Never rejects. */
  sleep(delayMs: number, signal?: AbortSignal): Promise<void>;
}

/** The clock of the machine. */
export const systemClock: Clock = {
  now: () => Date.now(),
  sleep: (delayMs, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted === true) return resolve();
      const finish = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', finish);
        resolve();
      };
      const timer = setTimeout(finish, delayMs);
      signal?.addEventListener('abort', finish, { once: true });
    }),
};

/** A clock that moves only when told to. Sleepers wake when the time they wait for has come. */
export class ManualClock implements Clock {
  #nowMs: number;
  #sleepers: { wakeAt: number; wake: () => void }[] = [];

  constructor(startMs: number) {
    this.#nowMs = startMs;
  }

  now(): number {
    return this.#nowMs;
  }

  sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    if (delayMs <= 0 || signal?.aborted === true) return Promise.resolve();
    return new Promise((resolve) => {
      const sleeper = { wakeAt: this.#nowMs + delayMs, wake: resolve };
      this.#sleepers.push(sleeper);
      signal?.addEventListener(
        'abort',
        () => {
          this.#sleepers = this.#sleepers.filter((other) => other !== sleeper);
          resolve();
        },
        { once: true },
      );
    });
  }

  /** Moves the clock to `instantMs` (never backwards) and wakes every sleeper that is due, earliest first. */
  moveTo(instantMs: number): void {
    this.#nowMs = Math.max(this.#nowMs, instantMs);
    const due = this.#sleepers.filter((sleeper) => sleeper.wakeAt <= this.#nowMs).sort((a, b) => a.wakeAt - b.wakeAt);
    this.#sleepers = this.#sleepers.filter((sleeper) => sleeper.wakeAt > this.#nowMs);
    for (const sleeper of due) sleeper.wake();
  }

  /** Moves the clock forward by `deltaMs`. */
  advance(deltaMs: number): void {
    this.moveTo(this.#nowMs + deltaMs);
  }
}

/** The clock of the machine, which a person may move ahead: time then goes on from there. For trying things out. */
export class ForwardClock implements Clock {
  #aheadMs: number;
  readonly #sleepers = new Set<Sleeper>();

  /** @param aheadMs how far it is ahead of the machine to begin with. */
  constructor(aheadMs = 0) {
    this.#aheadMs = aheadMs;
  }

  /** How far it is ahead of the machine. */
  get aheadMs(): number {
    return this.#aheadMs;
  }

  now(): number {
    return systemClock.now() + this.#aheadMs;
  }

  async sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    const wakeAt = this.now() + delayMs;
    const isAborted = (): boolean => signal?.aborted === true;
    for (let leftMs = delayMs; leftMs > 0 && !isAborted(); leftMs = wakeAt - this.now()) {
      const sleeper: Sleeper = { moved: new AbortController() };
      this.#sleepers.add(sleeper);
      const signals = [sleeper.moved.signal, ...(signal === undefined ? [] : [signal])];
      await systemClock.sleep(leftMs, AbortSignal.any(signals));
      this.#sleepers.delete(sleeper);
    }
  }

  /** Moves the clock ahead by `deltaMs`; who sleeps wakes, and sleeps on if it is not time yet. */
  advance(deltaMs: number): void {
    this.#aheadMs += Math.max(0, deltaMs);
    for (const { moved } of this.#sleepers) moved.abort();
  }
}

interface Sleeper {
  readonly moved: AbortController;
}
