import { billingPeriodOf, type BillingCustomer } from '../../../src/customers/calendar/billing-customer.ts';
import { isAdditive } from '../../../src/meters/meter.ts';
import type { Period } from '../../../src/customers/calendar/period.ts';
import {
  addQuantities,
  canonicalQuantity,
  compareQuantities,
  equalQuantities,
  type Quantity,
  subtractQuantities,
} from '../../../src/platform/quantity.ts';
import { type EpochHour, epochHourOf } from '../../../src/customers/calendar/window.ts';
import type { Invoice, InvoiceLine } from '../../../packages/stripe-double/src/billing/invoice-object.ts';
import { toText } from './compare-halves.ts';
import { CountedEvents, latestFigure } from './counted-events.ts';
import type { FigureScope } from './facts.ts';
import type { Ledger } from './ledger.ts';
import type { Week } from './week.ts';
import type { World } from './world.ts';

const FINAL_STATUSES: readonly string[] = ['open', 'paid', 'uncollectible'];
/** Stripe states instants in whole seconds. */
const SECOND_MS = 1000;

/**
 * Compares each line of each final invoice with what was used in its period. What is not on it has to be on a list: late,
 * taken by Stripe after the invoice was final, or waiting.
 */
export async function compareInvoices(world: World, week: Week, ledger: Ledger): Promise<string[]> {
  const customers = await world.parts.stores.customers.billingOf(week.customers);
  const sides = { week, ledger, counted: new CountedEvents(world) };
  const differences: string[] = [];
  for (const invoice of world.simulator.invoices()) {
    const customer = [...customers.values()].find(({ stripeCustomerId }) => stripeCustomerId === invoice.customer);
    if (customer === undefined || !FINAL_STATUSES.includes(invoice.status ?? '')) continue;
    for (const line of invoice.lines.data) {
      const difference = compareLine({ invoice, line, customer }, sides);
      if (difference !== undefined) differences.push(difference);
    }
  }
  return differences;
}

interface Sides {
  readonly week: Week;
  readonly ledger: Ledger;
  readonly counted: CountedEvents;
}

/** A line of a period that the invoice closed. */
interface FinalLine {
  readonly scope: FigureScope;
  readonly stripeCustomerId: string;
  readonly period: Period;
  readonly billed: Quantity;
  /** UTC milliseconds. */
  readonly finalAtMs: number;
}

function compareLine(
  { invoice, line, customer }: { invoice: Invoice; line: InvoiceLine; customer: BillingCustomer },
  sides: Sides,
): string | undefined {
  const price = line.pricing.price_details?.price;
  const meter = sides.week.meterOfPrice(typeof price === 'string' ? price : '');
  const finalAt = invoice.status_transitions.finalized_at ?? 0;
  if (meter === undefined || line.period.end > finalAt) return undefined;
  const scope: FigureScope = { customerId: customer.customerId, meter };
  const period = { fromMs: line.period.start * 1000, toMs: line.period.end * 1000 };
  if (!isAdditive(meter.aggregation) && !isBillingPeriod(customer, period)) return undefined;
  const billed = canonicalQuantity(line.quantity_decimal);
  const final = { scope, period, billed, stripeCustomerId: invoice.customer, finalAtMs: finalAt * 1000 };
  const difference = meter.formula === 'sum' ? compareSum(final, sides) : compareFigure(final, sides);
  if (difference === undefined) return undefined;
  const name = `${invoice.id} (${invoice.billing_reason ?? ''}) of ${scope.customerId}, ${meter.key} ${toText(period)}`;
  return `${name}: billed ${billed}, ${difference}`;
}

function compareSum(final: FinalLine, { week, ledger, counted }: Sides): string | undefined {
  const { scope, period, billed, finalAtMs } = final;
  const { moved, undelivered, visible } = ledger.stampedIn(scope, period);
  const afterFinal = ledger
    .lateIn(scope, period)
    .filter(({ reason }) => reason === 'accepted_after_finalization')
    .map(({ identifier, timestamp, quantity }) => {
      const receivedAtMs = counted.receivedAtMs(identifier);
      // Where another of the same hour was counted in its place, no total tells; where none was, the drift is listed.
      const isAfter =
        receivedAtMs === undefined ? !ledger.hasDriftAt(scope, timestamp) : receivedAtMs >= finalAtMs + SECOND_MS;
      const isPerhaps = receivedAtMs !== undefined && receivedAtMs >= finalAtMs && !isAfter;
      const order = counted.orderOf(identifier);
      const hour = epochHourOf(timestamp.getTime());
      return {
        isAfter,
        isPerhaps,
        isLost: receivedAtMs === undefined,
        order,
        hour,
        quantity: canonicalQuantity(quantity.toString()),
      };
    });
  const used = addQuantities(week.facts.figureIn(scope, period), moved);
  // Counted after all, too late for the invoice, in place of an equal one that was lost: the line shows it, no total does.
  const mistaken = withoutEquals(
    ledger.missedIn(scope, period).filter(({ identifier }) => (counted.receivedAtMs(identifier) ?? 0) >= finalAtMs),
    // The lost one is on the list itself.
    afterFinal.filter(({ isAfter, isLost }) => isAfter && isLost),
  );
  const taken = [...afterFinal.filter(({ isAfter }) => isAfter), ...mistaken];
  const unbilled = addQuantities(undelivered, visible, ...quantitiesOf(taken));
  // Within the second in which the invoice became final, what came first is on it.
  const lastSecond = afterFinal.filter(({ isPerhaps }) => isPerhaps).sort((a, b) => a.order - b.order);
  const perhaps = remainders(quantitiesOf(lastSecond));
  const isBilled = perhaps.some((more) =>
    equalQuantities(billed, atLeastZero(subtractQuantities(used, addQuantities(unbilled, more)))),
  );
  return isBilled ? undefined : `used ${used}, late or waiting ${unbilled}, perhaps more: ${perhaps[0]}`;
}

interface OfHour {
  readonly hour: EpochHour;
  readonly quantity: Quantity;
}

/** Those that are left when each of the others takes away one of the same hour and quantity. */
function withoutEquals(those: readonly OfHour[], others: readonly OfHour[]): OfHour[] {
  const left = [...those];
  for (const { hour, quantity } of others) {
    const equal = left.findIndex((one) => one.hour === hour && equalQuantities(one.quantity, quantity));
    if (equal >= 0) left.splice(equal, 1);
  }
  return left;
}

function quantitiesOf(entries: readonly { readonly quantity: Quantity }[]): Quantity[] {
  return entries.map(({ quantity }) => quantity);
}

/** What is left of these after some of the first; all of them first. */
function remainders(quantities: readonly Quantity[]): Quantity[] {
  return [...quantities.keys(), quantities.length].map((from) => addQuantities('0', ...quantities.slice(from)));
}

/** Where Stripe keeps the last value, the latest figure is billed or listed. */
function compareFigure({ scope, period, finalAtMs, stripeCustomerId }: FinalLine, sides: Sides): string | undefined {
  const of = { customer: stripeCustomerId, meter: scope.meter.key };
  const onInvoice = sides.counted.figuresIn(of, period, finalAtMs);
  const latest = latestFigure([...onInvoice, ...sides.ledger.listedIn(scope, period, () => true)]);
  const used = sides.week.facts.figureIn(scope, period);
  return equalQuantities(used, latest) ? undefined : `used ${used}, the latest figure billed or listed ${latest}`;
}

/** A running figure exists for the customer's billing periods alone. */
function isBillingPeriod(customer: BillingCustomer, { fromMs, toMs }: Period): boolean {
  const own = billingPeriodOf(customer, fromMs);
  return own.fromMs === fromMs && own.toMs === toMs;
}

/** A usage total below zero is billed as zero (Stripe docs, Record usage). */
function atLeastZero(quantity: Quantity): Quantity {
  return compareQuantities(quantity, '0') < 0 ? '0' : quantity;
}
