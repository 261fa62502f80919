import type { Meter } from '../meters/meter.ts';
import type { PropertyValue } from '../meters/property.ts';

/** A property's value among events of a type. */
export interface SeenValue {
  readonly eventType: string;
  readonly property: string;
  readonly value: PropertyValue;
}

/** A value of a meter's `where` that no event had, while events had the same text as another type. */
export interface SilentCondition {
  readonly meter: string;
  readonly property: string;
  readonly wanted: PropertyValue;
  readonly seen: PropertyValue;
}

type Conditional = Pick<Meter, 'key' | 'eventType' | 'where'>;

const NUMBER = /^-?(?:0|[1-9]\d{0,14})(?:\.\d{0,11}[1-9])?$/;
const BOOLEAN = /^(?:true|false)$/;

/** The values to look for: those that meters count, and the same texts as other types. There are few. */
export function valuesToLookFor(meters: readonly Pick<Meter, 'where'>[]): PropertyValue[] {
  return meters.flatMap(({ where }) =>
    where.flatMap(({ in: values }) => values.flatMap((value) => [value, ...otherTypesOf(value)])),
  );
}

/**
 * Conditions that look right and count nothing: type and value both have to agree, so that `"200"` is not 200.
 * @param seen distinct values among recent events.
 */
export function findSilentConditions(meters: readonly Conditional[], seen: readonly SeenValue[]): SilentCondition[] {
  const known = new Set(seen.map(keyOf));
  return meters.flatMap(({ key, eventType, where }) =>
    where.flatMap(({ property, in: values }) => {
      const isSeen = (value: PropertyValue): boolean => known.has(keyOf({ eventType, property, value }));
      const counted = new Set(values.map((value) => keyOf({ eventType, property, value })));
      return values.flatMap((wanted): SilentCondition[] => {
        if (isSeen(wanted)) return [];
        const other = otherTypesOf(wanted).find(
          (value) => isSeen(value) && !counted.has(keyOf({ eventType, property, value })),
        );
        return other === undefined ? [] : [{ meter: key, property, wanted, seen: other }];
      });
    }),
  );
}

/** In words, without the meter. */
export function describeSilentCondition({ property, wanted, seen }: SilentCondition): string {
  return (
    `\`where\` counts properties.${property} = ${shown(wanted)}, and recent events have ${shown(seen)} instead ` +
    `(${typeName(seen)}, not ${typeName(wanted)}): they are not counted`
  );
}

function otherTypesOf(value: PropertyValue): PropertyValue[] {
  if (typeof value === 'object') return [value.number];
  if (typeof value === 'boolean') return [String(value)];
  if (BOOLEAN.test(value)) return [value === 'true'];
  return NUMBER.test(value) && value !== '-0' ? [{ number: value }] : [];
}

function keyOf({ eventType, property, value }: SeenValue): string {
  return JSON.stringify([eventType, property, value]);
}

function shown(value: PropertyValue): string {
  return typeof value === 'object' ? value.number : JSON.stringify(value);
}

function typeName(value: PropertyValue): string {
  if (typeof value === 'object') return 'a number';
  return typeof value === 'string' ? 'a text' : 'a boolean';
}
