import { DAY_MS } from '../../../src/platform/durations.ts';
import { openStripe } from '../../../src/stripe/client.ts';
import type { Dice } from './dice.ts';
import type { WeekMeter } from './meters.ts';
import type { World } from './world.ts';

type StripeClient = ReturnType<typeof openStripe>;

/** The rhythms that a customer may be billed in; those of days end several times in a week. */
const RHYTHMS = [
  { interval: 'day', interval_count: 2, days: 2 },
  { interval: 'day', interval_count: 3, days: 3 },
  { interval: 'week', interval_count: 1, days: 7 },
  { interval: 'month', interval_count: 1, days: 28 },
] as const;
/** Every change queues hours anew. */
const CHANGES_MAX = 4;
/** A subscription that began before it was made bills what was used meanwhile at once. */
const BACKDATED_MS_MAX = 1.5 * DAY_MS;

/** One customer's subscription at Stripe, as a person makes, moves and ends it there; nobody tells the daemon. */
export class Subscriber {
  readonly #dice: Dice;
  readonly #meters: readonly WeekMeter[];
  readonly #meterKeys = new Map<string, string>();
  #stripe: StripeClient | undefined;
  #present: string | undefined;
  #changes = 0;
  #hadOne = false;

  constructor(dice: Dice, meters: readonly WeekMeter[]) {
    this.#dice = dice;
    this.#meters = meters;
  }

  /** The meters' keys by the ids of the prices that were made for them. */
  get meterKeys(): ReadonlyMap<string, string> {
    return this.#meterKeys;
  }

  /** Makes the next change; returns what it was, or undefined when there have been enough. */
  async change(world: World, customer: string): Promise<string | undefined> {
    if (this.#changes >= CHANGES_MAX) return undefined;
    this.#changes += 1;
    this.#stripe ??= openStripe({ secretKey: 'sk_test_person', apiBase: world.simulator.url });
    if (this.#present === undefined) return this.#subscribe(this.#stripe, world, customer);
    if (this.#dice.chance(0.6)) return this.#anchorNow(this.#stripe, this.#present);
    return this.#cancel(this.#stripe, this.#present);
  }

  async #subscribe(stripe: StripeClient, world: World, customer: string): Promise<string> {
    const { days, ...recurring } = this.#dice.pick(RHYTHMS);
    const nowMs = world.clock.now();
    const anchorMs = nowMs + 1_000 + this.#dice.below((days - 1) * DAY_MS);
    const backdatedMs = nowMs - this.#dice.below(BACKDATED_MS_MAX);
    const isBackdated = !this.#hadOne && this.#dice.chance(0.3);
    const { id } = await stripe.subscriptions.create({
      customer,
      items: await this.#items(stripe, world, recurring),
      ...(this.#dice.chance(0.5) && { billing_cycle_anchor: toSeconds(anchorMs) }),
      ...(isBackdated && { backdate_start_date: toSeconds(backdatedMs) }),
    });
    this.#present = id;
    this.#hadOne = true;
    return `${id} of ${days} days${isBackdated ? ` since ${new Date(backdatedMs).toISOString()}` : ''}`;
  }

  async #items(
    stripe: StripeClient,
    world: World,
    recurring: { interval: 'day' | 'week' | 'month'; interval_count: number },
  ): Promise<{ price: string }[]> {
    const stripeMeters = (await world.parts.stripe?.listMeters()) ?? [];
    const items = [];
    for (const { key } of this.#meters) {
      const meter = stripeMeters.find(({ eventName }) => eventName === key);
      if (meter === undefined) throw new Error(`Stripe has no meter ${key}`);
      const { id } = await stripe.prices.create({
        currency: 'usd',
        product_data: { name: key },
        nickname: key,
        recurring: { ...recurring, usage_type: 'metered', meter: meter.id },
        unit_amount: 1,
      });
      this.#meterKeys.set(id, key);
      items.push({ price: id });
    }
    return items;
  }

  async #anchorNow(stripe: StripeClient, id: string): Promise<string> {
    await stripe.subscriptions.update(id, { billing_cycle_anchor: { type: 'now' } });
    return `${id} anchored anew`;
  }

  async #cancel(stripe: StripeClient, id: string): Promise<string> {
    this.#present = undefined;
    if (this.#dice.chance(0.5)) {
      await stripe.subscriptions.cancel(id);
      return `${id} ended`;
    }
    await stripe.subscriptions.update(id, { cancel_at_period_end: true });
    return `${id} ends with its period`;
  }
}

function toSeconds(instantMs: number): number {
  return Math.floor(instantMs / 1000);
}
