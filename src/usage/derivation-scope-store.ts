import type { Document } from 'mongodb';
import type { Period } from '../customers/calendar/period.ts';
import type { EpochHour } from '../customers/calendar/window.ts';

/** Which raw facts to derive, and under which layout. */
export interface DerivationScope {
  readonly cells: readonly { readonly hour: EpochHour; readonly customerIds: readonly string[] }[];
  /** A part of the hour, when a billing period begins inside it or a range ends inside it; then there is one cell. */
  readonly window?: Period;
  readonly layout: number;
}

/**
 * The facts of a scope, as a condition on events and on adjustments alike. Customer-hours are joined by `$or`, so that a
 * few dirty customer-hours out of many hours cost one pipeline, each a point in the index {hour, customerId}; many hours
 * of one customer are a single list.
 */
export function factsOf(scope: DerivationScope): Document {
  return {
    ...joinCells(scope.cells),
    ...(scope.window !== undefined && {
      occurredAt: { $gte: new Date(scope.window.fromMs), $lt: new Date(scope.window.toMs) },
    }),
  };
}

function joinCells(cells: DerivationScope['cells']): Document {
  const [first] = cells;
  const owner = first?.customerIds[0];
  if (owner !== undefined && cells.every(({ customerIds }) => customerIds.length === 1 && customerIds[0] === owner)) {
    return { hour: { $in: cells.map(({ hour }) => hour) }, customerId: owner };
  }
  return { $or: cells.map(({ hour, customerIds }) => ({ hour, customerId: { $in: [...customerIds] } })) };
}
