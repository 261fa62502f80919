import type { Clock } from './clock.ts';
import { Agenda } from './agenda.ts';
import type { Invoice } from './billing/invoice-object.ts';
import type { Subscription } from './billing/subscription-object.ts';
import type { AsyncRejection } from './events/error-reports.ts';
import type { SnapshotEvent } from './events/snapshot-events.ts';
import type { ThinEvent } from './events/thin-events.ts';
import { trigger } from './events/trigger.ts';
import { Faults } from './faults.ts';
import type { FaultKind, FaultPlan, ScriptedFault } from './faults.ts';
import { zero } from './decimal.ts';
import { Pipeline } from './pipeline.ts';
import type { Outcome, WireRequest } from './pipeline.ts';
import { SeededRandom } from './random.ts';
import { RequestCounts } from './request-counts.ts';
import type { RequestCount } from './request-counts.ts';
import { SimulatedAccount } from './simulated-account.ts';
import { moveClock } from './movable-clock.ts';
import { defaultSwitches } from './switches.ts';
import type { Switches } from './switches.ts';
import type { ReceivedMeterEvent, UsagePair } from './usage.ts';
import type { UsageRange, UsageView } from './usage-series.ts';
import type { DeliveryAttempt } from './webhooks/deliveries.ts';
import { Destinations } from './webhooks/destinations.ts';
import type { Destination, DestinationOptions } from './webhooks/destinations.ts';

/** What a simulation starts with; every switch may stand here too. */
export interface SimulationOptions extends Partial<Switches> {
  clock: Clock;
  /** Same seed, same faults and ids. */
  seed: number;
  faults?: FaultPlan;
  /** Where webhooks are sent; more can be added later. */
  destinations?: readonly DestinationOptions[];
}

/** Which usage to add up. */
export interface UsageQuery {
  /** Stripe's customer id. */
  customer: string;
  /** The meter's id or its event name. */
  meter: string;
  /** Half-open, Unix seconds, by the events' timestamps; both default to everything. */
  fromSeconds?: number;
  toSeconds?: number;
}

/** What one customer has on one meter. */
export interface UsageFigure {
  customer: string;
  meterId: string;
  eventName: string;
  /** By the meter's formula; exact, plain decimal text. */
  total: string;
  /** Events that count, however many of them an event time window then overwrites. */
  events: number;
}

const everything: UsageRange = { from: Number.MIN_SAFE_INTEGER, to: Number.MAX_SAFE_INTEGER };
const faultSeedMask = 0x5f5f_5f5f;

/** A simulated Stripe account without its listener: what it answers, and what a test may ask of it. */
export class Simulation {
  readonly clock: Clock;
  readonly switches: Switches;
  readonly #seed: number;
  readonly #stopping: AbortSignal;
  readonly #destinations: Destinations;
  #state: SimulatedAccount;
  #faults: Faults;
  #pipeline: Pipeline;
  #requests = new RequestCounts();

  constructor({ clock, seed, faults, destinations, ...switches }: SimulationOptions, stopping: AbortSignal) {
    this.clock = clock;
    this.switches = { ...defaultSwitches, ...switches };
    this.#seed = seed;
    this.#stopping = stopping;
    this.#destinations = new Destinations(destinations);
    this.#state = this.#newState();
    this.#faults = this.#newFaults();
    this.#pipeline = new Pipeline(this.#state, this.#faults, stopping);
    this.setFaults(faults ?? {});
  }

  /** Forgets every object, usage, events, idempotency keys, counts and faults. Clock, switches, destinations stay. */
  reset(): void {
    this.#state = this.#newState();
    this.#faults = this.#newFaults();
    this.#pipeline = new Pipeline(this.#state, this.#faults, this.#stopping);
    this.#requests = new RequestCounts();
  }

  /** Answers one API request and counts it. */
  async respond(request: WireRequest): Promise<Outcome> {
    this.catchUp();
    const requests = this.#requests;
    const route = this.#state.router.find(request.method, request.path)?.route.name;
    const outcome = await this.#pipeline.respond(request);
    requests.add(route ?? `${request.method} (no such route)`, outcome.answer?.status ?? 0);
    return outcome;
  }

  /** Replaces the plan of random faults; `{}` switches them off. */
  setFaults(plan: FaultPlan): void {
    this.#faults.setPlan(plan);
  }

  /** Lets the next request (or `times` requests, or those of one route) fail in this way. */
  failNext(kind: FaultKind, script: ScriptedFault = {}): void {
    this.#faults.failNext(kind, script);
  }

  /** Switches off random and scripted faults. */
  clearFaults(): void {
    this.#faults.clear();
  }

  /** What was received and not cancelled or rejected, whether or not the summaries show it yet; `'0'` for nothing. */
  countedTotal(query: UsageQuery): string {
    return this.#total(query, 'received');
  }

  /** What the event summaries show at this moment. */
  visibleTotal(query: UsageQuery): string {
    return this.#total(query, 'visible');
  }

  /** Every (customer, meter) pair that ever sent usage, with all that counts. */
  totals(): UsageFigure[] {
    const view: UsageView = { kind: 'received', atMs: this.clock.now() };
    return this.#state.usage.pairs().map((pair) => ({
      customer: pair.customer,
      meterId: pair.meter.id,
      eventName: pair.meter.event_name,
      total: this.#aggregate(pair, everything, view),
      events: pair.usage.total(everything, view).count,
    }));
  }

  /** Every meter event that was taken in, in the order of receipt (also those cancelled or rejected later). */
  meterEvents(): ReceivedMeterEvent[] {
    return [...this.#state.usage.received()];
  }

  /** How many meter events were taken in. */
  get meterEventCount(): number {
    return this.#state.usage.length;
  }

  /** Meter events answered 200 and then not counted. */
  get asyncRejections(): readonly AsyncRejection[] {
    return this.#state.errorReports.rejections;
  }

  /** Requests by route (as in the route table), with the statuses answered. */
  requests(): Record<string, RequestCount> {
    return this.#requests.toJSON();
  }

  /** Registers a webhook endpoint on this machine. @throws RangeError for any other host, or an empty secret. */
  addDestination(options: DestinationOptions): Destination {
    return this.#destinations.add(options);
  }

  /** Whether there was a destination of this id, which is now gone. */
  removeDestination(id: string): boolean {
    return this.#destinations.remove(id);
  }

  /** The registered webhook endpoints. */
  destinations(): Destination[] {
    return this.#destinations.list();
  }

  /** Every snapshot event so far, oldest first. */
  events(): SnapshotEvent[] {
    this.catchUp();
    return this.#state.events.all();
  }

  /** Every thin event so far, as it would be fetched, oldest first. */
  thinEvents(): ThinEvent[] {
    this.catchUp();
    return this.#state.thinEvents.all();
  }

  /** Every subscription as the API shows it, oldest first, cancelled ones too. */
  subscriptions(): Subscription[] {
    this.catchUp();
    return structuredClone(this.#state.billing.subscriptions.all());
  }

  /** Every invoice as the API shows it, oldest first, with its first ten lines. */
  invoices(): Invoice[] {
    this.catchUp();
    return structuredClone(this.#state.billing.invoices.all());
  }

  /** Does what has become due by the clock: reports, period ends, finalisations, payments. Sends nothing. */
  catchUp(): void {
    this.#state.account.agenda.runUntil(this.clock.now());
  }

  /** Makes every webhook attempt that is due by the clock, in turn, and gives what came of each. */
  deliverDue(): Promise<DeliveryAttempt[]> {
    this.catchUp();
    return this.#state.deliveries.deliverDue();
  }

  /** The same without waiting for the pauses between retries: until every event is taken or given up. */
  settleDeliveries(): Promise<DeliveryAttempt[]> {
    this.catchUp();
    return this.#state.deliveries.settle();
  }

  /** Every webhook attempt so far. */
  deliveries(): readonly DeliveryAttempt[] {
    return this.#state.deliveries.log();
  }

  /** Queues an event, snapshot or thin, once more for whoever listens, as a person does from the Dashboard. */
  resend(eventId: string): void {
    const event = this.#state.events.outgoing(eventId) ?? this.#state.thinEvents.outgoing(eventId);
    if (event === undefined) throw new RangeError(`the simulator has no event ${eventId}`);
    this.#state.deliveries.resend(event);
  }

  /**
   * Makes an event of this type: `invoice.*` or `customer.subscription.*` of the latest such object as it is, or one of
   * the two reports of rejected usage. @throws RangeError for another type, or where there is no object.
   */
  trigger(type: string): void {
    this.catchUp();
    trigger(this.#state, type);
  }

  /** When something happens next by itself, webhook attempts included: UTC milliseconds, `undefined` for never. */
  nextDueAt(): number | undefined {
    const instants = [this.#state.account.agenda.nextAt(), this.#state.deliveries.nextAt()];
    const due = instants.filter((instant) => instant !== undefined);
    return due.length === 0 ? undefined : Math.min(...due);
  }

  /**
   * Moves the clock to `toMs` with a stop at every instant at which something is due, so that webhooks are answered and
   * usage is sent in between as on a calendar. `afterStop` is awaited at each stop.
   * @throws RangeError where `toMs` lies ahead and the clock is not one that can be moved.
   */
  async advanceTo(toMs: number, afterStop?: (instantMs: number) => Promise<void> | void): Promise<void> {
    for (let due = this.nextDueAt(); due !== undefined && due <= toMs; due = this.nextDueAt()) {
      moveClock(this.clock, due);
      await this.deliverDue();
      await afterStop?.(this.clock.now());
    }
    moveClock(this.clock, toMs);
    this.catchUp();
  }

  #total({ customer, meter, fromSeconds, toSeconds }: UsageQuery, kind: UsageView['kind']): string {
    const known = this.#state.meters.find(meter);
    if (known === undefined) throw new RangeError(`the simulator has no meter ${meter}`);
    const pair = this.#state.usage.pair(customer, known);
    if (pair === undefined) return zero.toFixed();
    const range = { from: fromSeconds ?? everything.from, to: toSeconds ?? everything.to };
    return this.#aggregate(pair, range, { kind, atMs: this.clock.now() });
  }

  #aggregate(pair: UsagePair, range: UsageRange, view: UsageView): string {
    return (this.#state.usage.aggregate(pair, range, view) ?? zero).toFixed();
  }

  #newState(): SimulatedAccount {
    const { clock, switches } = this;
    const account = { clock, switches, random: new SeededRandom(this.#seed), agenda: new Agenda() };
    return new SimulatedAccount({
      account,
      destinations: this.#destinations,
      seed: this.#seed,
      stopping: this.#stopping,
    });
  }

  #newFaults(): Faults {
    return new Faults(new SeededRandom(this.#seed ^ faultSeedMask), this.#state.router.names());
  }
}
