import type { Stripe } from 'stripe';
import { Exact, zero } from './decimal.ts';
import type { Account } from './route.ts';
import { UsageLog } from './usage-log.ts';
import { UsageSeries } from './usage-series.ts';
import type { UsageRange, UsageView } from './usage-series.ts';

type Meter = Stripe.Billing.Meter;

const cancelWithinMs = 24 * 60 * 60 * 1000;
const windowSeconds = { hour: 3_600, day: 86_400 };

/** A meter event as a test may ask for it. */
export interface ReceivedMeterEvent {
  identifier: string;
  idempotencyKey: string | undefined;
  customer: string;
  meterId: string;
  eventName: string;
  value: string;
  /** Unix seconds. */
  timestamp: number;
  /** UTC milliseconds. */
  receivedAt: number;
  /** `rejected`: answered 200 and then not counted. */
  outcome: 'counted' | 'cancelled' | 'rejected';
}

/** What is taken in once the endpoint has let it pass. */
export interface NewUsage {
  meter: Meter;
  customer: string;
  identifier: string;
  idempotencyKey: string | undefined;
  value: string;
  timestamp: number;
  extraPayload: ReadonlyMap<string, string> | undefined;
  rejected: boolean;
}

/** A (customer, meter) pair that has usage. */
export interface UsagePair {
  meter: Meter;
  customer: string;
  usage: UsageSeries;
}

/** Takes usage in, keeps identifiers unique for as long as Stripe promises, and adds up. */
export class Usage {
  readonly #account: Account;
  readonly #log = new UsageLog();
  readonly #pairs: UsagePair[] = [];
  readonly #pairNumbers = new Map<string, number>();
  /** Scope ('' or a meter's id) → identifier → row. */
  readonly #identifiers = new Map<string, Map<string, number>>();

  constructor(account: Account) {
    this.#account = account;
  }

  get length(): number {
    return this.#log.length;
  }

  /** The row that holds this identifier inside the horizon of uniqueness. */
  findDuplicate(meter: Meter, identifier: string): number | undefined {
    const row = this.#identifiers.get(this.#scopeOf(meter))?.get(identifier);
    if (row === undefined) return undefined;
    const { switches, clock } = this.#account;
    if (switches.identifierReuseAfterCancel && this.#log.isCancelled(row)) return undefined;
    if (switches.identifierReuseAfterRejection && this.#log.isRejected(row)) return undefined;
    return clock.now() - this.#log.receivedAt(row) < switches.identifierHorizonMs ? row : undefined;
  }

  record(usage: NewUsage): number {
    const receivedAt = this.#account.clock.now();
    const series = this.#pairNumber(usage.customer, usage.meter);
    const row = this.#log.append({
      ...usage,
      series,
      receivedAt,
      visibleAt: receivedAt + this.#lagOf(usage, receivedAt),
    });
    const scope = this.#scopeOf(usage.meter);
    const identifiers = this.#identifiers.get(scope) ?? new Map<string, number>();
    this.#identifiers.set(scope, identifiers);
    identifiers.set(this.#log.identifier(row), row);
    if (!usage.rejected) this.#pair(series).usage.add(row);
    return row;
  }

  /**
   * Cancels by identifier, which Stripe allows "within 24 hours of Stripe receiving" the event: receipt, not timestamp
   * (Stripe API, Meter event adjustments).
   */
  cancel(meter: Meter, identifier: string): 'cancelled' | 'unknown' | 'too-late' | 'already-cancelled' {
    const row = this.#identifiers.get(this.#scopeOf(meter))?.get(identifier);
    if (row === undefined || this.#pairOf(row).meter.id !== meter.id) return 'unknown';
    const now = this.#account.clock.now();
    if (now - this.#log.receivedAt(row) > cancelWithinMs) return 'too-late';
    if (this.#log.isCancelled(row)) return 'already-cancelled';
    this.#log.cancel(row, now);
    this.#pairOf(row).usage.refold(row);
    return 'cancelled';
  }

  /** The meter event of a row, as the API shows it. */
  meterEvent(row: number): Stripe.Billing.MeterEvent {
    const { identifier, value, timestamp, receivedAt, extraPayload } = this.#log.read(row);
    const { meter, customer } = this.#pairOf(row);
    return {
      object: 'billing.meter_event',
      created: Math.floor(receivedAt / 1000),
      event_name: meter.event_name,
      identifier,
      livemode: false,
      payload: {
        [meter.customer_mapping.event_payload_key]: customer,
        [meter.value_settings.event_payload_key]: value,
        ...Object.fromEntries(extraPayload ?? []),
      },
      timestamp,
    };
  }

  /** Every meter event received, in that order. */
  *received(): Generator<ReceivedMeterEvent> {
    for (let row = 0; row < this.#log.length; row += 1) {
      const { identifier, idempotencyKey, value, timestamp, receivedAt, rejected } = this.#log.read(row);
      const { meter, customer } = this.#pairOf(row);
      const outcome = rejected ? 'rejected' : this.#log.isCancelled(row) ? 'cancelled' : 'counted';
      const { id: meterId, event_name: eventName } = meter;
      yield { identifier, idempotencyKey, customer, meterId, eventName, value, timestamp, receivedAt, outcome };
    }
  }

  pairs(): readonly UsagePair[] {
    return this.#pairs;
  }

  pair(customer: string, meter: Meter): UsagePair | undefined {
    const number = this.#pairNumbers.get(pairKey(customer, meter));
    return number === undefined ? undefined : this.#pairs[number];
  }

  /** The figure of a range by the meter's formula, or `undefined` where no event counts. */
  aggregate(pair: UsagePair, range: UsageRange, view: UsageView): Exact | undefined {
    const formula = pair.meter.default_aggregation.formula;
    const window = pair.meter.event_time_window;
    if (formula === 'last') {
      const latest = pair.usage.latest(range, view);
      return latest === undefined ? undefined : this.#log.value(latest);
    }
    const total = window === 'hour' || window === 'day' ? this.#overwritten(pair, range, view) : undefined;
    const { sum, count } = total ?? pair.usage.total(range, view);
    if (count === 0) return undefined;
    return formula === 'count' ? new Exact(count) : sum;
  }

  /**
   * On a meter with an event time window only the event received last in each UTC hour or day counts, by the event's
   * timestamp (Stripe docs, Configure meters). It counts where its own timestamp lies.
   */
  #overwritten(pair: UsagePair, range: UsageRange, view: UsageView): { sum: Exact; count: number } {
    const seconds = pair.meter.event_time_window === 'day' ? windowSeconds.day : windowSeconds.hour;
    const whole = { from: Math.floor(range.from / seconds) * seconds, to: Math.ceil(range.to / seconds) * seconds };
    const winners = new Map<number, number>();
    for (const row of pair.usage.rows(whole, view)) {
      const window = Math.floor(this.#log.timestamp(row) / seconds);
      winners.set(window, Math.max(row, winners.get(window) ?? row));
    }
    let sum = zero;
    let count = 0;
    for (const row of winners.values()) {
      const timestamp = this.#log.timestamp(row);
      if (timestamp < range.from || timestamp >= range.to) continue;
      sum = sum.plus(this.#log.value(row));
      count += 1;
    }
    return { sum, count };
  }

  #lagOf(usage: NewUsage, receivedAt: number): number {
    const lag = this.#account.switches.summaryLagMs;
    if (typeof lag === 'number') return lag;
    const { customer, identifier, timestamp, meter } = usage;
    return lag({ customer, identifier, timestamp, receivedAt, meterId: meter.id });
  }

  #scopeOf(meter: Meter): string {
    return this.#account.switches.identifierScope === 'meter' ? meter.id : '';
  }

  #pairNumber(customer: string, meter: Meter): number {
    const key = pairKey(customer, meter);
    const present = this.#pairNumbers.get(key);
    if (present !== undefined) return present;
    this.#pairNumbers.set(key, this.#pairs.length);
    return this.#pairs.push({ meter, customer, usage: new UsageSeries(this.#log) }) - 1;
  }

  #pairOf(row: number): UsagePair {
    return this.#pair(this.#log.series(row));
  }

  #pair(number: number): UsagePair {
    const pair = this.#pairs[number];
    if (pair === undefined) throw new RangeError(`no pair of customer and meter ${number}`);
    return pair;
  }
}

function pairKey(customer: string, meter: Meter): string {
  return `${customer}\u0000${meter.id}`;
}
