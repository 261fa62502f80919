import type { Clock } from '../../src/clock.ts';

/** A clock on which waiting takes no time: whoever sleeps moves it forward. For runs that wait by themselves. */
export class JumpingClock implements Clock {
  #nowMs: number;

  constructor(startMs: number) {
    this.#nowMs = startMs;
  }

  now(): number {
    return this.#nowMs;
  }

  advance(deltaMs: number): void {
    this.#nowMs += deltaMs;
  }

  async sleep(delayMs: number): Promise<void> {
    this.#nowMs += Math.max(0, delayMs);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
