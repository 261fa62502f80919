import type { Clock } from '../../platform/clock.ts';
import type { BillingCustomer } from '../../customers/calendar/billing-customer.ts';
import { resolveDestination } from './destination.ts';
import type { Meter } from '../../meters/meter.ts';
import type { OutboxEntry } from '../outbox-entry.ts';
import type { DestinationMeter } from '../../meters/stripe-meter.ts';

export interface DestinationsDeps {
  meters(): Promise<Meter[]>;
  stripeMeters(): Promise<DestinationMeter[]>;
  billingOf(customerIds: readonly string[]): Promise<Map<string, BillingCustomer>>;
  readonly clock: Clock;
}

/** Where a submission goes, or why it goes nowhere. */
export type Target = ReturnType<typeof resolveDestination>;

/** Tells where submissions go, by the meters and mappings as they stand. */
export class Destinations {
  readonly #deps: DestinationsDeps;
  #meters = new Map<string, Meter>();
  #stripeMeters = new Map<string, DestinationMeter>();

  constructor(deps: DestinationsDeps) {
    this.#deps = deps;
  }

  /** Reads the meters of both sides anew. */
  async refresh(): Promise<void> {
    this.#meters = new Map((await this.#deps.meters()).map((meter) => [meter.key, meter]));
    this.#stripeMeters = new Map((await this.#deps.stripeMeters()).map((meter) => [meter.eventName, meter]));
  }

  /** The target of each, by identifier. */
  async resolve(entries: readonly OutboxEntry[]): Promise<Map<string, Target>> {
    if (entries.length === 0) return new Map();
    const customers = await this.#deps.billingOf([...new Set(entries.map(({ customerId }) => customerId))]);
    return new Map(
      entries.map((entry) => [entry.identifier, this.#targetOf(entry, customers.get(entry.customerId))] as const),
    );
  }

  #targetOf(entry: OutboxEntry, customer: BillingCustomer | undefined): Target {
    if (customer === undefined) return { blocked: 'customer_not_mapped' };
    const target = resolveDestination({
      customer: isFrozen(entry) ? { ...customer, stripeCustomerId: entry.stripeCustomerId } : customer,
      meter: this.#meters.get(entry.meter),
      stripeMeters: this.#stripeMeters,
      timestampMs: entry.timestampMs,
      nowMs: this.#deps.clock.now(),
      mode: entry.mode,
    });
    if (!isFrozen(entry) || 'blocked' in target) return target;
    return target.destination.meter.id === entry.stripeMeterId ? target : { blocked: 'meter_missing' };
  }
}

/**
 * Where an attempt may have counted, its destination stays: another mapping must not send the same usage to two
 * customers.
 */
function isFrozen(entry: OutboxEntry): entry is OutboxEntry & { readonly stripeCustomerId: string } {
  return entry.firstAttemptAtMs !== undefined && entry.stripeCustomerId !== undefined;
}
