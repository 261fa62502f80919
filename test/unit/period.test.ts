import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type BillingCalendar,
  CALENDAR_MONTH,
  isPeriodStart,
  isWithin,
  periodContaining,
} from '../../src/customers/calendar/period.ts';

const ms = (text: string): number => Date.parse(text);
const month = (anchor: string): BillingCalendar => ({ anchorMs: ms(anchor), interval: 'month' });
const year = (anchor: string): BillingCalendar => ({ anchorMs: ms(anchor), interval: 'year' });

const PERIODS: [name: string, calendar: BillingCalendar, at: string, period: [from: string, to: string]][] = [
  ['the calendar month', CALENDAR_MONTH, '2026-11-21T05:00:00Z', ['2026-11-01T00:00:00Z', '2026-12-01T00:00:00Z']],
  [
    'the last instant of a month',
    CALENDAR_MONTH,
    '2026-12-31T23:59:59.999Z',
    ['2026-12-01T00:00:00Z', '2027-01-01T00:00:00Z'],
  ],
  [
    'the first instant of a year',
    CALENDAR_MONTH,
    '2027-01-01T00:00:00Z',
    ['2027-01-01T00:00:00Z', '2027-02-01T00:00:00Z'],
  ],
  [
    'an anchor inside an hour',
    month('2026-01-15T10:23:45Z'),
    '2026-03-15T10:23:44.999Z',
    ['2026-02-15T10:23:45Z', '2026-03-15T10:23:45Z'],
  ],
  [
    'the anchor itself',
    month('2026-01-15T10:23:45Z'),
    '2026-01-15T10:23:45Z',
    ['2026-01-15T10:23:45Z', '2026-02-15T10:23:45Z'],
  ],
  [
    'before the anchor',
    month('2026-01-15T10:23:45Z'),
    '2025-12-31T00:00:00Z',
    ['2025-12-15T10:23:45Z', '2026-01-15T10:23:45Z'],
  ],
  [
    '31 January in February',
    month('2026-01-31T12:00:00Z'),
    '2026-02-28T12:00:00Z',
    ['2026-02-28T12:00:00Z', '2026-03-31T12:00:00Z'],
  ],
  [
    '31 January in April',
    month('2026-01-31T12:00:00Z'),
    '2026-04-30T11:59:59Z',
    ['2026-03-31T12:00:00Z', '2026-04-30T12:00:00Z'],
  ],
  [
    '31 January in a leap year',
    month('2027-12-31T00:00:00Z'),
    '2028-02-29T00:00:00Z',
    ['2028-02-29T00:00:00Z', '2028-03-31T00:00:00Z'],
  ],
  [
    '30 January over February',
    month('2026-01-30T00:00:00Z'),
    '2026-03-29T23:59:59Z',
    ['2026-02-28T00:00:00Z', '2026-03-30T00:00:00Z'],
  ],
  [
    'a year from a leap day',
    year('2024-02-29T08:00:00Z'),
    '2026-02-28T08:00:00Z',
    ['2026-02-28T08:00:00Z', '2027-02-28T08:00:00Z'],
  ],
  [
    'a leap day four years on',
    year('2024-02-29T08:00:00Z'),
    '2028-02-29T07:59:59Z',
    ['2027-02-28T08:00:00Z', '2028-02-29T08:00:00Z'],
  ],
  [
    'a year over its end',
    year('2025-07-01T00:00:00Z'),
    '2026-01-01T00:00:00Z',
    ['2025-07-01T00:00:00Z', '2026-07-01T00:00:00Z'],
  ],
  [
    'a day',
    { anchorMs: ms('2026-03-01T23:59:59Z'), interval: 'day' },
    '2026-01-01T00:00:00Z',
    ['2025-12-31T23:59:59Z', '2026-01-01T23:59:59Z'],
  ],
  [
    'a week over the end of a year',
    { anchorMs: ms('2026-11-20T06:30:00Z'), interval: 'week' },
    '2026-12-31T12:00:00Z',
    ['2026-12-25T06:30:00Z', '2027-01-01T06:30:00Z'],
  ],
  [
    'two weeks before the anchor',
    { anchorMs: ms('2026-11-20T06:30:00Z'), interval: 'week', count: 2 },
    '2026-11-20T06:29:59Z',
    ['2026-11-06T06:30:00Z', '2026-11-20T06:30:00Z'],
  ],
  [
    'a quarter from 30 November over a February',
    { anchorMs: ms('2026-11-30T00:00:00Z'), interval: 'month', count: 3 },
    '2027-05-29T23:59:59Z',
    ['2027-02-28T00:00:00Z', '2027-05-30T00:00:00Z'],
  ],
  [
    'a quarter before its anchor',
    { anchorMs: ms('2026-01-31T10:23:45Z'), interval: 'month', count: 3 },
    '2025-12-01T00:00:00Z',
    ['2025-10-31T10:23:45Z', '2026-01-31T10:23:45Z'],
  ],
  [
    'three years over a leap day',
    { anchorMs: ms('2024-02-29T08:00:00Z'), interval: 'year', count: 3 },
    '2028-02-29T00:00:00Z',
    ['2027-02-28T08:00:00Z', '2030-02-28T08:00:00Z'],
  ],
];

const instants = fc.integer({ min: ms('2001-01-01T00:00:00Z'), max: ms('2060-01-01T00:00:00Z') });
const seconds = instants.map((at) => at - (at % 1000));
const regular = fc.record({
  anchorMs: seconds,
  interval: fc.constantFrom('day' as const, 'week' as const, 'month' as const, 'year' as const),
  count: fc.integer({ min: 1, max: 24 }),
});
/** One, or several that held one after the other. */
const calendars: fc.Arbitrary<BillingCalendar> = fc
  .tuple(regular, fc.array(fc.tuple(regular, seconds), { maxLength: 3 }))
  .map(([first, later]) =>
    later
      .sort(([, a], [, b]) => a - b)
      .reduce<BillingCalendar>((former, [calendar, sinceMs]) => ({ ...calendar, sinceMs, former }), first),
  );

describe('periodContaining', () => {
  it.each(PERIODS)('gives the period of %s', (_, calendar, at, [from, to]) => {
    expect(periodContaining(calendar, ms(at))).toEqual({ fromMs: ms(from), toMs: ms(to) });
  });

  it('contains the instant, and its neighbours begin where it ends', () => {
    fc.assert(
      fc.property(calendars, instants, (calendar, at) => {
        const period = periodContaining(calendar, at);
        expect(isWithin(period, at)).toBe(true);
        expect(isWithin(period, period.toMs)).toBe(false);
        expect(periodContaining(calendar, period.fromMs)).toEqual(period);
        expect(periodContaining(calendar, period.toMs - 1)).toEqual(period);
        expect(periodContaining(calendar, period.toMs).fromMs).toBe(period.toMs);
        expect(periodContaining(calendar, period.fromMs - 1).toMs).toBe(period.fromMs);
      }),
    );
  });

  it('tiles time: each period begins where the one before ends, and none anywhere else', () => {
    fc.assert(
      fc.property(calendars, instants, instants, (calendar, at, other) => {
        let period = periodContaining(calendar, at);
        for (let step = 0; step < 5; step += 1) {
          expect(period.fromMs).toBeLessThan(period.toMs);
          expect(isPeriodStart(calendar, period.fromMs)).toBe(true);
          expect(isPeriodStart(calendar, period.fromMs + 1)).toBe(false);
          const next = periodContaining(calendar, period.toMs);
          expect(next.fromMs).toBe(period.toMs);
          period = next;
        }
        const { anchorMs, sinceMs = anchorMs } = calendar;
        expect(isPeriodStart(calendar, Math.max(anchorMs, sinceMs))).toBe(true);
        expect(isPeriodStart(calendar, other)).toBe(periodContaining(calendar, other).fromMs === other);
      }),
    );
  });

  it('returns to the day of the anchor after a shorter month', () => {
    fc.assert(
      fc.property(instants, (anchorMs) => {
        let at = anchorMs;
        for (let count = 0; count < 24; count += 1) at = periodContaining({ anchorMs, interval: 'month' }, at).toMs;
        const days = [new Date(anchorMs).getUTCDate(), new Date(at).getUTCDate()];
        expect(days[1] === days[0] || (days[0] === 29 && days[1] === 28)).toBe(true);
      }),
    );
  });
});
