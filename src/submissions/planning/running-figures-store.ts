import { type Db, Decimal128 } from 'mongodb';
import { type BillingCustomer, reshapedHours } from '../../customers/calendar/billing-customer.ts';
import type { Meter } from '../../meters/meter.ts';
import { canonicalQuantity, compareQuantities, equalQuantities } from '../../platform/quantity.ts';
import type { NextFigure, PlannableRow } from './submission-plan.ts';
import { HOUR_MS } from '../../platform/durations.ts';
import { UniqueValues } from '../../aggregation/unique-values-store.ts';
import {
  type RowRange,
  type UsageAggregateDocument,
  UsageAggregates,
} from '../../aggregation/usage-aggregates-store.ts';
import type { SubmissionMode } from '../../meters/stripe-meter.ts';

/** What the next step of a row depends on besides the row. */
export interface FigureContext {
  readonly customer: BillingCustomer;
  /** Windows that end later are left for the next time. */
  readonly endedByMs: number;
  readonly mode: SubmissionMode;
}

/** The steps in which running figures of periods are planned. */
export class RunningFigures {
  readonly #aggregates: UsageAggregates;
  readonly #values: UniqueValues;
  /** How distinct counts grew, by row and revision: a long catch-up asks for one row's steps many times. */
  readonly #growth = new Map<string, { windowStart: Date; count: number }[]>();

  constructor(db: Db) {
    this.#aggregates = new UsageAggregates(db);
    this.#values = new UniqueValues(db);
  }

  /**
   * The figure that the next submission of a row is to reach, and the window that brought it; undefined while nothing is
   * to be sent.
   *
   * Differences go window by window: hour by hour or in one long catch-up, the same usage gives the same meter events.
   * Where Stripe keeps the last figure only, the present one is all that counts.
   *
   * What grows never passes the row's own figure: windows and distinct values are derived before it, and where a process
   * stops between the two, a step beyond it would be taken back and made again for ever.
   */
  async next(row: PlannableRow, meter: Meter, context: FigureContext): Promise<NextFigure | undefined> {
    if (meter.aggregation === 'sum' || meter.aggregation === 'count') {
      return { quantity: row.quantity, atMs: row.startMs };
    }
    if (row.isEmpty === true) return emptied(row);
    if (context.mode === 'period_total') {
      const figure = await this.#present(row, meter, context);
      const isPlanned = figure === undefined || equalQuantities(figure.quantity, row.planned?.quantity ?? '0');
      return isPlanned ? undefined : figure;
    }
    if (meter.aggregation === 'unique') return this.#nextDistinct(row, context);
    return meter.aggregation === 'max' ? this.#nextMaximum(row, context) : this.#nextLast(row, context);
  }

  /** Forgets remembered steps; called when a planning run ends. */
  forget(): void {
    this.#growth.clear();
  }

  async #nextMaximum(row: PlannableRow, { endedByMs }: FigureContext): Promise<NextFigure | undefined> {
    if (!hasGrown(row)) return correction(row, endedByMs);
    const found = await this.#aggregates.firstAbove({
      ...rangeOf(row),
      than: Decimal128.fromString(row.planned?.quantity ?? '0'),
      windowEndMax: new Date(endedByMs),
    });
    return found === null ? undefined : upToRow(row, toFigure(found));
  }

  async #nextLast(row: PlannableRow, { endedByMs }: FigureContext): Promise<NextFigure | undefined> {
    const found = await this.#aggregates.firstOther({
      ...rangeOf(row),
      // The planned window itself too: a late fact may have changed it.
      from: new Date(row.planned?.atMs ?? row.startMs),
      than: Decimal128.fromString(row.planned?.quantity ?? '0'),
      windowEndMax: new Date(endedByMs),
    });
    return found === null ? this.#lastBeforePlanned(row, endedByMs) : toFigure(found);
  }

  /** Where the windows that planning had come to hold no facts any more (a calendar changed), the last one before. */
  async #lastBeforePlanned(row: PlannableRow, endedByMs: number): Promise<NextFigure | undefined> {
    const { planned } = row;
    if (planned === undefined || planned.atMs + HOUR_MS > endedByMs) return undefined;
    const lastIn = (fromMs: number, toMs: number): Promise<UsageAggregateDocument | null> =>
      this.#aggregates.lastOf({ ...rangeOf(row, fromMs, toMs), windowEndMax: new Date(endedByMs) });
    // One that is still there holds what was planned: the figure moved in a window that has not ended.
    if ((await lastIn(planned.atMs, row.endMs)) !== null) return undefined;
    const before = await lastIn(row.startMs, Math.min(planned.atMs, row.endMs));
    const quantity = before === null ? '0' : toFigure(before).quantity;
    return quantity === planned.quantity ? undefined : { quantity, atMs: planned.atMs };
  }

  async #nextDistinct(row: PlannableRow, context: FigureContext): Promise<NextFigure | undefined> {
    if (!hasGrown(row)) return correction(row, context.endedByMs);
    const planned = Number(row.planned?.quantity ?? '0');
    const step = (await this.#growthOf(row, context)).find(({ count }) => count > planned);
    return step !== undefined && hasEnded(step, context) ? upToRow(row, toCount(step)) : undefined;
  }

  /** The figure over all windows that have ended, and the window that brought it. */
  async #present(row: PlannableRow, meter: Meter, context: FigureContext): Promise<NextFigure | undefined> {
    if (meter.aggregation === 'unique') {
      const step = (await this.#growthOf(row, context)).findLast((each) => hasEnded(each, context));
      return step && toCount(step);
    }
    const ended = { ...rangeOf(row), windowEndMax: new Date(context.endedByMs) };
    const found = await (meter.aggregation === 'max'
      ? this.#aggregates.greatestOf(ended)
      : this.#aggregates.lastOf(ended));
    return found === null ? undefined : toFigure(found);
  }

  async #growthOf(
    row: PlannableRow,
    { customer }: FigureContext,
  ): Promise<readonly { windowStart: Date; count: number }[]> {
    const { customerId, meter, startMs, endMs, layout, revision } = row;
    const key = [customerId, meter, startMs, layout, revision].join('\u001f');
    let steps = this.#growth.get(key);
    if (steps === undefined) {
      const period = { fromMs: startMs, toMs: endMs };
      steps = await this.#values.growth({ customerId, meter, period, reshapedHours: reshapedHours(customer, period) });
      this.#growth.set(key, steps);
    }
    return steps;
  }
}

function rangeOf(row: PlannableRow, fromMs = row.startMs, toMs = row.endMs): RowRange {
  return { customerId: row.customerId, meter: row.meter, from: new Date(fromMs), to: new Date(toMs) };
}

function toFigure({ _id, quantity }: UsageAggregateDocument): NextFigure {
  return { quantity: canonicalQuantity(quantity.toString()), atMs: _id.windowStart.getTime() };
}

function toCount({ windowStart, count }: { windowStart: Date; count: number }): NextFigure {
  return { quantity: String(count), atMs: windowStart.getTime() };
}

function hasEnded({ windowStart }: { windowStart: Date }, { endedByMs }: FigureContext): boolean {
  return windowStart.getTime() + HOUR_MS <= endedByMs;
}

/** A period without usage that something is stamped in: nothing more can come, so there is nothing to wait for. */
function emptied({ planned, quantity }: PlannableRow): NextFigure | undefined {
  if (planned === undefined || equalQuantities(planned.quantity, quantity)) return undefined;
  return { quantity, atMs: planned.atMs };
}

/** Whether there is more than was planned. */
function hasGrown({ quantity, planned }: PlannableRow): boolean {
  return compareQuantities(quantity, planned?.quantity ?? '0') > 0;
}

/** A step that is no longer than to the row's own figure. */
function upToRow(row: PlannableRow, { quantity, atMs }: NextFigure): NextFigure {
  return { quantity: compareQuantities(quantity, row.quantity) > 0 ? row.quantity : quantity, atMs };
}

/** A figure that went down: stamped where planning stands. */
function correction({ planned, quantity }: PlannableRow, endedByMs: number): NextFigure | undefined {
  if (planned === undefined || planned.atMs + HOUR_MS > endedByMs) return undefined;
  return equalQuantities(quantity, planned.quantity) ? undefined : { quantity, atMs: planned.atMs };
}
