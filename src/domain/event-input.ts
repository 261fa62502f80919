import { DaemonError } from '../errors.ts';
import { type CloudEventFields, fromCloudEvent } from './cloud-event.ts';
import type { EventFault } from './usage-event.ts';

/** The forms in which usage events arrive. */
export const EVENT_MEDIA_TYPES = [
  'application/json',
  'application/x-ndjson',
  'application/cloudevents+json',
  'application/cloudevents-batch+json',
] as const;
export type EventMediaType = (typeof EVENT_MEDIA_TYPES)[number];

/** Input that was refused before the rules of an event could be asked. */
export interface InputFault {
  readonly fault: EventFault;
  /** The input itself, when it is not JSON. */
  readonly text?: string;
}

/** The events of one request, unchecked, in the order of the request. */
export interface EventInput {
  /** Parsed JSON, one value an event. */
  readonly values: readonly unknown[];
  /** By index: those that cannot be events. Their value is what is known of them. */
  readonly faults: ReadonlyMap<number, InputFault>;
}

export interface EventBody {
  readonly mediaType: EventMediaType;
  /** Well-formed text; of NDJSON either the text or, when part of it is not UTF-8, its lines (undefined: a bad one). */
  readonly text: string | readonly NdjsonLine[];
  /** The attributes of a CloudEvent in binary mode, whose data is the text. */
  readonly cloudEvent?: Readonly<Record<string, string>> | undefined;
  readonly eventsMax: number;
}

export interface NdjsonLine {
  readonly text: string;
  readonly isUtf8: boolean;
}

const NO_FAULTS: ReadonlyMap<number, InputFault> = new Map();

/**
 * Finds the events in a request body. Faults of one event are told by index; faults of the whole body are thrown.
 * @throws DaemonError `invalid`: `body_not_json`, `batch_not_an_array`, `no_events`, `too_many_events`.
 */
export function readEventInput(body: EventBody): EventInput {
  if (body.cloudEvent !== undefined) return readBinaryCloudEvent(body, body.cloudEvent);
  if (body.mediaType === 'application/x-ndjson') return readLines(body);
  const parsed = parseBody(textOf(body));
  if (body.mediaType === 'application/json') {
    return { values: bounded(eventsOf(parsed), body.eventsMax), faults: NO_FAULTS };
  }
  if (body.mediaType === 'application/cloudevents+json') return fromCloudEvents([parsed]);
  if (!Array.isArray(parsed)) throw invalid('batch_not_an_array', 'A batch of CloudEvents is a JSON array.');
  return fromCloudEvents(bounded(parsed, body.eventsMax));
}

/** One event, an array of them, or `{"events": […]}` and nothing else. */
function eventsOf(parsed: unknown): readonly unknown[] {
  if (Array.isArray(parsed)) return parsed;
  if (typeof parsed !== 'object' || parsed === null) return [parsed];
  const { events } = parsed as { events?: unknown };
  return Array.isArray(events) && Object.keys(parsed).length === 1 ? events : [parsed];
}

function bounded(values: readonly unknown[], eventsMax: number): readonly unknown[] {
  if (values.length === 0) throw invalid('no_events', 'The request holds no events.');
  if (values.length > eventsMax) throw tooMany(eventsMax);
  return values;
}

function readLines(body: EventBody): EventInput {
  const lines = typeof body.text === 'string' ? body.text.split('\n') : body.text;
  const values: unknown[] = [];
  const faults = new Map<number, InputFault>();
  for (const line of lines) {
    const text = typeof line === 'string' ? line : line.text;
    if (text.trim() === '') continue;
    if (values.length >= body.eventsMax) throw tooMany(body.eventsMax);
    const parsed = typeof line === 'string' || line.isUtf8 ? tryParse(text) : undefined;
    if (parsed === undefined) {
      const reason = typeof line === 'string' || line.isUtf8 ? 'is not JSON' : 'is not UTF-8';
      faults.set(values.length, {
        fault: { code: 'line_not_json', detail: `The line ${reason}.`, pointer: '' },
        text,
      });
    }
    values.push(parsed);
  }
  return { values: bounded(values, body.eventsMax), faults };
}

function readBinaryCloudEvent(body: EventBody, attributes: Readonly<Record<string, string>>): EventInput {
  const text = textOf(body);
  const fields: CloudEventFields = { ...attributes };
  if (text.trim() !== '') fields['data'] = parseBody(text);
  return fromCloudEvents([fields]);
}

function fromCloudEvents(inputs: readonly unknown[]): EventInput {
  const values: unknown[] = [];
  const faults = new Map<number, InputFault>();
  for (const input of inputs) {
    const verdict = fromCloudEvent(input);
    if ('fault' in verdict) faults.set(values.length, { fault: verdict.fault });
    values.push('fault' in verdict ? input : verdict.fields);
  }
  return { values, faults };
}

function textOf(body: EventBody): string {
  return typeof body.text === 'string' ? body.text : body.text.map(({ text }) => text).join('\n');
}

function parseBody(text: string): unknown {
  const parsed = tryParse(text);
  if (parsed === undefined) throw invalid('body_not_json', 'The body is not JSON.');
  return parsed;
}

/** No JSON text means undefined. */
function tryParse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function tooMany(eventsMax: number): DaemonError {
  return invalid('too_many_events', `A request may hold ${eventsMax} events. Send the rest in another one.`);
}

function invalid(code: BodyFaultCode, message: string): DaemonError {
  return new DaemonError({ kind: 'invalid', code, message });
}

type BodyFaultCode = 'body_not_json' | 'batch_not_an_array' | 'no_events' | 'too_many_events';
