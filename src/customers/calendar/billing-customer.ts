import { HOUR_MS } from '../../platform/durations.ts';
import { type BillingCalendar, CALENDAR_MONTH, eraCalendars, type Period, periodContaining } from './period.ts';
import type { Meter } from '../../meters/meter.ts';
import { type EpochHour, epochHourOf, type HourCuts, offsetInHour, wholeHour, windowsOfHour } from './window.ts';

/**
 * One revision of a customer's billing calendar. Revision 0 is the calendar month; each change of what splits the
 * customer's hours appends one. The revision that a row was derived under is its `layout`.
 *
 * `calendar` decides the periods of running figures. `also` and `splitsMs` only split hours: so usage can be told apart
 * at the boundaries of every subscription of the customer.
 */
export interface CalendarRevision extends HourCuts {
  readonly layout: number;
}

/** What derivation and planning need to know of a customer. */
export interface BillingCustomer {
  readonly customerId: string;
  readonly stripeCustomerId?: string;
  /** Its id is Stripe's own, and this customer is mapped to it. */
  readonly mappedElsewhere?: string;
  /** Usage before this instant is never planned. */
  readonly submitFromMs?: number;
  /** Oldest first; the last one is in force. Never empty. */
  readonly calendars: readonly CalendarRevision[];
}

/** The revision that every customer begins with. */
export const CALENDAR_MONTH_REVISION: CalendarRevision = { layout: 0, calendar: CALENDAR_MONTH };

/**
 * A customer nobody has told us about: calendar months, and mapped only if the id is Stripe's own.
 * @param takenBy the customer that is mapped to that id of Stripe's.
 */
export function unknownCustomer(customerId: string, takenBy?: string): BillingCustomer {
  return {
    customerId,
    calendars: [CALENDAR_MONTH_REVISION],
    ...(isStripeCustomerId(customerId) &&
      (takenBy === undefined ? { stripeCustomerId: customerId } : { mappedElsewhere: takenBy })),
  };
}

/** Whether a customer id is one of Stripe's, which then maps to itself. */
export function isStripeCustomerId(customerId: string): boolean {
  return /^cus_[A-Za-z0-9]+$/.test(customerId);
}

/** The calendar in force. */
export function currentCalendar(customer: BillingCustomer): CalendarRevision {
  return customer.calendars.at(-1) ?? CALENDAR_MONTH_REVISION;
}

/** The customer's billing period at an instant. */
export function billingPeriodOf(customer: BillingCustomer, instantMs: number): Period {
  return periodContaining(currentCalendar(customer).calendar, instantMs);
}

/**
 * Windows of an hour whose rows an earlier calendar may have left with other usage in them. They are written as empty
 * rows of the present layout: those that no longer exist, so that a slow run under the old calendar cannot leave usage
 * in them; and those that begin as before but end differently, because a window that now holds no facts is not derived.
 * (An empty row never replaces one of the same layout that counted facts.)
 */
export function formerWindowsOfHour(customer: BillingCustomer, hour: EpochHour): Period[] {
  const present = new Map(windowsOfHour(currentCalendar(customer), hour).map((window) => [window.fromMs, window]));
  const former = new Map<number, Period>();
  for (const revision of customer.calendars.slice(0, -1)) {
    for (const window of windowsOfHour(revision, hour)) {
      const successor = present.get(window.fromMs);
      if (successor?.toMs !== window.toMs) former.set(window.fromMs, successor ?? window);
    }
  }
  return [...former.values()];
}

/**
 * What became of the periods that earlier calendars had around an hour: `former` begin where no present one does, and
 * `relaid` are the present ones that begin where they did, and may end elsewhere.
 */
export function earlierPeriodsOfHour(
  customer: BillingCustomer,
  hour: EpochHour,
): { readonly former: Period[]; readonly relaid: Period[] } {
  const former = new Map<number, Period>();
  const relaid = new Map<number, Period>();
  for (const { calendar } of customer.calendars.slice(0, -1)) {
    // A period may lie within one hour: between an anchor and where a subscription begins.
    for (const { fromMs } of windowsOfHour({ calendar }, hour)) {
      const earlier = periodContaining(calendar, fromMs);
      const present = billingPeriodOf(customer, earlier.fromMs);
      if (present.fromMs === earlier.fromMs) relaid.set(present.fromMs, present);
      else former.set(earlier.fromMs, earlier);
    }
  }
  return { former: [...former.values()], relaid: [...relaid.values()] };
}

function splitsHours(calendar: BillingCalendar): boolean {
  return eraCalendars(calendar).some(
    ({ anchorMs, sinceMs = 0 }) => offsetInHour(anchorMs) > 0 || offsetInHour(sinceMs) > 0,
  );
}

/** The hours at or in a period that some calendar of the customer, earlier or present, splits into windows. */
export function reshapedHours(customer: BillingCustomer, period: Period): Period[] {
  if (customer.calendars.length < 2) return [];
  const hours = new Set<EpochHour>();
  for (const { calendar, also = [], splitsMs = [] } of customer.calendars) {
    for (const each of [calendar, ...also].filter(splitsHours)) {
      let { fromMs } = periodContaining(each, period.fromMs);
      while (fromMs < period.toMs + HOUR_MS) {
        if (offsetInHour(fromMs) > 0) hours.add(epochHourOf(fromMs));
        fromMs = periodContaining(each, fromMs).toMs;
      }
    }
    for (const splitMs of splitsMs) {
      const isNear = splitMs >= period.fromMs - HOUR_MS && splitMs < period.toMs + HOUR_MS;
      if (isNear && offsetInHour(splitMs) > 0) hours.add(epochHourOf(splitMs));
    }
  }
  return [...hours].map(wholeHour);
}

/** Until when a meter counts usage: for ever, unless it was archived. UTC milliseconds. */
export function countsToMs(meter: Pick<Meter, 'archivedFromMs'>): number {
  return meter.archivedFromMs ?? Number.POSITIVE_INFINITY;
}

/**
 * From when a meter counts a customer's usage: its `effectiveFrom`, or the start of the period it was created in; the
 * earliest such start when the customer's calendar changed, so that what was counted once stays counted.
 */
export function countsFromMs(meter: Meter, customer: BillingCustomer): number {
  if (meter.effectiveFromMs !== undefined) return meter.effectiveFromMs;
  return Math.min(...customer.calendars.map(({ calendar }) => periodContaining(calendar, meter.createdAtMs).fromMs));
}
