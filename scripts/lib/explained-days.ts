import { groupBy } from '../../src/platform/grouping.ts';
import { addQuantities } from '../../src/platform/quantity.ts';
import { DAY_MS } from '../../src/platform/durations.ts';
import type { Explanation } from './explanation.ts';

/** The windows of one day in UTC, taken together. */
export interface ExplainedDay {
  readonly from: string;
  readonly to: string;
  /** The exact sum of the windows; absent where windows do not add up. */
  readonly quantity?: string;
  readonly eventCount: number;
  readonly raw: { readonly quantity?: string; readonly eventCount: number };
  /** Where windows do not add up: the running figure of the billing period at the end of the day. */
  readonly figure?: string;
  /** A window of the day moved that figure. */
  readonly setsFigure?: boolean;
}

/**
 * The windows of an explanation by the day in UTC in which they begin, in time order. A window lies within an hour of UTC,
 * so none lies in two days.
 */
export function daysOf({ windows }: Pick<Explanation, 'windows'>): ExplainedDay[] {
  const byDay = groupBy(windows, ({ from }) => Math.floor(Date.parse(from) / DAY_MS));
  return [...byDay].map(([day, ofDay]) => toDay(day, ofDay));
}

function toDay(day: number, windows: Explanation['windows']): ExplainedDay {
  const figure = windows.findLast((window) => window.figure !== undefined)?.figure;
  const count = (counts: readonly number[]): number => counts.reduce((sum, one) => sum + one, 0);
  const isAdditive = figure === undefined;
  return {
    from: new Date(day * DAY_MS).toISOString(),
    to: new Date((day + 1) * DAY_MS).toISOString(),
    ...(isAdditive && { quantity: addQuantities('0', ...windows.map(({ quantity }) => quantity)) }),
    eventCount: count(windows.map(({ eventCount }) => eventCount)),
    raw: {
      ...(isAdditive && { quantity: addQuantities('0', ...windows.map(({ raw }) => raw.quantity)) }),
      eventCount: count(windows.map(({ raw }) => raw.eventCount)),
    },
    ...(figure !== undefined && { figure, setsFigure: windows.some(({ setsFigure }) => setsFigure === true) }),
  };
}
