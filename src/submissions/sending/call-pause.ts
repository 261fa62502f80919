const PAUSE_MS_MIN = 50;
const PAUSE_MS_MAX = 8_000;

/**
 * How long all calls pause after Stripe declined one for its rate: short at first, twice as long each time the next call
 * after a pause is declined too, and shorter again with each that is taken. One 429 among many answers costs little; a
 * limit that stands is met by few calls.
 */
export class CallPause {
  #stepMs = PAUSE_MS_MIN;
  #untilMs = 0;

  /** How long is left of the pause. */
  leftMs(nowMs: number): number {
    return Math.max(0, this.#untilMs - nowMs);
  }

  /** At least this long, whatever the answers are. */
  extend(nowMs: number, delayMs: number): void {
    this.#untilMs = Math.max(this.#untilMs, nowMs + delayMs);
  }

  /**
   * A call was declined. Those that were under way when the pause began add nothing to it.
   * @param random a number in [0, 1).
   */
  decline(nowMs: number, random: number): void {
    if (this.leftMs(nowMs) > 0) return;
    this.extend(nowMs, this.#stepMs * (0.5 + random));
    this.#stepMs = Math.min(this.#stepMs * 2, PAUSE_MS_MAX);
  }

  /** A call was taken. */
  take(): void {
    this.#stepMs = Math.max(this.#stepMs / 2, PAUSE_MS_MIN);
  }
}
