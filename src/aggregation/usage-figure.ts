import { type Aggregation, isAdditive } from '../meters/meter.ts';
import { addQuantities, compareQuantities, type Quantity } from '../platform/quantity.ts';

/** The fact that decides a `last` figure: the greatest instant, then the greatest id. */
export interface LastFact {
  readonly atMs: number;
  readonly id: string;
  readonly quantity: Quantity;
}

/** What some facts come to under one aggregation, with what is needed to put figures together. */
export interface UsageFigure {
  readonly eventCount: number;
  readonly quantity: Quantity;
  /** Facts of the event type that the meter could not count. */
  readonly uncountable?: number;
  readonly last?: LastFact;
  /** For `unique`: the distinct values, as texts. */
  readonly values?: readonly string[];
}

export const EMPTY_FIGURE: UsageFigure = { eventCount: 0, quantity: '0' };

/** Puts figures together as if their facts had been counted at once. One figure alone is returned as it is. */
export function combineFigures(aggregation: Aggregation, figures: readonly UsageFigure[]): UsageFigure {
  const [only] = figures;
  if (only === undefined) return EMPTY_FIGURE;
  if (figures.length === 1) return only;
  const uncountable = figures.reduce((sum, figure) => sum + (figure.uncountable ?? 0), 0);
  const counts = {
    eventCount: figures.reduce((sum, figure) => sum + figure.eventCount, 0),
    ...(uncountable > 0 && { uncountable }),
  };
  if (isAdditive(aggregation)) {
    return { ...counts, quantity: addQuantities(...figures.map(({ quantity }) => quantity)) };
  }
  if (aggregation === 'max') {
    return { ...counts, quantity: figures.map(({ quantity }) => quantity).reduce(greaterOf) };
  }
  if (aggregation === 'last') {
    const facts = figures.flatMap(({ last }) => (last === undefined ? [] : [last]));
    if (facts.length === 0) return { ...counts, quantity: '0' };
    const last = facts.reduce(laterOf);
    return { ...counts, quantity: last.quantity, last };
  }
  const values = [...new Set(figures.flatMap((figure) => figure.values ?? []))];
  return { ...counts, quantity: String(values.length), values };
}

function greaterOf(a: Quantity, b: Quantity): Quantity {
  return compareQuantities(b, a) > 0 ? b : a;
}

function laterOf(a: LastFact, b: LastFact): LastFact {
  if (a.atMs !== b.atMs) return a.atMs > b.atMs ? a : b;
  return Buffer.compare(Buffer.from(a.id), Buffer.from(b.id)) >= 0 ? a : b;
}
