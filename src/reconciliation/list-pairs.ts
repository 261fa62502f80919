import { type BillingCustomer, billingPeriodOf, countsFromMs } from '../customers/calendar/billing-customer.ts';
import { meterFault } from '../submissions/sending/destination.ts';
import type { Meter } from '../meters/meter.ts';
import type { Period } from '../customers/calendar/period.ts';
import { DAY_MS } from '../platform/durations.ts';
import type { Pair } from './pair.ts';
import { type DestinationMeter, modeOf } from '../meters/stripe-meter.ts';

/** Periods that ended this recently are compared again: their invoices may still be drafts. */
const ENDED_PERIOD_MS_MAX = 3 * DAY_MS;
export const CUSTOMERS_PER_BATCH = 200;

export interface ListPairsDeps {
  /** Customers that have submissions. */
  customerIds(): Promise<string[]>;
  billingOf(customerIds: readonly string[]): Promise<Map<string, BillingCustomer>>;
  meters(): Promise<Meter[]>;
  stripeMeters(): Promise<DestinationMeter[]>;
}

export interface PairSelection {
  /** Bounds on the periods compared, UTC milliseconds; default: the open period and those that ended within 3 days. */
  readonly fromMs?: number;
  readonly toMs?: number;
  readonly customerId?: string;
  readonly meter?: string;
  readonly nowMs: number;
}

/** Every customer with submissions × every meter with a Stripe meter × the periods to compare. */
export async function listPairs(deps: ListPairsDeps, selection: PairSelection): Promise<Pair[]> {
  const { customerId, meter: only } = selection;
  const meters = (await deps.meters()).filter(({ key, stripe }) => stripe !== undefined && (only ?? key) === key);
  const stripeMeters = new Map((await deps.stripeMeters()).map((meter) => [meter.eventName, meter]));
  const ids = customerId === undefined ? await deps.customerIds() : [customerId];
  const pairs: Pair[] = [];
  for (let from = 0; from < ids.length; from += CUSTOMERS_PER_BATCH) {
    const customers = await deps.billingOf(ids.slice(from, from + CUSTOMERS_PER_BATCH));
    for (const customer of customers.values()) {
      for (const period of periodsOf(customer, selection)) {
        pairs.push(...meters.flatMap((meter) => pairOf({ customer, meter, period }, stripeMeters)));
      }
    }
  }
  return pairs;
}

/** None where nothing of the period is submitted. */
function pairOf(
  named: { customer: BillingCustomer; meter: Meter; period: Period },
  stripeMeters: ReadonlyMap<string, DestinationMeter>,
): Pair[] {
  const { customer, meter, period } = named;
  const fromMs = Math.max(period.fromMs, customer.submitFromMs ?? 0, countsFromMs(meter, customer));
  if (fromMs >= period.toMs) return [];
  const stripeMeter = stripeMeters.get(meter.stripe?.eventName ?? '');
  const mode = modeOf(meter, stripeMeter);
  const isFed = stripeMeter !== undefined && meterFault(stripeMeter, mode) === undefined;
  return [{ ...named, fromMs, mode, ...(isFed && { stripeMeter }) }];
}

function periodsOf(customer: BillingCustomer, { fromMs, toMs, nowMs }: PairSelection): Period[] {
  const lastMs = Math.min(toMs === undefined ? nowMs : toMs - 1, nowMs);
  const firstMs = fromMs ?? lastMs - ENDED_PERIOD_MS_MAX;
  const periods: Period[] = [];
  let period = billingPeriodOf(customer, lastMs);
  while (period.toMs > firstMs) {
    periods.unshift(period);
    period = billingPeriodOf(customer, period.fromMs - 1);
  }
  return periods;
}
