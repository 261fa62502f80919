import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type BillingCalendar, CALENDAR_MONTH, isWithin, periodContaining } from '../../src/domain/period.ts';

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
];

const instants = fc.integer({ min: ms('2001-01-01T00:00:00Z'), max: ms('2060-01-01T00:00:00Z') });
const calendars = fc.record({
  anchorMs: instants.map((at) => at - (at % 1000)),
  interval: fc.constantFrom('month' as const, 'year' as const),
});

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
