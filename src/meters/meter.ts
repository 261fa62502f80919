import { isPropertyName, type PropertyValue } from './property.ts';

/** How the facts of a window become one figure. */
export type Aggregation = 'sum' | 'count' | 'max' | 'last' | 'unique';
export const AGGREGATIONS: readonly Aggregation[] = ['sum', 'count', 'max', 'last', 'unique'];

/** What to do with usage that Stripe would take but never bill. */
export type LateUsagePolicy = 'review' | 'next_period' | 'invoice_item';

/** A field of a usage event: the quantity, the end user, or a property by name. */
export type EventField = { kind: 'quantity' } | { kind: 'userId' } | { kind: 'property'; name: string };

/** Counts an event only if the property has one of these values; type and canonical value both have to agree. */
export interface MeterCondition {
  readonly property: string;
  readonly in: readonly PropertyValue[];
}

/** What is counted. Everything but `displayName`, `unit` and `lateUsage` is fixed once usage was counted by it. */
export interface Meter {
  readonly key: string;
  readonly displayName: string;
  readonly unit: string;
  readonly eventType: string;
  readonly aggregation: Aggregation;
  readonly valueFrom: EventField;
  readonly uniqueBy?: EventField;
  readonly where: readonly MeterCondition[];
  readonly groupBy: readonly EventField[];
  /** Counts facts from this instant (a whole hour); without it, from the start of each customer's open period. */
  readonly effectiveFromMs?: number;
  readonly createdAtMs: number;
  /** Counts no facts from this instant (a whole hour) on. */
  readonly archivedFromMs?: number;
  readonly lateUsage: LateUsagePolicy;
  readonly stripe?: { readonly eventName: string };
}

/**
 * Reads `quantity`, `userId`, `properties.<name>` or a bare property name.
 * @returns undefined when the text names no field.
 */
export function parseEventField(text: string): EventField | undefined {
  if (text === 'quantity') return { kind: 'quantity' };
  if (text === 'userId') return { kind: 'userId' };
  const name = text.startsWith('properties.') ? text.slice('properties.'.length) : text;
  return isPropertyName(name) ? { kind: 'property', name } : undefined;
}

/** The text form of a field, as the API shows it. */
export function formatEventField(field: EventField): string {
  return field.kind === 'property' ? `properties.${field.name}` : field.kind;
}

/** Whether a meter's windows add up to its period (`sum`, `count`); the others have a running figure of the period. */
export function isAdditive(aggregation: Aggregation): boolean {
  return aggregation === 'sum' || aggregation === 'count';
}
