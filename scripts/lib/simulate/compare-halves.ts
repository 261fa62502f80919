import { type BillingCustomer, billingPeriodOf } from '../../../src/customers/calendar/billing-customer.ts';
import type { Period } from '../../../src/customers/calendar/period.ts';
import { addQuantities, equalQuantities, type Quantity } from '../../../src/platform/quantity.ts';
import { CountedEvents, latestFigure } from './counted-events.ts';
import type { FigureScope } from './facts.ts';
import type { Ledger } from './ledger.ts';
import type { Week } from './week.ts';
import type { World } from './world.ts';

/**
 * Lays the two halves side by side, in each billing period of each customer. Returns what does not match: usage has to
 * be at Stripe, or on a visible list, once.
 */
export async function compareHalves(world: World, week: Week, ledger: Ledger): Promise<string[]> {
  const customers = await world.parts.stores.customers.billingOf(week.customers);
  const sides = { week, ledger, counted: new CountedEvents(world) };
  return [...customers.values()].flatMap((customer) =>
    week.meters.flatMap((meter) => compareMeter(customer, { customerId: customer.customerId, meter }, sides)),
  );
}

interface Sides {
  readonly week: Week;
  readonly ledger: Ledger;
  readonly counted: CountedEvents;
}

function compareMeter(customer: BillingCustomer, scope: FigureScope, sides: Sides): string[] {
  const { week, ledger } = sides;
  const name = `${scope.customerId} ${scope.meter.key}`;
  const differences: string[] = [];
  const periods = periodsOf(customer, [...week.facts.instantsOf(scope.customerId), ...ledger.stampsOf(scope)]);
  const raws = periods.map((period) => week.facts.figureIn(scope, period));
  const [raw, local] = [addQuantities('0', ...raws), ledger.aggregated(scope)];
  if (!equalQuantities(raw, local)) differences.push(`${name}: raw ${raw}, aggregates ${local}`);
  const compare = scope.meter.formula === 'sum' ? compareSum : compareFigure;
  for (const [index, period] of periods.entries()) {
    const at = { scope, period, raw: raws[index] ?? '0', stripeCustomerId: customer.stripeCustomerId ?? '' };
    const difference = compare(at, sides);
    if (difference !== undefined) differences.push(`${name} ${toText(period)}: ${difference}`);
  }
  return differences;
}

interface ComparedPeriod {
  readonly scope: FigureScope;
  readonly stripeCustomerId: string;
  readonly period: Period;
  readonly raw: Quantity;
}

function compareSum({ scope, period, raw, stripeCustomerId }: ComparedPeriod, sides: Sides): string | undefined {
  const stripe = sides.counted.sumIn({ customer: stripeCustomerId, meter: scope.meter.key }, period);
  const { moved, undelivered, visible } = sides.ledger.stampedIn(scope, period);
  if (equalQuantities(addQuantities(raw, moved), addQuantities(stripe, undelivered, visible))) return undefined;
  return `raw ${raw}, late from elsewhere ${moved}, Stripe ${stripe}, late ${undelivered}, on other lists ${visible}`;
}

/** Where Stripe keeps the last value, the latest figure is all that counts: at Stripe, or on a list. */
function compareFigure({ scope, period, raw, stripeCustomerId }: ComparedPeriod, sides: Sides): string | undefined {
  const stripe = sides.counted.figuresIn({ customer: stripeCustomerId, meter: scope.meter.key }, period);
  const listed = sides.ledger.listedIn(scope, period, ({ reason }) => reason !== 'accepted_after_finalization');
  const latest = latestFigure([...stripe, ...listed]);
  if (equalQuantities(raw, latest)) return undefined;
  return `raw ${raw}, the latest figure ${latest}, at Stripe ${latestFigure(stripe)}`;
}

/** The billing periods that hold these instants, oldest first. */
function periodsOf(customer: BillingCustomer, instants: readonly number[]): Period[] {
  const periods = instants.map((instantMs) => billingPeriodOf(customer, instantMs));
  const byStart = new Map(periods.map((period) => [period.fromMs, period]));
  return [...byStart.values()].sort((a, b) => a.fromMs - b.fromMs);
}

/** A period, to be read. */
export function toText({ fromMs, toMs }: Period): string {
  return `[${new Date(fromMs).toISOString()}, ${new Date(toMs).toISOString()})`;
}
