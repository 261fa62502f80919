import { DateTime } from 'luxon';

/** How often a price recurs. */
export interface Recurrence {
  interval: 'day' | 'week' | 'month' | 'year';
  count: number;
}

/** Half-open, Unix seconds. */
export interface BillingPeriod {
  start: number;
  end: number;
}

const daySeconds = 86_400;
const longest = { day: 1, week: 7, month: 31, year: 366 };
const shortest = { day: 1, week: 7, month: 28, year: 365 };

/**
 * The `number`th instant of a billing cycle in UTC, the anchor being number 0. Counted from the anchor each time, so
 * that a day that a month lacks is that month's last, and the next month has it again: 31 January, 28 February, 31 March
 * (Stripe docs, Set the billing cycle date).
 */
function boundary(anchor: number, { interval, count }: Recurrence, number: number): number {
  return DateTime.fromSeconds(anchor, { zone: 'utc' })
    .plus({ [interval]: count * number })
    .toSeconds();
}

/** The first instant of the cycle after `instant`; all are Unix seconds. */
export function nextBoundary(anchor: number, recurrence: Recurrence, instant: number): number {
  const { interval, count } = recurrence;
  const days = (instant < anchor ? shortest : longest)[interval] * count;
  let number = Math.floor((instant - anchor) / (days * daySeconds));
  let end = boundary(anchor, recurrence, number);
  while (end <= instant) {
    number += 1;
    end = boundary(anchor, recurrence, number);
  }
  return end;
}
