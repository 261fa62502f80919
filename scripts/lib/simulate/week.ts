import { faultKinds } from '../../../src/simulator/faults.ts';
import type { AdjustmentInput } from '../../../src/domain/adjustment.ts';
import { SeededRandom } from '../../../src/simulator/random.ts';
import type { Switches } from '../../../src/simulator/switches.ts';
import { createStripeCustomer, meterBody } from '../torture/target.ts';
import type { SentEvent, World } from './world.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
/** Steps last up to this long. */
const STEP_MS_MAX = 5 * HOUR_MS;
const EVENTS_MAX = 5;
const USERS = 6;
const BOUNDARIES_MAX = 12;
const JOBS = [
  'aggregate-usage',
  'submit-meter-events',
  'catch-up-events',
  'process-webhooks',
  'settle-late-usage',
  'resolve-submissions',
  'reconcile-usage',
] as const;
/** How likely a step runs each of them. */
const JOB_SHARES: Readonly<Record<(typeof JOBS)[number], number>> = {
  'aggregate-usage': 0.6,
  'submit-meter-events': 0.6,
  'catch-up-events': 0.3,
  'process-webhooks': 0.3,
  'settle-late-usage': 0.1,
  'resolve-submissions': 0.2,
  'reconcile-usage': 0.2,
};

export const METERS = [
  { key: 'calls', aggregation: 'sum' },
  { key: 'requests', aggregation: 'count' },
  { key: 'peak', aggregation: 'max' },
  { key: 'users', aggregation: 'unique' },
] as const;

/** What one seed is made of. The same seed lives the same week, but for the order in which parallel calls arrive. */
export class Week {
  readonly #random: SeededRandom;
  readonly #sent: SentEvent[] = [];
  readonly #adjusted: AdjustmentInput[] = [];
  readonly customers = ['acme', 'globex'] as const;
  /** The switches that stay as they are: where Stripe's behaviour is not established, either way. */
  readonly switches: Partial<Switches>;
  /** What was done, newest last, for whoever has to find out why a seed fails. */
  readonly diary: string[] = [];
  #moodUntilMs = 0;

  constructor(seed: number) {
    this.#random = new SeededRandom(seed);
    const lagMs = this.#below(7) * HOUR_MS;
    const isSteady = this.#chance(0.5);
    this.switches = {
      summaryLagMs: isSteady ? lagMs : ({ timestamp, receivedAt }) => (timestamp * 31 + receivedAt) % (6 * HOUR_MS),
      identifierHorizonMs: DAY_MS,
      concurrency: this.#chance(0.5) ? 'conflict' : 'lock-timeout',
      refusalCodes: this.#chance(0.5) ? 'bare' : 'coded',
      refusalsReplayed: this.#chance(0.5),
      emptySummary: this.#chance(0.5) ? 'none' : 'zero',
      identifierReuseAfterRejection: this.#chance(0.5),
      errorReportSampleForm: this.#chance(0.5) ? 'identifier' : 'idempotency-key',
      errorReportSamples: 1 + this.#below(5),
    };
    this.diary.push(`lag ${isSteady ? `${lagMs / HOUR_MS} h` : 'varies'}`);
  }

  /** Every event that was acknowledged; some were sent more than once. */
  get sent(): readonly SentEvent[] {
    return this.#sent;
  }

  /** Every correction that was acknowledged. */
  get adjusted(): readonly AdjustmentInput[] {
    return this.#adjusted;
  }

  /** Registers meters and customers at both ends; one customer has an anchor inside the week, at an odd instant. */
  async prepare(world: World): Promise<void> {
    const startMs = world.clock.now();
    const effectiveFromMs = Math.floor(startMs / HOUR_MS) * HOUR_MS - 20 * DAY_MS;
    for (const meter of METERS) await world.putMeter(meter.key, meterBody(meter, effectiveFromMs));
    await world.run('sync-meters');
    const anchorMs = startMs - 30 * DAY_MS + this.#below(7 * DAY_MS);
    for (const [index, customerId] of this.customers.entries()) {
      const stripeCustomerId = await createStripeCustomer(world.simulator.url, customerId);
      const billingAnchor = new Date(Math.floor(anchorMs / 1000) * 1000).toISOString();
      await world.putCustomer(customerId, {
        stripeCustomerId,
        submitFrom: new Date(effectiveFromMs).toISOString(),
        ...(index === 0 && { billingAnchor, billingInterval: 'month' }),
      });
    }
  }

  /**
   * Lives some days, step by step.
   * @param look called after each reconciliation.
   */
  async live(world: World, days: number, look: () => Promise<void>): Promise<void> {
    const endMs = world.clock.now() + days * DAY_MS;
    while (world.clock.now() < endMs) {
      world.clock.advance(1 + this.#below(STEP_MS_MAX));
      this.#changeMood(world);
      await this.#ingest(world);
      if (this.#chance(0.1)) await this.#adjust(world);
      for (const job of JOBS) if (this.#chance(JOB_SHARES[job])) await this.#run(world, job);
      await look();
    }
  }

  #changeMood(world: World): void {
    const nowMs = world.clock.now();
    if (nowMs < this.#moodUntilMs) return;
    this.#moodUntilMs = nowMs + this.#below(12) * HOUR_MS;
    const kind = this.#below(4);
    world.simulator.clearFaults();
    world.simulator.switches.rejectLater = undefined;
    if (kind === 0) {
      world.simulator.setFaults(
        Object.fromEntries(faultKinds.filter((name) => name !== 'slow').map((name) => [name, { probability: 0.06 }])),
      );
    } else if (kind === 1) {
      world.simulator.setFaults({ [this.#chance(0.5) ? 'answerLost' : 'errorBefore']: { probability: 0.9 } });
    } else if (kind === 2) {
      world.simulator.switches.rejectLater = ({ timestamp }) =>
        timestamp % 3 === 0 ? 'meter_event_customer_not_found' : undefined;
    }
    this.#note(world, `mood ${['faults', 'outage', 'rejections', 'well'][kind] ?? ''}`);
  }

  async #ingest(world: World): Promise<void> {
    const events = Array.from({ length: this.#below(EVENTS_MAX + 1) }, () => this.#event(world.clock.now()));
    const repeated = this.#sent.length > 0 && this.#chance(0.3) ? [this.#pick(this.#sent)] : [];
    if (events.length + repeated.length === 0) return;
    await world.ingest([...events, ...repeated], this.#doom());
    this.#sent.push(...events);
    this.#note(
      world,
      `sent ${events.map(({ customerId, occurredAt, quantity }) => `${customerId} ${occurredAt} ${quantity}`).join(', ')}`,
    );
  }

  async #adjust(world: World): Promise<void> {
    const adjustment = {
      customerId: this.#pick(this.customers),
      meter: this.#pick(['calls', 'requests']),
      quantity: `${this.#below(9) - 4}`,
      occurredAt: new Date(world.clock.now() - this.#below(2 * DAY_MS)).toISOString(),
      reason: 'counted by hand',
      idempotencyKey: `adjustment-${this.#adjusted.length}`,
      actor: 'ops@example.com',
    };
    if (adjustment.quantity === '0') return;
    await world.adjust(adjustment, this.#doom());
    this.#adjusted.push(adjustment);
    this.#note(world, `adjusted ${JSON.stringify(adjustment)}`);
  }

  #event(nowMs: number): SentEvent {
    const ageMs = this.#chance(0.8) ? 2 * HOUR_MS : this.#chance(0.7) ? DAY_MS : 6 * DAY_MS;
    return {
      idempotencyKey: `event-${String(this.#sent.length).padStart(5, '0')}-${this.#below(1_000_000)}`,
      customerId: this.#pick(this.customers),
      eventType: 'call',
      occurredAt: new Date(nowMs - this.#below(ageMs)).toISOString(),
      quantity: `${this.#below(500)}.${1 + this.#below(9)}`,
      userId: `user-${this.#below(USERS)}`,
    };
  }

  async #run(world: World, job: string): Promise<void> {
    const endsAfter = this.#doom();
    const isTwice = endsAfter === undefined && this.#chance(0.1);
    this.#note(world, `${job}${isTwice ? ' twice' : ''}${endsAfter === undefined ? '' : ` ends after ${endsAfter}`}`);
    const runs = [world.run(job, { ...(endsAfter !== undefined && { endsAfter }) })];
    if (isTwice) runs.push(world.run(job));
    await Promise.all(runs);
  }

  /** Now and then a process ends, after some of its side effects. */
  #doom(): number | undefined {
    return this.#chance(0.12) ? this.#below(BOUNDARIES_MAX) : undefined;
  }

  #note(world: World, text: string): void {
    this.diary.push(`${new Date(world.clock.now()).toISOString()} ${text}`);
  }

  #below(below: number): number {
    return Math.floor(this.#random.next() * below);
  }

  #chance(share: number): boolean {
    return this.#random.next() < share;
  }

  #pick<T>(from: readonly T[]): T {
    return from[this.#below(from.length)] as T;
  }
}
