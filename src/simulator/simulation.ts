import type { Clock } from '../clock.ts';
import { Faults } from './faults.ts';
import type { FaultKind, FaultPlan, ScriptedFault } from './faults.ts';
import { zero } from './decimal.ts';
import type { AsyncRejection } from './meter-events.ts';
import { Pipeline } from './pipeline.ts';
import type { Outcome, WireRequest } from './pipeline.ts';
import { SeededRandom } from './random.ts';
import { RequestCounts } from './request-counts.ts';
import type { RequestCount } from './request-counts.ts';
import { SimulatedAccount } from './simulated-account.ts';
import { defaultSwitches } from './switches.ts';
import type { Switches } from './switches.ts';
import type { ReceivedMeterEvent, UsagePair } from './usage.ts';
import type { UsageRange, UsageView } from './usage-series.ts';

/** What a simulation starts with; every switch may stand here too. */
export interface SimulationOptions extends Partial<Switches> {
  clock: Clock;
  /** Same seed, same faults and ids. */
  seed: number;
  faults?: FaultPlan;
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
  #state: SimulatedAccount;
  #faults: Faults;
  #pipeline: Pipeline;
  #requests = new RequestCounts();

  constructor({ clock, seed, faults, ...switches }: SimulationOptions, stopping: AbortSignal) {
    this.clock = clock;
    this.switches = { ...defaultSwitches, ...switches };
    this.#seed = seed;
    this.#stopping = stopping;
    this.#state = this.#newState();
    this.#faults = this.#newFaults();
    this.#pipeline = new Pipeline(this.#state, this.#faults, stopping);
    this.setFaults(faults ?? {});
  }

  /** Forgets customers, meters, usage, idempotency keys, counts and faults. Clock and switches stay. */
  reset(): void {
    this.#state = this.#newState();
    this.#faults = this.#newFaults();
    this.#pipeline = new Pipeline(this.#state, this.#faults, this.#stopping);
    this.#requests = new RequestCounts();
  }

  /** Answers one API request and counts it. */
  async respond(request: WireRequest): Promise<Outcome> {
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
    return this.#state.asyncRejections;
  }

  /** Requests by route (as in the route table), with the statuses answered. */
  requests(): Record<string, RequestCount> {
    return this.#requests.toJSON();
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
    return new SimulatedAccount({ clock, switches, random: new SeededRandom(this.#seed) });
  }

  #newFaults(): Faults {
    return new Faults(new SeededRandom(this.#seed ^ faultSeedMask), this.#state.router.names());
  }
}
