import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CALENDAR_MONTH, periodContaining } from '../../src/customers/calendar/period.ts';
import { epochHourOf, type HourCuts, windowsOfHour } from '../../src/customers/calendar/window.ts';
import { HOUR_MS } from '../../src/platform/durations.ts';

const ms = (text: string): number => Date.parse(text);
const monthly = (anchor: string): HourCuts['calendar'] => ({ anchorMs: ms(anchor), interval: 'month' });
const anchored: HourCuts = { calendar: monthly('2026-01-31T10:23:45Z') };

const instants = fc.integer({ min: ms('2001-01-01T00:00:00Z'), max: ms('2060-01-01T00:00:00Z') });
const seconds = instants.map((at) => at - (at % 1000));
const regular = fc.record({
  anchorMs: seconds,
  interval: fc.constantFrom('day' as const, 'week' as const, 'month' as const, 'year' as const),
  count: fc.integer({ min: 1, max: 6 }),
});
const calendars: fc.Arbitrary<HourCuts['calendar']> = fc.oneof(
  regular,
  fc.tuple(regular, regular, seconds).map(([calendar, former, sinceMs]) => ({ ...calendar, sinceMs, former })),
);

describe('windowsOfHour', () => {
  it('is the hour itself where no period begins inside it', () => {
    const hour = epochHourOf(ms('2026-11-01T00:00:00Z'));
    expect(windowsOfHour({ calendar: CALENDAR_MONTH }, hour)).toEqual([
      { fromMs: hour * HOUR_MS, toMs: (hour + 1) * HOUR_MS },
    ]);
    expect(windowsOfHour(anchored, hour)).toHaveLength(1);
  });

  it.each(['2026-01-31', '2026-02-28', '2026-03-31', '2026-04-30', '2028-02-29'])(
    'splits the hour at an anchor of 10:23:45 on %s',
    (day) => {
      const hour = epochHourOf(ms(`${day}T10:00:00Z`));
      expect(windowsOfHour(anchored, hour)).toEqual([
        { fromMs: ms(`${day}T10:00:00Z`), toMs: ms(`${day}T10:23:45Z`) },
        { fromMs: ms(`${day}T10:23:45Z`), toMs: ms(`${day}T11:00:00Z`) },
      ]);
    },
  );

  it('splits an hour wherever a subscription begins, ends or bills', () => {
    const cuts: HourCuts = {
      ...anchored,
      also: [monthly('2026-02-28T10:50:00Z'), { anchorMs: ms('2026-02-27T10:40:00Z'), interval: 'day' }],
      splitsMs: [ms('2026-02-28T10:05:10Z'), ms('2026-02-28T10:50:00Z'), ms('2026-02-28T11:00:00Z')],
    };
    const starts = windowsOfHour(cuts, epochHourOf(ms('2026-02-28T10:00:00Z'))).map(({ fromMs }) =>
      new Date(fromMs).toISOString().slice(11, 19),
    );
    expect(starts).toEqual(['10:00:00', '10:05:10', '10:23:45', '10:40:00', '10:50:00']);
  });

  it('partitions the hour, and no window crosses a boundary of any calendar', () => {
    fc.assert(
      fc.property(
        calendars,
        fc.array(calendars, { maxLength: 3 }),
        fc.array(seconds, { maxLength: 3 }),
        fc.record({ at: instants, of: fc.nat({ max: 6 }) }),
        (calendar, also, splitsMs, { at, of }) => {
          const all = [calendar, ...also];
          // Most hours have no boundary: so take that of a calendar or of a split, mostly.
          const boundaries = [at, ...all.map((each) => periodContaining(each, at).fromMs), ...splitsMs];
          const hour = epochHourOf(boundaries[of] ?? at);
          const windows = windowsOfHour({ calendar, also, splitsMs }, hour);
          expect(windows[0]?.fromMs).toBe(hour * HOUR_MS);
          expect(windows.at(-1)?.toMs).toBe((hour + 1) * HOUR_MS);
          windows.forEach((window, index) => {
            expect(window.fromMs).toBeLessThan(window.toMs);
            if (index > 0) expect(window.fromMs).toBe(windows[index - 1]?.toMs);
            for (const each of all) {
              expect(window.toMs).toBeLessThanOrEqual(periodContaining(each, window.fromMs).toMs);
            }
            expect(splitsMs.filter((split) => split > window.fromMs && split < window.toMs)).toEqual([]);
          });
          const known = new Set([...splitsMs, ...all.map((each) => periodContaining(each, hour * HOUR_MS).toMs)]);
          for (const { fromMs } of windows.slice(1)) {
            const begins = all.some((each) => periodContaining(each, fromMs).fromMs === fromMs);
            expect(begins || known.has(fromMs)).toBe(true);
          }
        },
      ),
    );
  });
});
