import { type BillingCalendar, type Period, periodContaining } from './period.ts';

/** One hour in milliseconds. */
export const HOUR_MS = 3_600_000;

/** A UTC hour as the number of whole hours since the epoch. */
export type EpochHour = number;

/** The UTC hour that contains an instant. */
export function epochHourOf(instantMs: number): EpochHour {
  return Math.floor(instantMs / HOUR_MS);
}

/**
 * The windows of one customer's hour: the hour itself, or its two parts when a billing period begins inside it.
 * Half-open, in order, and together exactly the hour.
 */
export function windowsOfHour(calendar: BillingCalendar, hour: EpochHour): Period[] {
  const fromMs = hour * HOUR_MS;
  const toMs = fromMs + HOUR_MS;
  const boundaryMs = periodContaining(calendar, toMs - 1).fromMs;
  return boundaryMs > fromMs
    ? [
        { fromMs, toMs: boundaryMs },
        { fromMs: boundaryMs, toMs },
      ]
    : [{ fromMs, toMs }];
}
