import { type BillingCalendar, type BillingInterval, CALENDAR_MONTH, type Period, periodContaining } from './period.ts';
import type { Meter } from './meter.ts';
import { type EpochHour, HOUR_MS, windowsOfHour } from './window.ts';

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

/** A customer nobody has told us about: calendar months, and mapped only if the id is Stripe's own. */
export function unknownCustomer(customerId: string): BillingCustomer {
  return {
    customerId,
    calendars: [CALENDAR_MONTH_REVISION],
    ...(isStripeCustomerId(customerId) && { stripeCustomerId: customerId }),
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
 * Starts of windows in an hour that an earlier calendar had and the present one does not. They are written as empty
 * rows of the present layout, so that a slow run under the old calendar cannot leave usage in them.
 */
export function formerWindowsOfHour(customer: BillingCustomer, hour: EpochHour): Period[] {
  const present = new Set(windowsOfHour(currentCalendar(customer).calendar, hour).map((window) => window.fromMs));
  const former = new Map<number, Period>();
  for (const { calendar } of customer.calendars.slice(0, -1)) {
    for (const window of windowsOfHour(calendar, hour)) {
      if (!present.has(window.fromMs)) former.set(window.fromMs, window);
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

/** From when a meter counts a customer's usage: its `effectiveFrom`, or the start of the period it was created in. */
export function countsFromMs(meter: Meter, customer: BillingCustomer): number {
  return meter.effectiveFromMs ?? billingPeriodOf(customer, meter.createdAtMs).fromMs;
}

/** Whether a meter counts a customer's window. */
export function countsWindow(meter: Meter, customer: BillingCustomer, windowFromMs: number): boolean {
  return windowFromMs >= countsFromMs(meter, customer);
}

/** The hours, as a half-open range, that lie at least partly in a period. */
export function hoursOf(period: Period): { fromHour: EpochHour; toHour: EpochHour } {
  return { fromHour: Math.floor(period.fromMs / HOUR_MS), toHour: Math.ceil(period.toMs / HOUR_MS) };
}
