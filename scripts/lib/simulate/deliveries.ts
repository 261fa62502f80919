import type { WebhookKind } from '../../../src/webhooks/webhook.ts';
import type { Dice } from './dice.ts';
import type { World } from './world.ts';

interface Outgoing {
  readonly kind: WebhookKind;
  readonly event: { readonly id: string };
}

/** Stripe's deliveries of one week: late, in any order, twice, or never. What was never delivered is caught up. */
export class Deliveries {
  readonly #dice: Dice;
  /** The share of what waits that is delivered at a time. 0: nothing ever is. */
  readonly share: number;
  readonly #told = { snapshot: 0, thin: 0 };
  #waiting: Outgoing[] = [];

  constructor(dice: Dice) {
    this.#dice = dice;
    this.share = dice.pick([0, 0.4, 0.9]);
  }

  /** Delivers some of what waits; returns how many that were. */
  async deliver(world: World, endsAfter: number | undefined): Promise<number> {
    this.#add('snapshot', world.simulator.events());
    this.#add('thin', world.simulator.thinEvents());
    const due = this.#dice.shuffle(this.#waiting).filter(() => this.#dice.chance(this.share));
    for (const { event, kind } of due) await world.hear(event, kind, endsAfter);
    const isTaken = new Set(due.filter(() => this.#dice.chance(0.9)));
    // Now and then one is given up, and is on Stripe's list alone.
    this.#waiting = this.#waiting.filter((outgoing) => !isTaken.has(outgoing) && !this.#dice.chance(0.1));
    return due.length;
  }

  #add(kind: WebhookKind, events: readonly { id: string }[]): void {
    for (const event of events.slice(this.#told[kind])) this.#waiting.push({ kind, event });
    this.#told[kind] = events.length;
  }
}
