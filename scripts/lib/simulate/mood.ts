import { HOUR_MS } from '../../../src/platform/durations.ts';
import { type FaultPlan, faultKinds } from '../../../packages/stripe-double/src/faults.ts';
import type { Dice } from './dice.ts';
import type { World } from './world.ts';

const HOURS_MAX = 12;

/** What Stripe is like for some hours: well, failing now and then, out of order, or rejecting later what it took. */
export class Mood {
  readonly #dice: Dice;
  #untilMs = 0;
  #faults: FaultPlan = {};

  constructor(dice: Dice) {
    this.#dice = dice;
  }

  /** Throws the next mood when the present one is over; returns its name then. */
  change({ clock, simulator }: World): string | undefined {
    const nowMs = clock.now();
    if (nowMs < this.#untilMs) return undefined;
    this.#untilMs = nowMs + this.#dice.below(HOURS_MAX) * HOUR_MS;
    const name = this.#dice.pick(['faults', 'outage', 'rejections', 'well']);
    this.#faults = this.#faultsOf(name);
    simulator.clearFaults();
    simulator.setFaults(this.#faults);
    simulator.switches.rejectLater =
      name === 'rejections'
        ? ({ timestamp }) => (timestamp % 3 === 0 ? 'meter_event_customer_not_found' : undefined)
        : undefined;
    return name;
  }

  /** Lets a person's own calls to Stripe through, whatever the daemon's meet. */
  async suspend({ simulator }: World, work: () => Promise<void>): Promise<void> {
    simulator.clearFaults();
    await work();
    simulator.setFaults(this.#faults);
  }

  #faultsOf(name: string): FaultPlan {
    if (name === 'outage') return { [this.#dice.chance(0.5) ? 'answerLost' : 'errorBefore']: { probability: 0.9 } };
    if (name !== 'faults') return {};
    const kinds = faultKinds.filter((kind) => kind !== 'slow');
    return Object.fromEntries(kinds.map((kind) => [kind, { probability: 0.06 }]));
  }
}
