import { gzipSync } from 'node:zlib';
import type { JsonValues } from './json-values.ts';
import type { Operation } from './open-api.ts';

/** A request as it is sent. */
export interface FuzzRequest {
  readonly method: string;
  /** From the first slash on, with its query. */
  readonly target: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
}

/** How a request is made: as documented, with one thing wrong, or as nobody who means well would. */
export type Intent = 'valid' | 'mutated' | 'hostile';

const JSON_TYPE = 'application/json';
const OTHER_TYPES = ['text/plain', 'application/x-www-form-urlencoded', 'application/json; charset=latin1', 'x', '*/*'];
const BROKEN_BODIES = [
  '',
  '{',
  '[',
  'null',
  '"',
  '[1,',
  '{"a":1,"a":2}',
  '\ufeff{}',
  '{"job":"reconcile-usage","job":"x"}',
  '\n\n\n',
  '[[]]',
  '{"__proto__":{"a":1}}',
  '['.repeat(500),
  '{"a":'.repeat(90),
  '1e999',
  '{"events":[]}',
  '{"events":[null]}',
  '\u0000',
];

/** A request of an operation. */
export function makeRequest(values: JsonValues, operation: Operation, intent: Intent): FuzzRequest {
  const bearer = { authorization: 'Bearer $KEY' };
  const authorization = intent === 'hostile' && values.chance(0.1) ? hostileAuthorization(values) : bearer;
  const target = targetOf(values, operation, intent);
  const body = bodyOf(values, operation, intent);
  const method =
    intent === 'hostile' && values.chance(0.05)
      ? values.pick(['GET', 'PUT', 'POST', 'DELETE', 'PATCH'])
      : operation.method;
  const hasBody = body !== undefined && method !== 'GET';
  return {
    method,
    target,
    headers: { ...authorization, ...(hasBody && body.headers) },
    ...(hasBody && { body: body.content }),
  };
}

function hostileAuthorization(values: JsonValues): Record<string, string> {
  return values.pick([
    {},
    { authorization: 'Bearer tly_unknown' },
    { authorization: 'Basic abc' },
    { authorization: '' },
  ]);
}

function targetOf(values: JsonValues, operation: Operation, intent: Intent): string {
  const wrong = intent === 'valid' ? undefined : values.pick(operation.parameters ?? [undefined]);
  const query: string[] = [];
  let path = operation.path;
  for (const parameter of operation.parameters ?? []) {
    const isWrong = parameter === wrong && values.chance(0.7);
    const value = isWrong ? values.hostileText() : textOf(values.valid(parameter.schema, parameter.name));
    if (parameter.in === 'path') path = path.replace(`{${parameter.name}}`, encode(values, value, intent));
    else if (parameter.in === 'query' && (parameter.required === true || isWrong || values.chance(0.3))) {
      query.push(`${parameter.name}=${encode(values, value, intent)}`);
      if (isWrong && values.chance(0.1)) query.push(`${parameter.name}=again`);
    }
  }
  if (intent === 'hostile' && values.chance(0.1)) query.push('unknown=1');
  return query.length === 0 ? path : `${path}?${query.join('&')}`;
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** Percent-encoded; seldom as bytes that are no UTF-8. */
function encode(values: JsonValues, text: string, intent: Intent): string {
  if (intent === 'hostile' && values.chance(0.05)) return values.pick(['%ff', '%', '%00', '%c0%af', '%ed%a0%80']);
  return encodeURIComponent(text.toWellFormed());
}

function bodyOf(
  values: JsonValues,
  operation: Operation,
  intent: Intent,
): { headers: Record<string, string>; content: string | Buffer } | undefined {
  const content = operation.requestBody?.content;
  if (content === undefined) {
    if (intent !== 'hostile' || values.chance(0.5)) return undefined;
    return { headers: { 'content-type': JSON_TYPE }, content: values.pick(BROKEN_BODIES) };
  }
  const [mediaType, { schema = {} }] = values.pick(Object.entries(content));
  const valid = values.valid(schema);
  const value = intent === 'valid' ? valid : values.mutated(valid);
  const text = mediaType === 'application/x-ndjson' ? toLines(value) : JSON.stringify(value);
  if (intent !== 'hostile') return { headers: { 'content-type': mediaType }, content: text };
  return hostileBody(values, mediaType, text);
}

function hostileBody(
  values: JsonValues,
  mediaType: string,
  text: string,
): { headers: Record<string, string>; content: string | Buffer } {
  const type = { 'content-type': mediaType };
  const roll = values.whole(6);
  if (roll === 0) return { headers: { 'content-type': values.pick(OTHER_TYPES) }, content: text };
  if (roll === 1) return { headers: type, content: Buffer.from([0xff, 0xfe, 0x00, 0x41]) };
  if (roll === 2) return { headers: { ...type, 'content-encoding': values.pick(['gzip', 'br', 'x']) }, content: text };
  if (roll === 3) return { headers: { ...type, 'content-encoding': 'gzip' }, content: gzipSync(text) };
  if (roll === 4) return { headers: type, content: text.slice(0, values.whole(text.length + 1)) };
  return { headers: type, content: values.pick(BROKEN_BODIES) };
}

function toLines(value: unknown): string {
  const { events } = (typeof value === 'object' && value !== null ? value : {}) as { events?: unknown };
  const items: readonly unknown[] = Array.isArray(value) ? value : Array.isArray(events) ? events : [value];
  return items.map((item) => JSON.stringify(item)).join('\n');
}
