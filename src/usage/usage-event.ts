import { hash } from 'node:crypto';
import { DAY_MS, MINUTE_MS } from '../platform/durations.ts';
import { ID_BYTES_MAX, idFault } from '../platform/id-text.ts';
import { escapePointer, shownName } from '../platform/json-pointer.ts';
import { meantHint } from '../platform/nearest-name.ts';
import { parseTimestamp } from '../platform/instant.ts';
import {
  canonicalProperty,
  checkText,
  EVENT_TYPE_LENGTH_MAX,
  type EventFault,
  FaultSignal,
  type PropertyValue,
  QUANTITY_FAULTS,
  readProperties,
} from '../meters/property.ts';
import { parseQuantity, type Quantity } from '../platform/quantity.ts';

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

export type EventVerdict = { readonly event: UsageEvent } | { readonly fault: EventFault };

export interface EventBounds {
  /** The present instant. */
  readonly nowMs: number;
  /** Older events are refused. */
  readonly ageMsMax: number;
}

const FINGERPRINT_BYTES = 16;
/** How far ahead of our clock an event may lie: what Stripe allows a meter event's timestamp. */
export const FUTURE_MS_MAX = 5 * MINUTE_MS;

const EVENT_TYPE = /^[A-Za-z0-9._:/-]{1,100}$/;
const FIELD_NAMES = ['idempotencyKey', 'customerId', 'eventType', 'occurredAt', 'quantity', 'userId', 'properties'];
const FIELDS = new Set(FIELD_NAMES);

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

function readQuantity(value: unknown): Quantity {
  if (value === undefined) return '1';
  const parsed = parseQuantity(value);
  if ('quantity' in parsed) return parsed.quantity;
  const [code, detail] = QUANTITY_FAULTS[parsed.fault];
  throw new FaultSignal(code, `quantity ${detail}.`, '/quantity');
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
