import { SeededRandom } from '../../../packages/stripe-double/src/random.ts';

/** What one seed throws. */
export class Dice {
  readonly #random: SeededRandom;

  constructor(seed: number) {
    this.#random = new SeededRandom(seed);
  }

  /** A whole number from 0 up to, and without, `bound`. */
  below(bound: number): number {
    return Math.floor(this.#random.next() * bound);
  }

  /** Whether something of this probability happens. */
  chance(share: number): boolean {
    return this.#random.next() < share;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)] as T;
  }

  shuffle<T>(from: readonly T[]): T[] {
    return from
      .map((each) => ({ each, place: this.#random.next() }))
      .sort((a, b) => a.place - b.place)
      .map(({ each }) => each);
  }
}
