import { type BillingCalendar, type BillingInterval, CALENDAR_MONTH, type Period, periodContaining } from './period.ts';
import type { Meter } from './meter.ts';
import { type EpochHour, windowsOfHour } from './window.ts';

/**
 * One revision of a customer's billing calendar. Revision 0 is the calendar month; each change of the anchor or
 * interval appends one. The revision that a row was derived under is its `layout`.
 */
export interface CalendarRevision {
  readonly layout: number;
  readonly calendar: BillingCalendar;
}

/** What derivation and planning need to know of a customer. */
export interface BillingCustomer {
  readonly customerId: string;
  readonly stripeCustomerId?: string;
  /** Usage before this instant is never planned. */
  readonly submitFromMs?: number;
  /** Oldest first; the last one is in force. Never empty. */
  readonly calendars: readonly CalendarRevision[];
}

const CALENDAR_MONTH_REVISION: CalendarRevision = { layout: 0, calendar: CALENDAR_MONTH };

/**
 * A customer nobody has told us about: calendar months, and mapped only if the id is Stripe's own.
 * @param isTaken whether another customer is mapped to that id of Stripe's.
 */
export function unknownCustomer(customerId: string, isTaken = false): BillingCustomer {
  return {
    customerId,
    calendars: [CALENDAR_MONTH_REVISION],
    ...(isStripeCustomerId(customerId) && !isTaken && { stripeCustomerId: customerId }),
  };
}

/** The revisions of a customer's calendar from the changes that were made to it, oldest first. */
export function calendarRevisions(
  changes: readonly { layout: number; anchorMs?: number; interval?: BillingInterval }[],
): CalendarRevision[] {
  return [
    CALENDAR_MONTH_REVISION,
    ...changes.map(({ layout, anchorMs, interval }) => ({
      layout,
      calendar: anchorMs === undefined ? CALENDAR_MONTH : { anchorMs, interval: interval ?? 'month' },
    })),
  ];
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
  const present = new Map(
    windowsOfHour(currentCalendar(customer).calendar, hour).map((window) => [window.fromMs, window]),
  );
  const former = new Map<number, Period>();
  for (const { calendar } of customer.calendars.slice(0, -1)) {
    for (const window of windowsOfHour(calendar, hour)) {
      const successor = present.get(window.fromMs);
      if (successor?.toMs !== window.toMs) former.set(window.fromMs, successor ?? window);
    }
  }
  return [...former.values()];
}

/** Starts of periods around an instant that an earlier calendar had and the present one does not. */
export function formerPeriodsAt(customer: BillingCustomer, instantMs: number): Period[] {
  const present = billingPeriodOf(customer, instantMs).fromMs;
  const former = new Map<number, Period>();
  for (const { calendar } of customer.calendars.slice(0, -1)) {
    const period = periodContaining(calendar, instantMs);
    if (period.fromMs !== present) former.set(period.fromMs, period);
  }
  return [...former.values()];
}

/**
 * From when a meter counts a customer's usage: its `effectiveFrom`, or the start of the period it was created in; the
 * earliest such start when the customer's calendar changed, so that what was counted once stays counted.
 */
export function countsFromMs(meter: Meter, customer: BillingCustomer): number {
  if (meter.effectiveFromMs !== undefined) return meter.effectiveFromMs;
  return Math.min(...customer.calendars.map(({ calendar }) => periodContaining(calendar, meter.createdAtMs).fromMs));
}
