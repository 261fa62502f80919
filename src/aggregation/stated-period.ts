import { DaemonError } from '../platform/errors.ts';
import type { Period } from '../customers/calendar/period.ts';
import { parseTimestamp } from '../platform/instant.ts';
import { boundedRange } from '../customers/calendar/asked-range.ts';

const MONTH = /^(\d{4})-(0[1-9]|1[0-2])$/;
const DAY = /^\d{4}-\d{2}-\d{2}$/;

/**
 * Reads a period as people write it: `2026-11` (a UTC calendar month), or `from..to`, each a day like `2026-11-21` or an
 * RFC 3339 instant with an offset; half-open.
 * @throws DaemonError `range_invalid`, `range_too_long`.
 */
export function parseStatedPeriod(text: string): Period {
  const month = MONTH.exec(text);
  if (month !== null) {
    const [year, number] = [Number(month[1]), Number(month[2])];
    return checkPeriod(Date.UTC(year, number - 1, 1), Date.UTC(year, number, 1));
  }
  const [from = '', to = '', ...more] = text.split('..');
  return more.length > 0
    ? checkPeriod(undefined, undefined)
    : checkPeriod(parseStatedInstant(from), parseStatedInstant(to));
}

/**
 * Reads an instant as people write it: a day like `2026-11-21` (its first moment in UTC), or RFC 3339 with an offset.
 * @returns UTC milliseconds, or undefined.
 */
export function parseStatedInstant(text: string): number | undefined {
  return parseTimestamp(DAY.test(text) ? `${text}T00:00:00Z` : text);
}

function checkPeriod(fromMs: number | undefined, toMs: number | undefined): Period {
  if (fromMs === undefined || toMs === undefined || fromMs >= toMs) {
    throw new DaemonError({
      kind: 'invalid',
      code: 'range_invalid',
      message:
        'A period is a month like 2026-11, or from..to: days like 2026-11-21, or RFC 3339 instants; from before to.',
      context: { pointer: '/period' },
    });
  }
  return boundedRange({ fromMs, toMs }, '/period');
}
