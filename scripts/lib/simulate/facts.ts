import type { AdjustmentInput } from '../../../src/usage/adjustment.ts';
import { isWithin, type Period } from '../../../src/customers/calendar/period.ts';
import { addQuantities, canonicalQuantity, compareQuantities, type Quantity } from '../../../src/platform/quantity.ts';
import type { SentEvent as MilledEvent } from '../torture/usage-mill.ts';
import type { WeekMeter } from './meters.ts';

/** A usage event as a caller sends it. */
export type SentEvent = Omit<MilledEvent, 'properties'>;

/** Whose figure of which meter. */
export interface FigureScope {
  readonly customerId: string;
  readonly meter: WeekMeter;
}

/** Everything that was acknowledged: what each figure is to come to, worked out from it alone. */
export class Facts {
  readonly #events: SentEvent[] = [];
  readonly #adjustments: AdjustmentInput[] = [];

  get events(): readonly SentEvent[] {
    return this.#events;
  }

  get adjustments(): readonly AdjustmentInput[] {
    return this.#adjustments;
  }

  addEvents(events: readonly SentEvent[]): void {
    this.#events.push(...events);
  }

  addAdjustment(adjustment: AdjustmentInput): void {
    this.#adjustments.push(adjustment);
  }

  /** When a customer used something, UTC milliseconds, corrections included. */
  instantsOf(customer: string): number[] {
    return [...this.#events, ...this.#adjustments]
      .filter(({ customerId }) => customerId === customer)
      .map(({ occurredAt }) => Date.parse(occurredAt));
  }

  /** The figure of a period, half-open. */
  figureIn({ customerId, meter }: FigureScope, period: Period): Quantity {
    const isOf = (fact: { customerId: string; occurredAt: string }): boolean =>
      fact.customerId === customerId && isWithin(period, Date.parse(fact.occurredAt));
    const adjusted = this.#adjustments.filter((fact) => fact.meter === meter.key && isOf(fact));
    return addQuantities(
      figureOf(meter, this.#events.filter(isOf)),
      ...adjusted.map(({ quantity }) => canonicalQuantity(String(quantity))),
    );
  }
}

function figureOf({ aggregation }: WeekMeter, events: readonly SentEvent[]): Quantity {
  switch (aggregation) {
    case 'sum':
      return addQuantities('0', ...events.map(({ quantity }) => canonicalQuantity(quantity)));
    case 'count':
      return String(events.length);
    case 'max':
      return events
        .map(({ quantity }) => canonicalQuantity(quantity))
        .reduce((greatest, next) => (compareQuantities(next, greatest) > 0 ? next : greatest), '0');
    case 'last':
      return canonicalQuantity([...events].sort(byTime).at(-1)?.quantity ?? '0');
    case 'unique':
      return String(new Set(events.map(({ userId }) => userId)).size);
  }
}

/** Of two events at one instant the one with the greater key is the later. */
function byTime(a: SentEvent, b: SentEvent): number {
  const elapsedMs = Date.parse(a.occurredAt) - Date.parse(b.occurredAt);
  return elapsedMs === 0 ? (a.idempotencyKey < b.idempotencyKey ? -1 : 1) : elapsedMs;
}
