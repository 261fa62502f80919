import { DAY_MS, HOUR_MS } from '../platform/durations.ts';
import type { Period } from '../customers/calendar/period.ts';
import type { UsageFigure } from './usage-figure.ts';
import { type EpochHour, epochHourOf, type HourCuts, windowsOfHour } from '../customers/calendar/window.ts';
import type { PropertyValue } from '../meters/property.ts';

/** The figure of one window, or of a part of one at the end of a range. */
export interface LiveWindow {
  readonly period: Period;
  readonly figure: UsageFigure;
}

/** The value of each `groupBy` field; null where the facts lack one. */
export type GroupKey = readonly (PropertyValue | null)[];

/** The figure of one group of a window; `other` stands for groups that were too many to keep. */
export interface LiveGroup {
  readonly periodFromMs: number;
  readonly by: GroupKey;
  readonly other?: true;
  readonly figure: UsageFigure;
}

/** How one figure is put together: which hours have stored rows that are up to date, and what is derived from raw. */
export interface LiveSources {
  /** Whole hours, as a half-open range of instants; absent when the range holds none. */
  readonly wholeHours?: Period;
  /** Whether the stored rows of an hour among those are behind, or missing. */
  readonly isBehind: (hour: EpochHour) => boolean;
  /** Whole hours to derive from raw. */
  readonly rawHours: readonly EpochHour[];
  /** Parts of hours to derive from raw: at the ends of the range, and where an hour is split. */
  readonly rawWindows: readonly { readonly hour: EpochHour; readonly window: Period }[];
}

/**
 * Splits a range into hours whose rows are up to date and what has to be derived from raw.
 * @param input.waiting hours in the journal.
 * @param input.pendingFromMs a change was made whose hours, from this instant on, are not in the journal yet.
 */
export function splitLiveRange(input: {
  readonly range: Period;
  /** What splits the customer's hours. */
  readonly cuts: HourCuts;
  readonly waiting: ReadonlySet<EpochHour>;
  readonly pendingFromMs?: number;
}): LiveSources {
  const { range, cuts, waiting, pendingFromMs } = input;
  const pendingFromHour = pendingFromMs === undefined ? Number.POSITIVE_INFINITY : epochHourOf(pendingFromMs);
  const isBehind = (hour: EpochHour): boolean => hour >= pendingFromHour || waiting.has(hour);
  const rawHours: EpochHour[] = [];
  const rawWindows: { hour: EpochHour; window: Period }[] = [];
  if (range.fromMs >= range.toMs) return { isBehind, rawHours, rawWindows };
  const firstWhole = Math.ceil(range.fromMs / HOUR_MS);
  const endWhole = Math.floor(range.toMs / HOUR_MS);
  const ends = new Set([epochHourOf(range.fromMs), epochHourOf(range.toMs - 1)]);
  for (const hour of ends) {
    if (hour >= firstWhole && hour < endWhole) continue;
    for (const window of windowsOfHour(cuts, hour)) {
      const part = { fromMs: Math.max(window.fromMs, range.fromMs), toMs: Math.min(window.toMs, range.toMs) };
      if (part.fromMs < part.toMs) rawWindows.push({ hour, window: part });
    }
  }
  for (let hour = firstWhole; hour < endWhole; hour += 1) {
    if (!isBehind(hour)) continue;
    const windows = windowsOfHour(cuts, hour);
    if (windows.length === 1) rawHours.push(hour);
    else rawWindows.push(...windows.map((window) => ({ hour, window })));
  }
  return {
    ...(firstWhole < endWhole && { wholeHours: { fromMs: firstWhole * HOUR_MS, toMs: endWhole * HOUR_MS } }),
    isBehind,
    rawHours,
    rawWindows,
  };
}

/** How figures are cut in an answer: windows as they are, UTC days, or the whole range. */
export type LiveUnit = 'hour' | 'day' | 'total';

/** The part of the range that a window is shown in. */
export function bucketOf(unit: LiveUnit, range: Period, window: Period): Period {
  if (unit === 'hour') return window;
  if (unit === 'total') return range;
  const dayFromMs = Math.floor(window.fromMs / DAY_MS) * DAY_MS;
  return { fromMs: Math.max(dayFromMs, range.fromMs), toMs: Math.min(dayFromMs + DAY_MS, range.toMs) };
}
