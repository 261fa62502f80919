import { hash } from 'node:crypto';
import { DAY_MS, MINUTE_MS } from '../platform/durations.ts';
import { assert } from '../platform/errors.ts';
import { idFault } from '../platform/id-text.ts';
import { escapePointer, shownName } from '../platform/json-pointer.ts';
import { isPropertyName } from '../meters/meter.ts';
import { meantHint } from '../platform/nearest-name.ts';
import { parseQuantity, parseSignedNumber, type Quantity, type QuantityFault } from '../platform/quantity.ts';

/** A number among the properties, as its canonical decimal text. */
export interface PropertyNumber {
  readonly number: Quantity;
}
export type PropertyValue = string | boolean | PropertyNumber;

/** A usage event that obeys every rule, in canonical form. */
export interface UsageEvent {
  readonly idempotencyKey: string;
  readonly customerId: string;
  readonly eventType: string;
  /** UTC milliseconds. */
  readonly occurredAtMs: number;
  readonly quantity: Quantity;
  readonly userId?: string;
  /** Sorted by name. */
  readonly properties?: readonly (readonly [name: string, value: PropertyValue])[];
}

/** Why an event was refused: `pointer` is an RFC 6901 JSON Pointer into the event. */
export interface EventFault {
  readonly code: string;
  readonly detail: string;
  readonly pointer: string;
}

export type EventVerdict = { readonly event: UsageEvent } | { readonly fault: EventFault };

export interface EventBounds {
  /** The present instant. */
  readonly nowMs: number;
  /** Older events are refused. */
  readonly ageMsMax: number;
}

export const ID_BYTES_MAX = 255;
const FINGERPRINT_BYTES = 16;
export const EVENT_TYPE_LENGTH_MAX = 100;
export const PROPERTIES_MAX = 50;
export const PROPERTIES_BYTES_MAX = 8 * 1024;
/** How far ahead of our clock an event may lie: what Stripe allows a meter event's timestamp. */
export const FUTURE_MS_MAX = 5 * MINUTE_MS;

const EVENT_TYPE = /^[A-Za-z0-9._:/-]{1,100}$/;
// eslint-disable-next-line no-control-regex -- control characters are what it looks for
const SUSPECT_CHARACTER = /[\u0000-\u001f\u007f-\u009f\ud800-\udfff]/;
// eslint-disable-next-line no-control-regex -- control characters are what it looks for
const CONTROL_CHARACTER = /[\u0000-\u001f\u007f-\u009f]/;
const TIMESTAMP =
  /^(\d{4})-(\d{2})-(\d{2})[Tt](\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,3})\d*)?(?:[Zz]|([+-])(\d{2}):(\d{2}))$/;
const TIMESTAMP_LENGTH_MAX = 64;
const FIELD_NAMES = ['idempotencyKey', 'customerId', 'eventType', 'occurredAt', 'quantity', 'userId', 'properties'];
const FIELDS = new Set(FIELD_NAMES);

/** Carries a fault out of the nested checks below; it never leaves this file. */
class FaultSignal {
  readonly fault: EventFault;
  constructor(code: string, detail: string, pointer: string) {
    this.fault = { code, detail, pointer };
  }
}

/**
 * Checks one event of parsed JSON against every rule and brings it into canonical form.
 * Nothing is coerced: a value of the wrong type is refused, and so is a field that is not known.
 */
export function parseUsageEvent(input: unknown, bounds: EventBounds): EventVerdict {
  try {
    return { event: readEvent(input, bounds) };
  } catch (signal) {
    if (signal instanceof FaultSignal) return { fault: signal.fault };
    throw signal;
  }
}

function readEvent(input: unknown, bounds: EventBounds): UsageEvent {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) {
    throw new FaultSignal('event_not_an_object', 'An event is a JSON object.', '');
  }
  const fields = input as Record<string, unknown>;
  for (const name in fields) {
    if (!FIELDS.has(name)) {
      const shown = shownName(name);
      const detail = `"${shown}" is not a field of an event.${meantHint(name, FIELD_NAMES)} There are ${FIELD_NAMES.join(', ')}.`;
      throw new FaultSignal('field_unknown', detail, `/${escapePointer(shown)}`);
    }
  }
  const idempotencyKey = readId(fields, 'idempotencyKey');
  const customerId = readId(fields, 'customerId');
  const eventType = readEventType(fields['eventType']);
  const occurredAtMs = readOccurredAt(fields['occurredAt'], bounds);
  const quantity = readQuantity(fields['quantity']);
  const userId = fields['userId'] === undefined ? undefined : readId(fields, 'userId');
  const properties = fields['properties'] === undefined ? undefined : readProperties(fields['properties']);
  return {
    idempotencyKey,
    customerId,
    eventType,
    occurredAtMs,
    quantity,
    ...(userId !== undefined && { userId }),
    ...(properties !== undefined && properties.length > 0 && { properties }),
  };
}

function readId(fields: Record<string, unknown>, name: string): string {
  const value = fields[name];
  const pointer = `/${name}`;
  if (value === undefined) throw new FaultSignal('field_missing', `${name} is required.`, pointer);
  if (typeof value !== 'string') throw new FaultSignal('field_type', `${name} must be a string.`, pointer);
  checkText(value, name, pointer);
  if (value.length === 0 || value.length > ID_BYTES_MAX || Buffer.byteLength(value) > ID_BYTES_MAX) {
    const detail = `${name} must be 1 to ${ID_BYTES_MAX} bytes long.`;
    throw new FaultSignal('field_length', detail, pointer);
  }
  const fault = idFault(value);
  if (fault !== undefined) throw new FaultSignal(fault.code, `${name} ${fault.phrase}.`, pointer);
  return value;
}

/** Control characters would make keys ambiguous; BSON turns every unpaired surrogate into the same U+FFFD. */
function checkText(value: string, name: string, pointer: string): void {
  if (!SUSPECT_CHARACTER.test(value)) return;
  if (!value.isWellFormed()) {
    throw new FaultSignal('text_not_well_formed', `${name} holds an unpaired surrogate.`, pointer);
  }
  if (CONTROL_CHARACTER.test(value)) {
    throw new FaultSignal('text_control_character', `${name} holds a control character.`, pointer);
  }
}

function readEventType(value: unknown): string {
  const pointer = '/eventType';
  if (value === undefined) throw new FaultSignal('field_missing', 'eventType is required.', pointer);
  if (typeof value !== 'string') throw new FaultSignal('field_type', 'eventType must be a string.', pointer);
  if (!EVENT_TYPE.test(value)) {
    const detail = `eventType must be 1 to ${EVENT_TYPE_LENGTH_MAX} characters of A-Z a-z 0-9 . _ : / -`;
    throw new FaultSignal('event_type_invalid', detail, pointer);
  }
  return value;
}

function readOccurredAt(value: unknown, bounds: EventBounds): number {
  const pointer = '/occurredAt';
  if (value === undefined) throw new FaultSignal('field_missing', 'occurredAt is required.', pointer);
  if (typeof value !== 'string') throw new FaultSignal('field_type', 'occurredAt must be a string.', pointer);
  const occurredAtMs = parseTimestamp(value);
  if (occurredAtMs === undefined) {
    const detail = 'occurredAt must be an existing RFC 3339 instant with an offset, like 2026-11-21T05:00:00Z.';
    throw new FaultSignal('occurred_at_invalid', detail, pointer);
  }
  if (occurredAtMs > bounds.nowMs + FUTURE_MS_MAX) {
    throw new FaultSignal('occurred_at_in_future', 'occurredAt lies more than 5 minutes ahead.', pointer);
  }
  if (occurredAtMs < bounds.nowMs - bounds.ageMsMax) {
    const days = Math.floor(bounds.ageMsMax / DAY_MS);
    const detail = `occurredAt is more than ${days} days old; import it as history.`;
    throw new FaultSignal('occurred_at_too_old', detail, pointer);
  }
  return occurredAtMs;
}

/**
 * Reads an RFC 3339 timestamp with an explicit offset, cut to milliseconds. Refuses days that do not exist and the
 * leap second 60, which no two systems treat alike.
 * @returns UTC milliseconds, or undefined.
 */
export function parseTimestamp(text: string): number | undefined {
  if (text.length > TIMESTAMP_LENGTH_MAX) return undefined;
  const match = TIMESTAMP.exec(text);
  if (match === null) return undefined;
  const [, year, month, day, hour, minute, second, fraction, sign, offsetHour, offsetMinute] = match;
  if (Number(hour) > 23 || Number(minute) > 59 || Number(second) > 59) return undefined;
  if (Number(month) < 1 || Number(month) > 12 || Number(day) < 1) return undefined;
  if (Number(day) > daysInMonth(Number(year), Number(month))) return undefined;
  if (sign !== undefined && (Number(offsetHour) > 23 || Number(offsetMinute) > 59)) return undefined;
  const localMs = Date.UTC(
    Number(year),
    Number(month) - 1,
    Number(day),
    Number(hour),
    Number(minute),
    Number(second),
    fraction === undefined ? 0 : Number(fraction.padEnd(3, '0')),
  );
  // Date.UTC reads the years 0 to 99 as 1900 to 1999.
  if (Number(year) < 100) return undefined;
  if (sign === undefined) return localMs;
  const offsetMs = (Number(offsetHour) * 60 + Number(offsetMinute)) * 60_000;
  return sign === '+' ? localMs - offsetMs : localMs + offsetMs;
}

function daysInMonth(year: number, month: number): number {
  if (month === 2) return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28;
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31;
}

const QUANTITY_FAULTS: Record<QuantityFault, readonly [code: string, detail: string]> = {
  type: ['field_type', 'must be a decimal string or a number'],
  format: ['quantity_invalid', 'must be a plain decimal such as "12.5": no exponent, no sign, no other notation'],
  negative: ['quantity_negative', 'must not be negative; corrections are adjustments'],
  digits: ['quantity_too_long', 'may have 15 significant digits, 18 before and 12 after the decimal point'],
};

function readQuantity(value: unknown): Quantity {
  if (value === undefined) return '1';
  const parsed = parseQuantity(value);
  if ('quantity' in parsed) return parsed.quantity;
  const [code, detail] = QUANTITY_FAULTS[parsed.fault];
  throw new FaultSignal(code, `quantity ${detail}.`, '/quantity');
}

function readProperties(value: unknown): [string, PropertyValue][] {
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

/**
 * 16 bytes that two events share if and only if their canonical content is the same: it tells a duplicate from a
 * conflict. The separator cannot occur in any value.
 */
export function fingerprintOf(event: UsageEvent): Buffer {
  let text = `${event.eventType}\u001f${event.occurredAtMs}\u001f${event.quantity}\u001f${event.userId ?? ''}`;
  for (const [name, value] of event.properties ?? []) text += `\u001f${name}\u001f${canonicalProperty(value)}`;
  // Asked for as text, which costs half of what asking for a buffer does.
  return Buffer.from(hash('sha256', text, 'binary').slice(0, FINGERPRINT_BYTES), 'binary');
}

/** Type and canonical value of a property in one text: equal texts mean equal values. */
export function canonicalProperty(value: PropertyValue): string {
  if (typeof value === 'string') return `s:${value}`;
  if (typeof value === 'boolean') return `b:${value}`;
  return `n:${value.number}`;
}
