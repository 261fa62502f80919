import { type EventFault, escapePointer } from './usage-event.ts';

/** The attributes and the data of a CloudEvent by name: the JSON format of CloudEvents 1.0. */
export type CloudEventFields = Record<string, unknown>;

export type CloudEventVerdict = { readonly fields: Record<string, unknown> } | { readonly fault: EventFault };

/** Attribute names (CloudEvents 1.0, "Naming conventions"), and the two members of the JSON format that are none. */
const ATTRIBUTE_NAME = /^[a-z0-9]+$/;
const DATA_FIELDS = new Set(['quantity', 'userId', 'properties']);
/** Extension attributes that look like fields of ours: ignoring one would count the wrong amount. */
const MISPLACED = new Set(['quantity', 'userid', 'properties']);
const JSON_MEDIA_TYPE = /^[^;]*[/+]json\s*(;|$)/i;

/**
 * Turns a CloudEvent into the fields of a usage event: `source` + space + `id` → idempotencyKey, `type` → eventType,
 * `subject` → customerId, `time` → occurredAt, and what `data` holds. Extension attributes are ignored.
 * The fields are still unchecked.
 */
export function fromCloudEvent(input: unknown): CloudEventVerdict {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) {
    return refuse('event_not_an_object', 'A CloudEvent is a JSON object.', '');
  }
  const given = input as CloudEventFields;
  const fault = envelopeFault(given) ?? dataFault(given['data']);
  if (fault !== undefined) return { fault };
  const fields: Record<string, unknown> = {
    idempotencyKey: `${given['source'] as string} ${given['id'] as string}`,
    customerId: given['subject'],
    eventType: given['type'],
    occurredAt: given['time'],
  };
  Object.assign(fields, given['data']);
  return { fields };
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
  }
  const dataType = given['datacontenttype'];
  if (dataType !== undefined && (typeof dataType !== 'string' || !JSON_MEDIA_TYPE.test(dataType))) {
    return { code: 'cloud_event_invalid', detail: 'datacontenttype must be JSON.', pointer: '/datacontenttype' };
  }
  return undefined;
}

function dataFault(data: unknown): EventFault | undefined {
  if (data === undefined) return undefined;
  if (typeof data !== 'object' || data === null || Array.isArray(data)) {
    return { code: 'field_type', detail: 'data must be an object.', pointer: '/data' };
  }
  for (const name in data) if (!DATA_FIELDS.has(name)) return unknownField(name, '/data');
  return undefined;
}

function unknownField(name: string, parent: string): EventFault {
  const shown = name.slice(0, 64).toWellFormed();
  const detail = `"${shown}" is not a field that is known here; data may hold quantity, userId and properties.`;
  return { code: 'field_unknown', detail, pointer: `${parent}/${escapePointer(shown)}` };
}

function refuse(code: string, detail: string, pointer: string): CloudEventVerdict {
  return { fault: { code, detail, pointer } };
}
