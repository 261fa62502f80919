import { assert } from '../platform/errors.ts';
import { escapePointer, shownName } from '../platform/json-pointer.ts';
import { parseSignedNumber, type Quantity, type QuantityFault } from '../platform/quantity.ts';

/** A number among the properties, as its canonical decimal text. */
export interface PropertyNumber {
  readonly number: Quantity;
}
export type PropertyValue = string | boolean | PropertyNumber;

/** Why an event was refused: `pointer` is an RFC 6901 JSON Pointer into the event. */
export interface EventFault {
  readonly code: string;
  readonly detail: string;
  readonly pointer: string;
}

export const EVENT_TYPE_LENGTH_MAX = 100;
export const PROPERTIES_MAX = 50;
export const PROPERTIES_BYTES_MAX = 8 * 1024;
// eslint-disable-next-line no-control-regex -- control characters are what it looks for
const SUSPECT_CHARACTER = /[\u0000-\u001f\u007f-\u009f\ud800-\udfff]/;
// eslint-disable-next-line no-control-regex -- control characters are what it looks for
const CONTROL_CHARACTER = /[\u0000-\u001f\u007f-\u009f]/;

const PROPERTY_NAME = /^[A-Za-z0-9_-]{1,64}$/;

/** Whether a text can name a property of a usage event. */
export function isPropertyName(name: string): boolean {
  return PROPERTY_NAME.test(name) && name !== '__proto__';
}

/** Carries a fault out of nested checks, to where it is given back as an answer. */
export class FaultSignal {
  readonly fault: EventFault;
  constructor(code: string, detail: string, pointer: string) {
    this.fault = { code, detail, pointer };
  }
}

/** Control characters would make keys ambiguous; BSON turns every unpaired surrogate into the same U+FFFD. */
export function checkText(value: string, name: string, pointer: string): void {
  if (!SUSPECT_CHARACTER.test(value)) return;
  if (!value.isWellFormed()) {
    throw new FaultSignal('text_not_well_formed', `${name} holds an unpaired surrogate.`, pointer);
  }
  if (CONTROL_CHARACTER.test(value)) {
    throw new FaultSignal('text_control_character', `${name} holds a control character.`, pointer);
  }
}

/** What is said of a number that cannot be taken. */
export const QUANTITY_FAULTS: Record<QuantityFault, readonly [code: string, detail: string]> = {
  type: ['field_type', 'must be a decimal string or a number'],
  format: ['quantity_invalid', 'must be a plain decimal such as "12.5": no exponent, no sign, no other notation'],
  negative: ['quantity_negative', 'must not be negative; corrections are adjustments'],
  digits: ['quantity_too_long', 'may have 15 significant digits, 18 before and 12 after the decimal point'],
};

/** @throws FaultSignal */
export function readProperties(value: unknown): [string, PropertyValue][] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new FaultSignal('field_type', 'properties must be an object.', '/properties');
  }
  const names = Object.keys(value);
  if (names.length > PROPERTIES_MAX) {
    throw new FaultSignal('properties_too_many', `properties may have ${PROPERTIES_MAX} names.`, '/properties');
  }
  let bytes = 0;
  const properties: [string, PropertyValue][] = [];
  for (const name of names.sort()) {
    if (!isPropertyName(name)) {
      const shown = shownName(name);
      const detail = `"${shown}" cannot name a property: 1 to 64 characters of A-Z a-z 0-9 _ -`;
      throw new FaultSignal('property_name_invalid', detail, `/properties/${escapePointer(shown)}`);
    }
    const property = readProperty(name, (value as Record<string, unknown>)[name]);
    bytes += name.length + (typeof property === 'string' ? Buffer.byteLength(property) : 16);
    if (bytes > PROPERTIES_BYTES_MAX) {
      const detail = `properties may take ${PROPERTIES_BYTES_MAX} bytes in all.`;
      throw new FaultSignal('properties_too_large', detail, '/properties');
    }
    properties.push([name, property]);
  }
  return properties;
}

/** Checks a single property by the rules of an event: what no event can hold, no condition can match. */
export function parseProperty(name: string, value: unknown): { value: PropertyValue } | { fault: EventFault } {
  try {
    const [[, read] = []] = readProperties({ [name]: value });
    assert(read !== undefined, 'A property was read as none.', { name });
    return { value: read };
  } catch (signal) {
    if (signal instanceof FaultSignal) return { fault: signal.fault };
    throw signal;
  }
}

function readProperty(name: string, value: unknown): PropertyValue {
  const pointer = `/properties/${name}`;
  if (typeof value === 'boolean') return value;
  if (typeof value === 'string') {
    checkText(value, `properties.${name}`, pointer);
    return value;
  }
  if (typeof value !== 'number') {
    throw new FaultSignal('field_type', `properties.${name} must be a string, a number or a boolean.`, pointer);
  }
  const parsed = parseSignedNumber(value);
  if ('quantity' in parsed) return { number: parsed.quantity };
  const [code, detail] = QUANTITY_FAULTS[parsed.fault];
  throw new FaultSignal(code, `properties.${name} ${detail}.`, pointer);
}

/** Type and canonical value of a property in one text: equal texts mean equal values. */
export function canonicalProperty(value: PropertyValue): string {
  if (typeof value === 'string') return `s:${value}`;
  if (typeof value === 'boolean') return `b:${value}`;
  return `n:${value.number}`;
}
