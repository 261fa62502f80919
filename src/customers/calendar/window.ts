import { HOUR_MS } from '../../platform/durations.ts';
import { type BillingCalendar, eraCalendars, isPeriodStart, type Period } from './period.ts';

/** A UTC hour as the number of whole hours since the epoch. */
export type EpochHour = number;

/** A customer's hour. */
export interface CustomerHour {
  readonly customerId: string;
  readonly hour: EpochHour;
}

/** The UTC hour that contains an instant. */
export function epochHourOf(instantMs: number): EpochHour {
  return Math.floor(instantMs / HOUR_MS);
}

/** What splits a customer's hours into windows. */
export interface HourCuts {
  /** Decides the customer's billing periods; hours are split where one begins. */
  readonly calendar: BillingCalendar;
  /** Calendars of further subscriptions: hours are split where their periods begin, too. */
  readonly also?: readonly BillingCalendar[];
  /** Instants at which a subscription began or ended, or a line of an invoice. */
  readonly splitsMs?: readonly number[];
}

/** The hour itself, in milliseconds. */
export function wholeHour(hour: EpochHour): Period {
  return { fromMs: hour * HOUR_MS, toMs: (hour + 1) * HOUR_MS };
}

/**
 * The windows of one customer's hour: the hour itself, or its parts where billing periods begin inside it.
 * Half-open, in order, and together exactly the hour.
 */
export function windowsOfHour(cuts: HourCuts, hour: EpochHour): Period[] {
  const bounds = [hour * HOUR_MS, ...cutsInside(cuts, hour), (hour + 1) * HOUR_MS];
  return bounds.slice(1).map((toMs, index) => ({ fromMs: bounds[index] as number, toMs }));
}

/** The instants inside an hour, after its start, at which a window ends and the next begins; ascending. */
function cutsInside(cuts: HourCuts, hour: EpochHour): number[] {
  const fromMs = hour * HOUR_MS;
  const isInside = (instantMs: number): boolean => instantMs > fromMs && instantMs < fromMs + HOUR_MS;
  const found = new Set<number>();
  for (const calendar of [cuts.calendar, ...(cuts.also ?? [])]) {
    for (const instantMs of candidatesInside(calendar, fromMs)) {
      if (isInside(instantMs) && isPeriodStart(calendar, instantMs)) found.add(instantMs);
    }
  }
  for (const splitMs of cuts.splitsMs ?? []) if (isInside(splitMs)) found.add(splitMs);
  return [...found].sort((a, b) => a - b);
}

/** Regular periods all begin at one minute and second of the hour. */
function candidatesInside(calendar: BillingCalendar, hourFromMs: number): number[] {
  return eraCalendars(calendar).flatMap(({ anchorMs, sinceMs = hourFromMs }) => [
    hourFromMs + offsetInHour(anchorMs),
    sinceMs,
  ]);
}

/** How far an instant lies from the start of its hour. */
export function offsetInHour(instantMs: number): number {
  return instantMs - epochHourOf(instantMs) * HOUR_MS;
}
