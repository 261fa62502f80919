import type { BillingCustomer } from '../customers/calendar/billing-customer.ts';
import { type DerivationStep, planDerivation } from '../aggregation/derivation-plan.ts';
import type { Meter } from '../meters/meter.ts';
import { type EpochHour, epochHourOf, type CustomerHour } from '../customers/calendar/window.ts';
import type { Pair } from './pair.ts';

/** A row whose stored figure is not what raw facts come to. */
export interface RowDifference {
  readonly customerId: string;
  readonly meter: string;
  readonly hour: EpochHour;
  readonly stored: { readonly quantity: string; readonly eventCount: number };
  readonly raw: { readonly quantity: string; readonly eventCount: number };
}

export interface AggregateCheck {
  /** Customer-hours derived afresh. */
  readonly checked: number;
  /** Customer-hours written to the journal, to be derived again. */
  readonly requeued: number;
  /** Rows that counted more facts than raw holds: facts were lost or erased, and a person decides. */
  readonly person: readonly RowDifference[];
}

export interface CheckAggregatesDeps {
  /** The customer-hours of one customer that hold raw facts, from an hour on, in batches. */
  rawHours(customerId: string, fromHour: EpochHour): AsyncGenerator<CustomerHour[]>;
  /** The hours of a customer that wait to be derived: they are expected to differ. */
  waitingHours(customerId: string, fromHour: EpochHour): Promise<Set<EpochHour>>;
  /** Derives a step afresh and returns the rows that are stored otherwise. */
  compareStep(step: DerivationStep): Promise<RowDifference[]>;
  /** Customer-hours whose stored rows have facts, from an hour on: those without raw facts have lost them. */
  storedHours(customerId: string, meters: readonly string[], fromHour: EpochHour): Promise<RowDifference[]>;
  requeue(pairs: readonly CustomerHour[]): Promise<void>;
}

/** Differences for a person that a run keeps. */
const PERSON_MAX = 100;

/**
 * Derives every customer-hour of the compared periods afresh and holds it against the stored row. What differs is
 * queued to be derived again; a row that counted more facts than there are is left for a person.
 */
export async function checkAggregates(
  deps: CheckAggregatesDeps,
  input: { pairs: readonly Pair[]; apply: boolean },
): Promise<AggregateCheck> {
  const total = { checked: 0, requeued: 0, person: [] as RowDifference[] };
  for (const { customer, fromMs, meters } of customersOf(input.pairs)) {
    const found = await checkCustomer(deps, customer, { fromHour: epochHourOf(fromMs), meters });
    total.checked += found.checked;
    const person = found.differences.filter(({ stored, raw }) => stored.eventCount > raw.eventCount);
    total.person.push(...person.slice(0, PERSON_MAX - total.person.length));
    const requeue = found.differences.filter(({ stored, raw }) => stored.eventCount <= raw.eventCount);
    const hours = [...new Set(requeue.map(({ hour }) => hour))];
    if (input.apply) await deps.requeue(hours.map((hour) => ({ customerId: customer.customerId, hour })));
    total.requeued += hours.length;
  }
  return total;
}

async function checkCustomer(
  deps: CheckAggregatesDeps,
  customer: BillingCustomer,
  range: { fromHour: EpochHour; meters: readonly Meter[] },
): Promise<{ checked: number; differences: RowDifference[] }> {
  const { customerId } = customer;
  // Before deriving: an event that arrives meanwhile has its journal entry by then, and shows up as waiting below.
  const differences: RowDifference[] = [];
  const seen = new Set<EpochHour>();
  for await (const hours of deps.rawHours(customerId, range.fromHour)) {
    for (const { hour } of hours) seen.add(hour);
    const plan = planDerivation(hours, new Map([[customerId, customer]]), range.meters);
    for (const step of plan.steps) differences.push(...(await compareTwice(deps, step)));
  }
  const stored = await deps.storedHours(
    customerId,
    range.meters.map(({ key }) => key),
    range.fromHour,
  );
  differences.push(...stored.filter(({ hour }) => !seen.has(hour)));
  if (differences.length === 0) return { checked: seen.size, differences };
  const waiting = await deps.waitingHours(customerId, range.fromHour);
  return { checked: seen.size, differences: differences.filter(({ hour }) => !waiting.has(hour)) };
}

/** A run that merges between the two reads of a comparison makes them differ: only what differs twice counts. */
async function compareTwice(deps: CheckAggregatesDeps, step: DerivationStep): Promise<RowDifference[]> {
  if ((await deps.compareStep(step)).length === 0) return [];
  return deps.compareStep(step);
}

function customersOf(pairs: readonly Pair[]): { customer: BillingCustomer; fromMs: number; meters: Meter[] }[] {
  const customers = new Map<string, { customer: BillingCustomer; fromMs: number; meters: Map<string, Meter> }>();
  for (const { customer, fromMs, meter } of pairs) {
    const known = customers.get(customer.customerId);
    if (known === undefined) {
      customers.set(customer.customerId, { customer, fromMs, meters: new Map([[meter.key, meter]]) });
    } else {
      known.fromMs = Math.min(known.fromMs, fromMs);
      known.meters.set(meter.key, meter);
    }
  }
  return [...customers.values()].map(({ meters, ...rest }) => ({ ...rest, meters: [...meters.values()] }));
}
