import { ManualClock } from '../../../src/platform/clock.ts';

/** A clock on which waiting takes no time: whoever sleeps moves it forward. */
export class SkippingClock extends ManualClock {
  override async sleep(delayMs: number): Promise<void> {
    this.advance(Math.max(0, delayMs));
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
}
