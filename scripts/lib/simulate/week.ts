import { DAY_MS, HOUR_MS } from '../../../src/platform/durations.ts';
import type { Switches } from '../../../packages/stripe-double/src/switches.ts';
import { createStripeCustomer } from '../torture/target.ts';
import { Deliveries } from './deliveries.ts';
import { Dice } from './dice.ts';
import { Facts, type SentEvent } from './facts.ts';
import { registerMeters, throwMeters, type WeekMeter } from './meters.ts';
import { Mood } from './mood.ts';
import { People } from './people.ts';
import { Subscriber } from './subscriber.ts';
import { throwSwitches } from './throw-switches.ts';
import type { World } from './world.ts';

/** Steps last up to this long. */
const STEP_MS_MAX = 5 * HOUR_MS;
const EVENTS_MAX = 5;
const USERS = 6;
const BOUNDARIES_MAX = 12;
/** The guard holds an invoice within the last hour before it would be final. */
const LAST_LOOK_MS_MAX = HOUR_MS;
const GUARD_JOB = 'guard-invoices';
/** How likely a step runs each of them, in this order. */
const JOB_SHARES = {
  'requeue-usage': 0.4,
  'aggregate-usage': 0.6,
  'submit-meter-events': 0.6,
  'catch-up-events': 0.3,
  'process-webhooks': 0.4,
  [GUARD_JOB]: 0.3,
  'settle-late-usage': 0.2,
  'resolve-submissions': 0.2,
  'reconcile-usage': 0.2,
} as const;
/** How likely a step is one in which a person does something. */
const SHARES = { adjust: 0.1, restate: 0.03, subscribe: 0.08, decideLate: 0.1, release: 0.02 };

/** What one seed is made of. The same seed lives the same week, but for the order in which parallel calls arrive. */
export class Week {
  readonly #dice: Dice;
  readonly #mood: Mood;
  readonly #people: People;
  readonly #deliveries: Deliveries;
  readonly #subscribers: ReadonlyMap<string, Subscriber>;
  readonly customers = ['acme', 'globex'] as const;
  readonly meters: readonly WeekMeter[];
  readonly facts = new Facts();
  /** The switches that stay as they are: where Stripe's behaviour is not established, either way. */
  readonly switches: Partial<Switches>;
  /** What was done, newest last, for whoever has to find out why a seed fails. */
  readonly diary: string[] = [];

  constructor(seed: number) {
    this.#dice = new Dice(seed);
    this.#mood = new Mood(this.#dice);
    this.#people = new People(this.#dice);
    this.#deliveries = new Deliveries(this.#dice);
    this.meters = throwMeters(this.#dice);
    this.#subscribers = new Map(this.customers.map((customer) => [customer, new Subscriber(this.#dice, this.meters)]));
    this.switches = throwSwitches(this.#dice);
    this.diary.push(
      `switches ${JSON.stringify(this.switches)}`,
      `meters ${this.meters.map(({ key, formula, lateUsage }) => `${key} ${formula} ${lateUsage}`).join(', ')}`,
      `deliveries ${this.#deliveries.share}`,
    );
  }

  /** The meter that a price of this id bills. */
  meterOfPrice(priceId: string): WeekMeter | undefined {
    const keys = [...this.#subscribers.values()].map(({ meterKeys }) => meterKeys.get(priceId));
    return this.meters.find(({ key }) => keys.includes(key));
  }

  /** Registers meters and customers at both ends; one customer has an anchor inside the week, at an odd instant. */
  async prepare(world: World): Promise<void> {
    const startMs = world.clock.now();
    const effectiveFromMs = Math.floor(startMs / HOUR_MS) * HOUR_MS - 20 * DAY_MS;
    await registerMeters(world, this.meters, effectiveFromMs);
    for (const [index, customerId] of this.customers.entries()) {
      const stripeCustomerId = await createStripeCustomer(world.simulator.url, customerId);
      await world.putCustomer(customerId, {
        stripeCustomerId,
        submitFrom: new Date(effectiveFromMs).toISOString(),
        ...(index === 0 && { billingAnchor: this.#anchor(world), billingInterval: 'month' }),
      });
      if (this.#dice.chance(0.5)) await this.#changeSubscription(world, customerId);
    }
  }

  /**
   * Lives some days, step by step.
   * @param look called after each reconciliation.
   */
  async live(world: World, days: number, look: () => Promise<void>): Promise<void> {
    const endMs = world.clock.now() + days * DAY_MS;
    while (world.clock.now() < endMs) {
      this.#pass(world);
      const mood = this.#mood.change(world);
      if (mood !== undefined) this.#note(world, `mood ${mood}`);
      await this.#ingest(world);
      await this.#haveDecided(world);
      const delivered = await this.#deliveries.deliver(world, this.#doom());
      if (delivered > 0) this.#note(world, `${delivered} deliveries`);
      for (const [job, share] of Object.entries(JOB_SHARES)) if (this.#dice.chance(share)) await this.#run(world, job);
      await look();
    }
  }

  /** Lets some time pass; now and then until just before a draft would be final. */
  #pass(world: World): void {
    const { clock, simulator } = world;
    const nowMs = clock.now();
    const drafts = simulator.invoices().map((invoice) => (invoice.automatically_finalizes_at ?? 0) * 1000);
    const finalAtMs = Math.min(...drafts.filter((atMs) => atMs > nowMs + 1));
    const stepMs = 1 + this.#dice.below(STEP_MS_MAX);
    const lastLookMs = finalAtMs - this.#dice.below(LAST_LOOK_MS_MAX) - nowMs;
    const isLastLook = lastLookMs > 0 && lastLookMs <= STEP_MS_MAX && this.#dice.chance(0.6);
    clock.advance(isLastLook ? lastLookMs : stepMs);
  }

  /** What people do besides using something. */
  async #haveDecided(world: World): Promise<void> {
    if (this.#dice.chance(SHARES.adjust)) await this.#adjust(world);
    if (this.#dice.chance(SHARES.restate)) await this.#restate(world);
    if (this.#dice.chance(SHARES.subscribe)) await this.#changeSubscription(world, this.#dice.pick(this.customers));
    const decided = this.#dice.chance(SHARES.decideLate) ? await this.#people.decideLate(world) : undefined;
    if (decided !== undefined) this.#note(world, `decided ${decided}`);
    const released = this.#dice.chance(SHARES.release) ? await this.#people.release(world) : undefined;
    if (released !== undefined) this.#note(world, `released ${released}`);
  }

  async #ingest(world: World): Promise<void> {
    const events = Array.from({ length: this.#dice.below(EVENTS_MAX + 1) }, (_, index) => this.#event(world, index));
    const sent = this.facts.events;
    const repeated = sent.length > 0 && this.#dice.chance(0.3) ? [this.#dice.pick(sent)] : [];
    if (events.length + repeated.length === 0) return;
    await world.ingest([...events, ...repeated], this.#doom());
    this.facts.addEvents(events);
    const texts = events.map(
      ({ customerId, occurredAt, quantity, userId }) => `${customerId} ${occurredAt} ${quantity} ${userId}`,
    );
    this.#note(world, `sent ${texts.join(', ')}`);
  }

  #event({ clock }: World, index: number): SentEvent {
    const ageMs = this.#dice.chance(0.8) ? 2 * HOUR_MS : this.#dice.chance(0.7) ? DAY_MS : 6 * DAY_MS;
    const number = this.facts.events.length + index;
    return {
      idempotencyKey: `event-${String(number).padStart(5, '0')}-${this.#dice.below(1_000_000)}`,
      customerId: this.#dice.pick(this.customers),
      eventType: 'call',
      occurredAt: new Date(clock.now() - this.#dice.below(ageMs)).toISOString(),
      quantity: `${this.#dice.below(500)}.${1 + this.#dice.below(9)}`,
      userId: `user-${this.#dice.below(USERS)}`,
    };
  }

  async #adjust(world: World): Promise<void> {
    const adjustment = {
      customerId: this.#dice.pick(this.customers),
      meter: this.#dice.pick(['calls', 'requests']),
      quantity: `${this.#dice.below(9) - 4}`,
      occurredAt: new Date(world.clock.now() - this.#dice.below(2 * DAY_MS)).toISOString(),
      reason: 'counted by hand',
      idempotencyKey: `adjustment-${this.facts.adjustments.length}`,
      actor: 'ops@example.com',
    };
    if (adjustment.quantity === '0') return;
    await world.adjust(adjustment, this.#doom());
    this.facts.addAdjustment(adjustment);
    this.#note(world, `adjusted ${JSON.stringify(adjustment)}`);
  }

  /** States another billing anchor, which counts where Stripe has no subscription. */
  async #restate(world: World): Promise<void> {
    const customerId = this.#dice.pick(this.customers);
    const billingAnchor = this.#anchor(world);
    await world.putCustomer(customerId, { billingAnchor, billingInterval: 'month' });
    this.#note(world, `${customerId} anchored at ${billingAnchor}`);
  }

  async #changeSubscription(world: World, customerId: string): Promise<void> {
    const { stripeCustomerId = '' } = (await world.parts.stores.customers.find(customerId)) ?? {};
    await this.#mood.suspend(world, async () => {
      const change = await this.#subscribers.get(customerId)?.change(world, stripeCustomerId);
      if (change !== undefined) this.#note(world, `${customerId}: ${change}`);
    });
  }

  /** An instant of the month before or the week, in whole seconds. */
  #anchor({ clock }: World): string {
    const anchorMs = clock.now() - 30 * DAY_MS + this.#dice.below(7 * DAY_MS);
    return new Date(Math.floor(anchorMs / 1000) * 1000).toISOString();
  }

  async #run(world: World, job: string): Promise<void> {
    const endsAfter = this.#doom();
    const isTwice = endsAfter === undefined && this.#dice.chance(0.1);
    this.#note(world, `${job}${isTwice ? ' twice' : ''}${endsAfter === undefined ? '' : ` ends after ${endsAfter}`}`);
    const run = (): Promise<unknown> =>
      job === GUARD_JOB ? world.guard(endsAfter) : world.run(job, { ...(endsAfter !== undefined && { endsAfter }) });
    await Promise.all(isTwice ? [run(), run()] : [run()]);
  }

  /** Now and then a process ends, after some of its side effects. */
  #doom(): number | undefined {
    return this.#dice.chance(0.12) ? this.#dice.below(BOUNDARIES_MAX) : undefined;
  }

  #note(world: World, text: string): void {
    this.diary.push(`${new Date(world.clock.now()).toISOString()} ${text}`);
  }
}
