import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CALENDAR_MONTH, periodContaining } from '../../src/domain/period.ts';
import { epochHourOf, HOUR_MS, windowsOfHour } from '../../src/domain/window.ts';

const ms = (text: string): number => Date.parse(text);
const anchored = { anchorMs: ms('2026-01-31T10:23:45Z'), interval: 'month' as const };

const instants = fc.integer({ min: ms('2001-01-01T00:00:00Z'), max: ms('2060-01-01T00:00:00Z') });
const calendars = fc.record({
  anchorMs: instants.map((at) => at - (at % 1000)),
  interval: fc.constantFrom('month' as const, 'year' as const),
});

describe('windowsOfHour', () => {
  it('is the hour itself where no period begins inside it', () => {
    const hour = epochHourOf(ms('2026-11-01T00:00:00Z'));
    expect(windowsOfHour(CALENDAR_MONTH, hour)).toEqual([{ fromMs: hour * HOUR_MS, toMs: (hour + 1) * HOUR_MS }]);
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

  it('partitions the hour, and no window crosses a period', () => {
    fc.assert(
      fc.property(calendars, instants, fc.boolean(), (calendar, at, atBoundary) => {
        const hour = epochHourOf(atBoundary ? periodContaining(calendar, at).fromMs : at);
        const windows = windowsOfHour(calendar, hour);
        expect(windows[0]?.fromMs).toBe(hour * HOUR_MS);
        expect(windows.at(-1)?.toMs).toBe((hour + 1) * HOUR_MS);
        windows.forEach((window, index) => {
          expect(window.fromMs).toBeLessThan(window.toMs);
          if (index > 0) expect(window.fromMs).toBe(windows[index - 1]?.toMs);
          const period = periodContaining(calendar, window.fromMs);
          expect(window.toMs).toBeLessThanOrEqual(period.toMs);
        });
      }),
    );
  });
});
