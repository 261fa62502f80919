import { zero } from './decimal.ts';
import type { Exact } from './decimal.ts';
import type { UsageLog } from './usage-log.ts';

const secondsPerHour = 3_600;

/** The usage of one customer on one meter within a range. */
export interface UsageTotal {
  sum: Exact;
  count: number;
}

/** Half-open, Unix seconds. */
export interface UsageRange {
  from: number;
  to: number;
}

/** Which rows count: as the summaries show them at an instant, or all that was received and not cancelled. */
export interface UsageView {
  kind: 'visible' | 'received';
  atMs: number;
}

/** The rows of one hour: a chain in the order of receipt, and the sum of its settled beginning. */
interface Hour {
  first: number;
  last: number;
  /** The last row of the settled beginning; -1 before the first read. */
  foldedTo: number;
  folded: UsageTotal | undefined;
}

/**
 * The usage of one customer on one meter, indexed by UTC hour so that a year is read in at most 8,784 steps, whatever
 * the number of events.
 */
export class UsageSeries {
  readonly #log: UsageLog;
  readonly #hours = new Map<number, Hour>();
  #firstHour = Number.POSITIVE_INFINITY;
  #lastHour = Number.NEGATIVE_INFINITY;

  constructor(log: UsageLog) {
    this.#log = log;
  }

  add(row: number): void {
    const hour = hourOf(this.#log.timestamp(row));
    const present = this.#hours.get(hour);
    if (present === undefined) {
      this.#hours.set(hour, { first: row, last: row, foldedTo: -1, folded: undefined });
      this.#firstHour = Math.min(this.#firstHour, hour);
      this.#lastHour = Math.max(this.#lastHour, hour);
      return;
    }
    this.#log.link(present.last, row);
    present.last = row;
  }

  /** To be called when a row that may already be part of a folded sum was cancelled. */
  refold(row: number): void {
    const hour = this.#hours.get(hourOf(this.#log.timestamp(row)));
    if (hour === undefined) return;
    hour.foldedTo = -1;
    hour.folded = undefined;
  }

  /** From the first hour with a row to the end of the last, or nothing. */
  span(): UsageRange | undefined {
    if (this.#hours.size === 0) return undefined;
    return { from: this.#firstHour * secondsPerHour, to: (this.#lastHour + 1) * secondsPerHour };
  }

  /** Sum and number of the rows in the range. */
  total(range: UsageRange, view: UsageView): UsageTotal {
    let sum = zero;
    let count = 0;
    for (const [start, hour] of this.#hoursIn(range)) {
      const whole = start >= range.from && start + secondsPerHour <= range.to;
      const part = whole ? this.#totalOfHour(hour, view) : this.#totalOfRows(hour, range, view);
      sum = sum.plus(part.sum);
      count += part.count;
    }
    return { sum, count };
  }

  /** The rows in the range that count, hour by hour, within an hour in the order of receipt. */
  *rows(range: UsageRange, view: UsageView): Generator<number> {
    for (const [, hour] of this.#hoursIn(range)) yield* this.#rowsOfHour(hour, range, view);
  }

  /** The row with the latest timestamp in the range, of several the one received last. */
  latest(range: UsageRange, view: UsageView): number | undefined {
    for (const [, hour] of this.#hoursIn(range, 'backwards')) {
      let latest: number | undefined;
      for (const row of this.#rowsOfHour(hour, range, view)) {
        if (latest === undefined || this.#log.timestamp(row) >= this.#log.timestamp(latest)) latest = row;
      }
      if (latest !== undefined) return latest;
    }
    return undefined;
  }

  #totalOfHour(hour: Hour, view: UsageView): UsageTotal {
    this.#fold(hour, view.atMs);
    let sum = hour.folded?.sum ?? zero;
    let count = hour.folded?.count ?? 0;
    let row = hour.foldedTo === -1 ? hour.first : this.#log.next(hour.foldedTo);
    for (; row !== -1; row = this.#log.next(row)) {
      if (!this.#counts(row, view)) continue;
      sum = sum.plus(this.#log.value(row));
      count += 1;
    }
    return { sum, count };
  }

  #totalOfRows(hour: Hour, range: UsageRange, view: UsageView): UsageTotal {
    let sum = zero;
    let count = 0;
    for (const row of this.#rowsOfHour(hour, range, view)) {
      sum = sum.plus(this.#log.value(row));
      count += 1;
    }
    return { sum, count };
  }

  /** Adds to the folded sum the rows that are settled by now, up to the first that is not. */
  #fold(hour: Hour, atMs: number): void {
    let row = hour.foldedTo === -1 ? hour.first : this.#log.next(hour.foldedTo);
    for (; row !== -1 && this.#log.isSettled(row, atMs); row = this.#log.next(row)) {
      hour.folded ??= { sum: zero, count: 0 };
      if (this.#log.isVisible(row, atMs)) {
        hour.folded.sum = hour.folded.sum.plus(this.#log.value(row));
        hour.folded.count += 1;
      }
      hour.foldedTo = row;
    }
  }

  *#rowsOfHour(hour: Hour, range: UsageRange, view: UsageView): Generator<number> {
    for (let row = hour.first; row !== -1; row = this.#log.next(row)) {
      const timestamp = this.#log.timestamp(row);
      if (timestamp >= range.from && timestamp < range.to && this.#counts(row, view)) yield row;
    }
  }

  #counts(row: number, view: UsageView): boolean {
    return view.kind === 'received' ? !this.#log.isCancelled(row) : this.#log.isVisible(row, view.atMs);
  }

  *#hoursIn(range: UsageRange, order: 'forwards' | 'backwards' = 'forwards'): Generator<[start: number, hour: Hour]> {
    const first = Math.max(this.#firstHour, hourOf(range.from));
    const last = Math.min(this.#lastHour, hourOf(range.to - 1));
    for (let step = 0; step <= last - first; step += 1) {
      const number = order === 'forwards' ? first + step : last - step;
      const hour = this.#hours.get(number);
      if (hour !== undefined) yield [number * secondsPerHour, hour];
    }
  }
}

function hourOf(timestamp: number): number {
  return Math.floor(timestamp / secondsPerHour);
}
