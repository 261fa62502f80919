import { DateTime } from 'luxon';

/** A half-open range of UTC instants `[fromMs, toMs)`, in milliseconds since the epoch. */
export interface Period {
  readonly fromMs: number;
  readonly toMs: number;
}

export type BillingInterval = 'month' | 'year';

/**
 * When a customer's billing periods begin: at an anchor and every interval from it, clamped to the month's last day.
 * Without an anchor, the UTC calendar month.
 */
export interface BillingCalendar {
  readonly anchorMs: number;
  readonly interval: BillingInterval;
}

/** The calendar of a customer without an anchor: periods begin at 00:00 UTC on the first of each month. */
export const CALENDAR_MONTH: BillingCalendar = { anchorMs: Date.UTC(2000, 0, 1), interval: 'month' };

/** The billing period that contains an instant. */
export function periodContaining(calendar: BillingCalendar, instantMs: number): Period {
  const anchor = DateTime.fromMillis(calendar.anchorMs, { zone: 'utc' });
  const instant = DateTime.fromMillis(instantMs, { zone: 'utc' });
  const start = (count: number): number => boundary(anchor, calendar.interval, count);
  let count =
    calendar.interval === 'year'
      ? instant.year - anchor.year
      : (instant.year - anchor.year) * 12 + (instant.month - anchor.month);
  while (start(count) > instantMs) count -= 1;
  while (start(count + 1) <= instantMs) count += 1;
  return { fromMs: start(count), toMs: start(count + 1) };
}

/**
 * Counted from the anchor itself, so that an anchor on the 31st falls on the 28th in February and returns to the 31st
 * in March, as Stripe's billing cycle anchors do.
 */
function boundary(anchor: DateTime, interval: BillingInterval, count: number): number {
  return anchor.plus(interval === 'year' ? { years: count } : { months: count }).toMillis();
}

/** Whether `instantMs` lies in the half-open period. */
export function isWithin(period: Period, instantMs: number): boolean {
  return instantMs >= period.fromMs && instantMs < period.toMs;
}
