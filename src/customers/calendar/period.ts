import { DateTime } from 'luxon';
import { DAY_MS } from '../../platform/durations.ts';

/** A half-open range of UTC instants `[fromMs, toMs)`, in milliseconds since the epoch. */
export interface Period {
  readonly fromMs: number;
  readonly toMs: number;
}

export type BillingInterval = 'day' | 'week' | 'month' | 'year';

/**
 * When a customer's billing periods begin: at an anchor and every `count` intervals from it, before and after, clamped
 * to the month's last day. Without an anchor, the UTC calendar month.
 */
export interface BillingCalendar {
  readonly anchorMs: number;
  readonly interval: BillingInterval;
  /** Intervals in one period, ≥ 1; 1 when absent. */
  readonly count?: number;
  /** From when on it holds: a period begins there. Absent: always. */
  readonly sinceMs?: number;
  /** What held before; absent: its own periods. */
  readonly former?: BillingCalendar;
}

/** The calendar of a customer without an anchor: periods begin at 00:00 UTC on the first of each month. */
export const CALENDAR_MONTH: BillingCalendar = { anchorMs: Date.UTC(2000, 0, 1), interval: 'month' };

/** UTC days and weeks are all of one length; months and years are counted in months. */
const FIXED_MS = { day: DAY_MS, week: 7 * DAY_MS };
const MONTHS = { month: 1, year: 12 };

/** Periods remembered of each calendar. */
const REMEMBERED_MAX = 8;
/** Looking a period up costs what a thousand comparisons do, and most instants lie in one of a few periods. */
const remembered = new WeakMap<BillingCalendar, Period[]>();

/** The billing period that contains an instant. */
export function periodContaining(calendar: BillingCalendar, instantMs: number): Period {
  const known = remembered.get(calendar) ?? [];
  const found = known.find((period) => isWithin(period, instantMs));
  if (found !== undefined) return found;
  const period = lookUpPeriod(calendar, instantMs);
  remembered.set(calendar, [period, ...known.slice(0, REMEMBERED_MAX - 1)]);
  return period;
}

function lookUpPeriod(calendar: BillingCalendar, instantMs: number): Period {
  const { sinceMs, former } = calendar;
  const holds = sinceMs === undefined || instantMs >= sinceMs;
  const { fromMs, toMs } =
    holds || former === undefined ? regularPeriod(calendar, instantMs) : periodContaining(former, instantMs);
  if (sinceMs === undefined) return { fromMs, toMs };
  return holds ? { fromMs: Math.max(fromMs, sinceMs), toMs } : { fromMs, toMs: Math.min(toMs, sinceMs) };
}

/** The period as if the calendar had always held. */
function regularPeriod({ anchorMs, interval, count = 1 }: BillingCalendar, instantMs: number): Period {
  if (interval === 'month' || interval === 'year') {
    return periodOfMonths({ anchorMs, months: MONTHS[interval] * count }, instantMs);
  }
  const lengthMs = FIXED_MS[interval] * count;
  const fromMs = anchorMs + Math.floor((instantMs - anchorMs) / lengthMs) * lengthMs;
  return { fromMs, toMs: fromMs + lengthMs };
}

function periodOfMonths({ anchorMs, months }: { anchorMs: number; months: number }, instantMs: number): Period {
  const anchor = DateTime.fromMillis(anchorMs, { zone: 'utc' });
  const instant = DateTime.fromMillis(instantMs, { zone: 'utc' });
  // Counted from the anchor itself, so that an anchor on the 31st falls on the 28th in February and returns to the 31st
  // in March, as Stripe's billing cycle anchors do.
  const start = (index: number): number => anchor.plus({ months: index * months }).toMillis();
  let index = Math.floor(((instant.year - anchor.year) * 12 + (instant.month - anchor.month)) / months);
  while (start(index) > instantMs) index -= 1;
  while (start(index + 1) <= instantMs) index += 1;
  return { fromMs: start(index), toMs: start(index + 1) };
}

/** Whether a billing period begins at an instant. */
export function isPeriodStart(calendar: BillingCalendar, instantMs: number): boolean {
  const { sinceMs, former } = calendar;
  if (instantMs === sinceMs) return true;
  if (sinceMs !== undefined && instantMs < sinceMs && former !== undefined) return isPeriodStart(former, instantMs);
  // Regular periods begin at the anchor's time of day: most instants are told without looking at the calendar.
  return (instantMs - calendar.anchorMs) % DAY_MS === 0 && regularPeriod(calendar, instantMs).fromMs === instantMs;
}

/** Whether two calendars are written alike. */
export function isSameCalendar(a: BillingCalendar, b: BillingCalendar): boolean {
  if (!isSameRhythm(a, b) || a.sinceMs !== b.sinceMs) return false;
  return a.former === undefined || b.former === undefined ? a.former === b.former : isSameCalendar(a.former, b.former);
}

/** Whether two calendars begin periods at the same instants where both hold. */
export function isSameRhythm(a: BillingCalendar, b: BillingCalendar): boolean {
  return a.anchorMs === b.anchorMs && a.interval === b.interval && (a.count ?? 1) === (b.count ?? 1);
}

/** The calendars that hold one before the other, the latest first. */
export function eraCalendars(calendar: BillingCalendar): BillingCalendar[] {
  return [calendar, ...(calendar.former === undefined ? [] : eraCalendars(calendar.former))];
}

/** Whether `instantMs` lies in the half-open period. */
export function isWithin(period: Period, instantMs: number): boolean {
  return instantMs >= period.fromMs && instantMs < period.toMs;
}
