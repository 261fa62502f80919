import type { ClientSession, Db, Document } from 'mongodb';
import type { Period } from '../customers/calendar/period.ts';
import { epochHourOf } from '../customers/calendar/window.ts';
import { OPERATION_MS_MAX } from '../platform/mongo/database.ts';
import { translated } from '../platform/mongo/errors.ts';
import { rangeFilter, type RowRange, USAGE_AGGREGATES, type UsageAggregateDocument } from './usage-aggregates-store.ts';

/** Windows of a customer's `unique` meter whose distinct values are wanted. */
export interface ValueScope {
  readonly customerId: string;
  readonly meter: string;
  /** Windows that begin in it. */
  readonly period: Period;
  /** Hours that an earlier calendar may have cut differently. */
  readonly reshapedHours?: readonly Period[];
}

/** Hours whose rows one statement reads. */
const HOURS_PER_STATEMENT = 200;

/**
 * The condition on `unique_values` for the values that count in some scopes. An hour that was cut anew keeps the values
 * of its former windows: of those, only the ones count that were written under the layout that its rows have now. The
 * rows are read first, because a row is stored after its values.
 */
export async function countedValues(db: Db, scopes: readonly ValueScope[], session?: ClientSession): Promise<Document> {
  const layouts = await layoutsOfHours(db, scopes.flatMap(hoursOf), session);
  return {
    $or: scopes.map((scope) => {
      const former = hoursOf(scope).flatMap((hour) => {
        const layout = layouts.get(keyOf(hour)) ?? 0;
        return layout === 0 ? [] : [{ '_id.windowStart': { $gte: hour.from, $lt: hour.to }, layout: { $lt: layout } }];
      });
      return { _id: rangeFilter(toRange(scope, scope.period)), ...(former.length > 0 && { $nor: former }) };
    }),
  };
}

/** The layout that each hour's rows have, where it is not the first. */
async function layoutsOfHours(
  db: Db,
  hours: readonly RowRange[],
  session: ClientSession | undefined,
): Promise<Map<string, number>> {
  const layouts = new Map<string, number>();
  for (let from = 0; from < hours.length; from += HOURS_PER_STATEMENT) {
    const some = hours.slice(from, from + HOURS_PER_STATEMENT);
    const rows = await translated(
      db
        .collection<UsageAggregateDocument>(USAGE_AGGREGATES)
        .find({ $or: some.map((hour) => ({ _id: rangeFilter(hour) })) }, { ...(session && { session }) })
        .project<Pick<UsageAggregateDocument, '_id' | 'layout'>>({ layout: 1 })
        .maxTimeMS(OPERATION_MS_MAX)
        .toArray(),
    );
    for (const { _id, layout } of rows) {
      const key = keyOf({ customerId: _id.customerId, meter: _id.meter, from: _id.windowStart });
      layouts.set(key, Math.max(layouts.get(key) ?? 0, layout));
    }
  }
  return layouts;
}

function hoursOf(scope: ValueScope): RowRange[] {
  return (scope.reshapedHours ?? []).map((hour) => toRange(scope, hour));
}

function toRange({ customerId, meter }: ValueScope, period: Period): RowRange {
  return { customerId, meter, from: new Date(period.fromMs), to: new Date(period.toMs) };
}

function keyOf({ customerId, meter, from }: Pick<RowRange, 'customerId' | 'meter' | 'from'>): string {
  return `${customerId}\u001f${meter}\u001f${epochHourOf(from.getTime())}`;
}
