import { Decimal128 } from 'mongodb';
import { canonicalQuantity } from '../platform/quantity.ts';
import type { UsageFigure } from './usage-figure.ts';

/** A figure as rows and groups store it. */
export interface StoredFigure {
  eventCount: number;
  quantity: Decimal128;
  uncountable?: number;
  /** For `last`: the latest fact. */
  last?: { at: Date; id: string; value: Decimal128 };
  /** For `unique`: the distinct values, as texts. */
  values?: string[];
}

export function toFigure(stored: StoredFigure): UsageFigure {
  const { eventCount, quantity, uncountable, last, values } = stored;
  return {
    eventCount,
    quantity: canonicalQuantity(quantity.toString()),
    ...(uncountable !== undefined && { uncountable }),
    ...(last !== undefined && {
      last: { atMs: last.at.getTime(), id: last.id, quantity: canonicalQuantity(last.value.toString()) },
    }),
    ...(values !== undefined && { values }),
  };
}

export function fromFigure(figure: UsageFigure): StoredFigure {
  const { eventCount, quantity, uncountable, last, values } = figure;
  return {
    eventCount,
    quantity: Decimal128.fromString(quantity),
    ...(uncountable !== undefined && { uncountable }),
    ...(last !== undefined && {
      last: { at: new Date(last.atMs), id: last.id, value: Decimal128.fromString(last.quantity) },
    }),
    ...(values !== undefined && { values: [...values] }),
  };
}
