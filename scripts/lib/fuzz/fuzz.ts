import { Check, Errors } from 'typebox/schema';
import { SeededRandom } from '../../../packages/stripe-double/src/random.ts';
import { type FuzzRequest, type Intent, makeRequest } from './fuzz-request.ts';
import { JsonValues } from './json-values.ts';
import { type JsonSchema, type OpenApiDocument, type Operation, operationsOf } from './open-api.ts';

/** An answer, read to its end. */
export interface FuzzAnswer {
  readonly status: number;
  readonly mediaType: string;
  readonly text: string;
}

/** Something that the document does not say. */
export interface FuzzFault {
  /** The position of the request, from 1. */
  readonly number: number;
  readonly operation: string;
  readonly why: string;
  readonly status: number;
  readonly request: FuzzRequest;
  readonly answer: string;
}

export interface FuzzOptions {
  readonly document: OpenApiDocument;
  readonly seed: number;
  readonly requests: number;
  send(request: FuzzRequest): Promise<FuzzAnswer>;
  /** Called after each request. */
  onProgress?(done: number): void;
}

export interface FuzzResult {
  readonly faults: readonly FuzzFault[];
  /** Answers by status. */
  readonly statuses: ReadonlyMap<number, number>;
  /** Operations that answered 2xx at least once. */
  readonly reached: ReadonlySet<string>;
  readonly operations: number;
}

/** A request without an answer by then is a finding. */
const ANSWER_MS_MAX = 60_000;
const SHOWN_LENGTH_MAX = 600;
const FAULTS_MAX = 50;

/**
 * Sends requests that a served OpenAPI document describes, nearly describes and does not describe, one after the other by
 * seed, and holds every answer against it: no 5xx but a documented 503, no status that is not documented, no body that
 * does not match the schema of its status. Of faults that are alike the first is told.
 */
export async function fuzz(options: FuzzOptions): Promise<FuzzResult> {
  const values = new JsonValues(new SeededRandom(options.seed));
  const operations = operationsOf(options.document);
  const faults: FuzzFault[] = [];
  const statuses = new Map<number, number>();
  const reached = new Set<string>();
  for (let number = 1; number <= options.requests && faults.length < FAULTS_MAX; number += 1) {
    const operation = values.pick(operations);
    const request = makeRequest(values, operation, intentOf(values));
    const answer = await options.send(request);
    statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
    const name = `${operation.method} ${operation.path}`;
    const why = judge(operation, request, answer);
    if (why !== undefined && !faults.some((fault) => fault.operation === name && fault.why === why)) {
      const shown = answer.text.slice(0, SHOWN_LENGTH_MAX);
      faults.push({ number, operation: name, why, status: answer.status, request, answer: shown });
    }
    if (answer.status < 300) {
      reached.add(name);
      values.learn(parse(answer.text));
    }
    options.onProgress?.(number);
  }
  return { faults, statuses, reached, operations: operations.length };
}

function intentOf(values: JsonValues): Intent {
  if (values.chance(0.5)) return 'valid';
  return values.chance(0.5) ? 'mutated' : 'hostile';
}

/** What the document does not say of this answer; undefined when it says all of it. */
function judge(operation: Operation, request: FuzzRequest, answer: FuzzAnswer): string | undefined {
  const { status } = answer;
  const said = operation.responses[String(status)];
  if (status >= 500 && (status !== 503 || (said ?? operation.responses['default']) === undefined)) return 'a 5xx';
  // Another method, or an address that names another route, is not this operation.
  const isElsewhere = request.method !== operation.method || status === 404;
  const response = said ?? (status >= 400 ? operation.responses['default'] : undefined);
  if (response === undefined) return isElsewhere ? undefined : `status ${status} is not documented`;
  if (request.method !== operation.method && status < 400) return undefined;
  const { content } = response;
  if (content === undefined) return answer.text === '' ? undefined : 'a body where none is documented';
  const { schema } = content[answer.mediaType] ?? {};
  if (schema === undefined) {
    return `the media type ${answer.mediaType} is not documented (${Object.keys(content).join(', ')})`;
  }
  return mismatch(schema, answer);
}

function mismatch(schema: JsonSchema, answer: FuzzAnswer): string | undefined {
  const body = parse(answer.text);
  if (body === undefined) return answer.text === '' && schema.type === 'null' ? undefined : 'the body is not JSON';
  if (Check(schema, body)) return undefined;
  const [, [first]] = Errors(schema, body);
  return `the body does not match its schema: ${JSON.stringify(first).slice(0, SHOWN_LENGTH_MAX)}`;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** How a fault is told: what was sent, what came, and why that is wrong. */
export function faultText({ number, operation, why, status, request, answer }: FuzzFault): string {
  const { method, target, headers, body } = request;
  const sent = body === undefined ? '' : `\n  body ${JSON.stringify(String(body)).slice(0, SHOWN_LENGTH_MAX)}`;
  const typed = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  return `#${number} ${operation}: ${why}\n  ${method} ${target} (${typed.join(', ')})${sent}\n  ${status} ${answer}`;
}

/** Sends over HTTP. `$KEY` in a header stands for the API key, so that a fault can be shown without it. */
export function sendTo(url: string, apiKey: string): FuzzOptions['send'] {
  return async ({ method, target, headers, body }) => {
    const response = await fetch(url + target, {
      method,
      signal: AbortSignal.timeout(ANSWER_MS_MAX),
      headers: Object.fromEntries(
        Object.entries(headers).map(([name, value]) => [name, value.replace('$KEY', apiKey)]),
      ),
      ...(body !== undefined && { body: typeof body === 'string' ? body : new Uint8Array(body) }),
    });
    const mediaType = (response.headers.get('content-type') ?? '').split(';')[0]?.trim() ?? '';
    return { status: response.status, mediaType, text: await response.text() };
  };
}
