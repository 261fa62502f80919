import type { Db } from 'mongodb';
import { canonicalQuantity } from '../../platform/quantity.ts';
import type { PlannableRow, PlannedSoFar } from './submission-plan.ts';
import { epochHourOf, wholeHour } from '../../customers/calendar/window.ts';
import {
  type Planned,
  type UsageAggregateDocument,
  UsageAggregates,
} from '../../aggregation/usage-aggregates-store.ts';
import { periodKey, type UsagePeriodDocument, UsagePeriods } from '../../aggregation/usage-periods-store.ts';

/** A window as planning sees it. */
export function toWindowRow(row: UsageAggregateDocument): PlannableRow {
  return {
    subject: 'window',
    customerId: row._id.customerId,
    meter: row._id.meter,
    startMs: row._id.windowStart.getTime(),
    endMs: row.windowEnd.getTime(),
    quantity: canonicalQuantity(row.quantity.toString()),
    layout: row.layout,
    revision: row.revision,
    ...(row.planned && { planned: toPlannedSoFar(row.planned) }),
  };
}

/** A period's running figure as planning sees it. */
export function toPeriodRow(row: UsagePeriodDocument): PlannableRow {
  return {
    subject: 'period',
    customerId: row._id.customerId,
    meter: row._id.meter,
    startMs: row._id.periodStart.getTime(),
    endMs: row.periodEnd.getTime(),
    isEmpty: row.eventCount === 0,
    ...(row.former === true && { isFormer: true as const }),
    ...(row.relaid === true && { isRelaid: true as const }),
    quantity: canonicalQuantity(row.quantity.toString()),
    layout: row.layout,
    revision: row.revision,
    ...(row.planned && { planned: toPlannedSoFar(row.planned) }),
  };
}

function toPlannedSoFar(planned: Planned): PlannedSoFar {
  return {
    sequence: planned.sequence,
    quantity: canonicalQuantity(planned.quantity.toString()),
    identifier: planned.identifier,
    atMs: planned.at.getTime(),
    ...(planned.mode && { mode: planned.mode }),
  };
}

/** Reads rows together between which a changed calendar may have moved usage. */
export class RelatedRows {
  readonly #aggregates: UsageAggregates;
  readonly #periods: UsagePeriods;

  constructor(db: Db) {
    this.#aggregates = new UsageAggregates(db);
    this.#periods = new UsagePeriods(db);
  }

  /** Every window of the hour that a window lies in, of its customer and meter. */
  async hourOf({ customerId, meter, startMs }: PlannableRow): Promise<PlannableRow[]> {
    const { fromMs, toMs } = wholeHour(epochHourOf(startMs));
    const range = { customerId, meter, from: new Date(fromMs), to: new Date(toMs) };
    return (await this.#aggregates.range(range)).map(toWindowRow);
  }

  /** Those of these periods that are due. */
  async dueAmong(periods: readonly { customerId: string; meter: string; startMs: number }[]): Promise<PlannableRow[]> {
    const keys = periods.map(({ customerId, meter, startMs }) => periodKey(customerId, meter, new Date(startMs)));
    return (await this.#periods.dueAmong(keys)).map(toPeriodRow);
  }
}
