import { DaemonError } from '../platform/errors.ts';
import { type CloudEventData, type CloudEventFields, fromCloudEvent } from './cloud-event.ts';
import { parseJson, repeatedDetail, type RepeatedName, repeatedNames, TOO_DEEP } from '../platform/exact-json.ts';
import { escapePointer, shownName } from '../platform/json-pointer.ts';
import type { EventFault } from '../meters/property.ts';

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
  /** By index: those without a time of their own, which count at the instant of their arrival. */
  readonly timeless?: ReadonlySet<number>;
}

export interface EventBody {
  readonly mediaType: EventMediaType;
  /** Well-formed text; of NDJSON either the text or, when part of it is not UTF-8, its lines. */
  readonly text: string | Iterable<NdjsonLine>;
  /** The attributes of a CloudEvent in binary mode, whose data is the text. */
  readonly cloudEvent?: Readonly<Record<string, string>> | undefined;
  readonly eventsMax: number;
  /** What the `data` of CloudEvents is; fields of a usage event without it. */
  readonly data?: CloudEventData | undefined;
}

export interface NdjsonLine {
  readonly text: string;
  readonly isUtf8: boolean;
}

const NO_FAULTS: ReadonlyMap<number, InputFault> = new Map();

/**
 * Finds the events in a request body. Faults of one event are told by index; faults of the whole body are thrown.
 * @throws DaemonError `invalid`: `body_not_json`, `json_too_deep`, `field_repeated`, `batch_not_an_array`, `no_events`,
 *   `too_many_events`.
 */
export function readEventInput(body: EventBody): EventInput {
  if (body.cloudEvent !== undefined) return readBinaryCloudEvent(body, body.cloudEvent);
  if (body.mediaType === 'application/x-ndjson') return readLines(body);
  const text = textOf(body);
  const { value, isExact } = parseBody(text);
  if (body.mediaType === 'application/json') {
    const { values, depth } = eventsOf(value);
    return { values: bounded(values, body.eventsMax), faults: isExact ? NO_FAULTS : repetitions(text, depth) };
  }
  const isBatch = body.mediaType === 'application/cloudevents-batch+json';
  if (isBatch && !Array.isArray(value)) throw invalid('batch_not_an_array', 'A batch of CloudEvents is a JSON array.');
  const given = isBatch ? bounded(value as readonly unknown[], body.eventsMax) : [value];
  return fromCloudEvents(given, isExact ? NO_FAULTS : repetitions(text, isBatch ? 1 : 0), body.data);
}

/** One event, an array of them, or `{"events": […]}` and nothing else; and how deep they lie. */
function eventsOf(parsed: unknown): { values: readonly unknown[]; depth: 0 | 1 | 2 } {
  if (Array.isArray(parsed)) return { values: parsed, depth: 1 };
  if (typeof parsed !== 'object' || parsed === null) return { values: [parsed], depth: 0 };
  const { events } = parsed as { events?: unknown };
  const isEnvelope = Array.isArray(events) && Object.keys(parsed).length === 1;
  return isEnvelope ? { values: events, depth: 2 } : { values: [parsed], depth: 0 };
}

/** By index, the events of a body in which a name is repeated, with their text: which value was meant, nobody knows. */
function repetitions(text: string, depth: 0 | 1 | 2): Map<number, InputFault> {
  const { outside, parts } = repeatedNames(text, depth);
  if (outside !== undefined) throw invalid('field_repeated', repetitionOf(outside).detail);
  return new Map(parts.map((part) => [part.index, { fault: repetitionOf(part), text: part.text }]));
}

function repetitionOf({ name, path }: RepeatedName): EventFault {
  const pointer = path.map((token) => `/${escapePointer(shownName(token))}`).join('');
  return { code: 'field_repeated', detail: repeatedDetail(name), pointer };
}

function bounded(values: readonly unknown[], eventsMax: number): readonly unknown[] {
  if (values.length === 0) throw invalid('no_events', 'The request holds no events.');
  if (values.length > eventsMax) throw tooMany(eventsMax);
  return values;
}

function readLines(body: EventBody): EventInput {
  const lines = typeof body.text === 'string' ? splitLines(body.text) : body.text;
  const values: unknown[] = [];
  const faults = new Map<number, InputFault>();
  let blank = 0;
  for (const line of lines) {
    if (line.text.trim() === '') {
      blank += 1;
      if (blank > body.eventsMax) throw tooMany(body.eventsMax);
      continue;
    }
    if (values.length >= body.eventsMax) throw tooMany(body.eventsMax);
    const read = readLine(line);
    if ('fault' in read) faults.set(values.length, read);
    values.push('fault' in read ? read.value : read.parsed);
  }
  return { values: bounded(values, body.eventsMax), faults };
}

/** One line after the other: what comes after the last one that is wanted costs nothing. */
function* splitLines(text: string): Generator<NdjsonLine> {
  for (let from = 0; from <= text.length;) {
    const at = text.indexOf('\n', from);
    const to = at < 0 ? text.length : at;
    yield { text: text.slice(from, to), isUtf8: true };
    from = to + 1;
  }
}

function readLine({ text, isUtf8 }: NdjsonLine): { parsed: unknown } | (InputFault & { value?: unknown }) {
  if (!isUtf8) return { fault: lineFault('line_not_json', 'The line is not UTF-8.'), text };
  const json = parseJson(text);
  if ('fault' in json) {
    if (json.fault === 'too-deep') return { fault: lineFault('json_too_deep', TOO_DEEP), text };
    return { fault: lineFault('line_not_json', 'The line is not JSON.'), text };
  }
  if (json.isExact) return { parsed: json.value };
  const repeated = repetitions(text, 0).get(0);
  return repeated === undefined ? { parsed: json.value } : { ...repeated, value: json.value };
}

function lineFault(code: 'line_not_json' | 'json_too_deep', detail: string): EventFault {
  return { code, detail, pointer: '' };
}

function readBinaryCloudEvent(body: EventBody, attributes: Readonly<Record<string, string>>): EventInput {
  const text = textOf(body);
  const fields: CloudEventFields = { ...attributes };
  if (text.trim() === '') return fromCloudEvents([fields], NO_FAULTS, body.data);
  const { value, isExact } = parseBody(text);
  fields['data'] = value;
  return fromCloudEvents([fields], isExact ? NO_FAULTS : repetitions(text, 0), body.data);
}

function fromCloudEvents(
  inputs: readonly unknown[],
  early: ReadonlyMap<number, InputFault>,
  data: CloudEventData | undefined,
): EventInput {
  const values: unknown[] = [];
  const faults = new Map<number, InputFault>(early);
  const timeless = new Set<number>();
  for (const [index, input] of inputs.entries()) {
    const verdict = fromCloudEvent(input, data);
    if ('fault' in verdict) faults.set(index, early.get(index) ?? { fault: verdict.fault });
    else if (verdict.isTimeless) timeless.add(index);
    values.push('fault' in verdict ? input : verdict.fields);
  }
  return { values, faults, ...(timeless.size > 0 && { timeless }) };
}

function textOf(body: EventBody): string {
  return typeof body.text === 'string' ? body.text : [...body.text].map(({ text }) => text).join('\n');
}

function parseBody(text: string): { value: unknown; isExact: boolean } {
  const json = parseJson(text);
  if (!('fault' in json)) return json;
  if (json.fault === 'too-deep') throw invalid('json_too_deep', TOO_DEEP);
  throw invalid('body_not_json', 'The body is not JSON.');
}

function tooMany(eventsMax: number): DaemonError {
  const message = `A request may hold ${eventsMax} events, and as many blank lines. Send the rest in another one.`;
  return invalid('too_many_events', message);
}

function invalid(code: BodyFaultCode, message: string): DaemonError {
  return new DaemonError({ kind: 'invalid', code, message });
}

type BodyFaultCode =
  'body_not_json' | 'json_too_deep' | 'field_repeated' | 'batch_not_an_array' | 'no_events' | 'too_many_events';
