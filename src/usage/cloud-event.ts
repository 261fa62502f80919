import { idFault } from '../platform/id-text.ts';
import { escapePointer, shownName } from '../platform/json-pointer.ts';
import { meantHint } from '../platform/nearest-name.ts';
import type { EventFault } from '../meters/property.ts';

/** The attributes and the data of a CloudEvent by name: the JSON format of CloudEvents 1.0. */
export type CloudEventFields = Record<string, unknown>;

/**
 * What the `data` of CloudEvents is: `fields` are quantity, userId and properties of a usage event; as `properties` it is
 * the properties themselves, as producers of other meters send it.
 */
export type CloudEventData = 'fields' | 'properties';

export type CloudEventVerdict =
  | {
      readonly fields: Record<string, unknown>;
      /** It has no time of its own, and counts at the instant of its arrival. */
      readonly isTimeless: boolean;
    }
  | { readonly fault: EventFault };

/** Attribute names (CloudEvents 1.0, "Naming conventions"), and the two members of the JSON format that are none. */
const ATTRIBUTE_NAME = /^[a-z0-9]+$/;
const ATTRIBUTES = ['specversion', 'id', 'source', 'type', 'subject', 'time', 'datacontenttype', 'data'];
const DATA_FIELDS = new Set(['quantity', 'userId', 'properties']);
/** Extension attributes that look like fields of ours: ignoring one would count the wrong amount. */
const MISPLACED = new Set(['quantity', 'userid', 'properties']);
const WHITE_SPACE = /\s/;
const JSON_MEDIA_TYPE = /^[^;]*[/+]json\s*(;|$)/i;

/**
 * Turns a CloudEvent into the fields of a usage event: `source` + space + `id` → idempotencyKey, `type` → eventType,
 * `subject` → customerId, `time` → occurredAt, and what `data` holds. Extension attributes are ignored.
 * The fields are still unchecked. Where `data` is properties, an event may have no `time`.
 */
export function fromCloudEvent(input: unknown, data: CloudEventData = 'fields'): CloudEventVerdict {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) {
    return refuse('event_not_an_object', 'A CloudEvent is a JSON object.', '');
  }
  const given = input as CloudEventFields;
  const fault = envelopeFault(given) ?? dataFault(given['data'], data);
  if (fault !== undefined) return { fault };
  const fields: Record<string, unknown> = {
    idempotencyKey: `${given['source'] as string} ${given['id'] as string}`,
    customerId: given['subject'],
    eventType: given['type'],
    occurredAt: given['time'],
  };
  if (data === 'fields') Object.assign(fields, given['data']);
  else if (given['data'] !== undefined) fields['properties'] = given['data'];
  return { fields, isTimeless: data === 'properties' && given['time'] === undefined };
}

function envelopeFault(given: CloudEventFields): EventFault | undefined {
  for (const name in given) {
    if (name === 'data_base64') {
      return { code: 'cloud_event_invalid', detail: 'data must be JSON, not base64.', pointer: '/data_base64' };
    }
    if (!ATTRIBUTE_NAME.test(name) || MISPLACED.has(name)) return unknownField(name, '');
  }
  if (given['specversion'] !== '1.0') {
    return { code: 'cloud_event_invalid', detail: 'specversion must be "1.0".', pointer: '/specversion' };
  }
  for (const name of ['source', 'id']) {
    const value = given[name];
    if (value === undefined) return { code: 'field_missing', detail: `${name} is required.`, pointer: `/${name}` };
    if (typeof value !== 'string' || value === '') {
      return { code: 'field_type', detail: `${name} must be a string that is not empty.`, pointer: `/${name}` };
    }
    const fault = idFault(value);
    if (fault !== undefined) return { code: fault.code, detail: `${name} ${fault.phrase}.`, pointer: `/${name}` };
  }
  if (WHITE_SPACE.test(given['source'] as string)) {
    const detail =
      'source must not hold white space: it is a URI reference, and source + space + id is the key of the event.';
    return { code: 'cloud_event_invalid', detail, pointer: '/source' };
  }
  const dataType = given['datacontenttype'];
  if (dataType !== undefined && (typeof dataType !== 'string' || !JSON_MEDIA_TYPE.test(dataType))) {
    return { code: 'cloud_event_invalid', detail: 'datacontenttype must be JSON.', pointer: '/datacontenttype' };
  }
  return undefined;
}

function dataFault(data: unknown, as: CloudEventData): EventFault | undefined {
  if (data === undefined) return undefined;
  if (typeof data !== 'object' || data === null || Array.isArray(data)) {
    return { code: 'field_type', detail: 'data must be an object.', pointer: '/data' };
  }
  if (as === 'properties') return undefined;
  for (const name in data) if (!DATA_FIELDS.has(name)) return unknownField(name, '/data');
  return undefined;
}

function unknownField(name: string, parent: string): EventFault {
  const shown = shownName(name);
  const hint = meantHint(name, parent === '' ? ATTRIBUTES : [...DATA_FIELDS]);
  const detail = `"${shown}" is not known here.${hint} data may hold quantity, userId and properties (or, with ?data=properties, the properties themselves).`;
  return { code: 'field_unknown', detail, pointer: `${parent}/${escapePointer(shown)}` };
}

function refuse(code: string, detail: string, pointer: string): CloudEventVerdict {
  return { fault: { code, detail, pointer } };
}
