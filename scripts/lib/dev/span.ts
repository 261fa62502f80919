import { DateTime } from 'luxon';
import { usageError } from '../command-error.ts';

const UNITS = {
  min: 'minutes',
  h: 'hours',
  d: 'days',
  w: 'weeks',
  mo: 'months',
  y: 'years',
} as const;

/** Ten years: further ahead nothing new happens. */
const DAYS_MAX = 3_660;

/**
 * The instant that lies a span after another, in UTC milliseconds: `30min`, `6h`, `10d`, `2w`, `1mo`, `1y`. Months and
 * years are those of the calendar, as billing periods are.
 * @throws CommandError `usage` for anything else, and for more than ten years.
 */
export function instantAfter(fromMs: number, span: string): number {
  const [, number = '', unit = ''] = /^(\d{1,5})(min|h|d|w|mo|y)$/.exec(span) ?? [];
  const name = UNITS[unit as keyof typeof UNITS] as (typeof UNITS)[keyof typeof UNITS] | undefined;
  if (name === undefined || Number(number) === 0) {
    throw usageError(`${span} is no span of time`, 'Give one like 30min, 6h, 10d, 2w, 1mo or 1y.');
  }
  const from = DateTime.fromMillis(fromMs, { zone: 'utc' });
  const to = from.plus({ [name]: Number(number) });
  if (to.diff(from, 'days').days > DAYS_MAX) throw usageError(`${span} is too long`, 'Ten years are the most.');
  return to.toMillis();
}
