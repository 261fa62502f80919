import type { EventField, Meter } from '../meters/meter.ts';
import { canonicalQuantity, QUANTITY_PATTERN } from '../platform/quantity.ts';

/** The parts of a usage event that a meter can look at; numbers among the properties as exact decimal texts. */
export interface MeasuredEvent {
  readonly quantity: string;
  readonly userId?: string;
  readonly properties?: Readonly<Record<string, string | boolean>>;
}

const COUNTABLE = new RegExp(QUANTITY_PATTERN);

/**
 * What a meter takes from an event that satisfies its conditions: a decimal, or for `unique` the value that is told
 * apart. The same rule as the database's own (aggregation/fact-expressions-store), for showing it.
 * @returns undefined for an event that the meter cannot count.
 */
export function countedValue(meter: Pick<Meter, 'aggregation' | 'valueFrom' | 'uniqueBy'>, event: MeasuredEvent) {
  if (meter.aggregation === 'count') return '1';
  if (meter.aggregation === 'unique') {
    const value = fieldOf(event, meter.uniqueBy ?? { kind: 'quantity' });
    return value === undefined ? undefined : String(value);
  }
  const value = fieldOf(event, meter.valueFrom);
  return typeof value === 'string' && COUNTABLE.test(value) ? canonicalQuantity(value) : undefined;
}

function fieldOf(event: MeasuredEvent, field: EventField): string | boolean | undefined {
  if (field.kind !== 'property') return event[field.kind];
  // An own property: names like `constructor` are allowed.
  const { properties = {} } = event;
  return Object.hasOwn(properties, field.name) ? properties[field.name] : undefined;
}
