/** `POST /v1/events`: records usage, and answers only for what is durable. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Clock } from '../clock.ts';
import { EVENT_MEDIA_TYPES, type EventInput, type EventMediaType, readEventInput } from '../domain/event-input.ts';
import type { IngestResult } from '../domain/ingest-result.ts';
import { DAY_MS } from '../durations.ts';
import { DaemonError } from '../errors.ts';
import { callerOf, requireScope } from './auth.ts';
import { bodyTooLarge, decodeBody, toNdjson, toText } from './body.ts';
import { eventsBodySchema, ingestAnswerSchema } from './event-schemas.ts';
import { problemResponse } from './problem.ts';
import { RateLimit } from './rate-limit.ts';
import { type App, needs } from './route.ts';

export interface EventsRouteDeps {
  ingest(input: { events: EventInput; bytes: number; ageMsMax: number }): Promise<IngestResult>;
  /** Told of every answered request. */
  observe(result: IngestResult, elapsedMs: number): void;
  readonly eventAgeDaysMax: number;
  readonly eventsPerRequestMax: number;
  readonly eventsPerSecondMax: number;
  readonly bodyBytesMax: number;
  readonly clock: Pick<Clock, 'now'>;
}

const DESCRIPTION = `Records usage events: one, an array, \`{"events": […]}\`, NDJSON, or CloudEvents 1.0 (structured, \
batch, or binary with \`ce-\` headers). Each event has an outcome of its own, and a whole request can always be sent \
again. 200 if anything was accepted or is a duplicate; 422 if every event was refused. With an \`admin\` key, \
\`?history=true\` imports events of any age.`;

const schema = {
  summary: 'Record usage events',
  description: DESCRIPTION,
  tags: ['events'],
  security: needs('events:write'),
  consumes: [...EVENT_MEDIA_TYPES],
  body: eventsBodySchema,
  querystring: {
    type: 'object',
    properties: { history: { type: 'string', enum: ['true', 'false'] } },
    additionalProperties: false,
  },
  response: { 200: ingestAnswerSchema, 422: ingestAnswerSchema, default: problemResponse },
};

/** Registers in a scope of its own: here, and nowhere else, a body is bytes, and only the domain checks it. */
export function registerEvents(app: App, deps: EventsRouteDeps): void {
  const limit = new RateLimit(deps.eventsPerSecondMax, deps.clock);
  void app.register((scope, _options, done) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser([...EVENT_MEDIA_TYPES], { parseAs: 'buffer' }, (_request, body, parsed) => {
      parsed(null, body);
    });
    scope.setValidatorCompiler(() => () => true);
    scope.post('/v1/events', { schema, bodyLimit: deps.bodyBytesMax }, (request, reply) =>
      answer({ deps, limit }, request, reply),
    );
    done();
  });
}

async function answer(
  { deps, limit }: { deps: EventsRouteDeps; limit: RateLimit },
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<IngestResult> {
  const caller = callerOf(request);
  limit.admit(caller.id);
  const ageMsMax = readAge(request, deps);
  const raw = (request.body as Buffer | undefined) ?? Buffer.alloc(0);
  const encoding = request.headers['content-encoding'];
  const body = encoding === undefined ? raw : await decodeBody(raw, encoding, deps.bodyBytesMax);
  if (body.length > deps.bodyBytesMax) throw bodyTooLarge(deps.bodyBytesMax);
  const events = readEvents(request, body, deps.eventsPerRequestMax);
  limit.spend(caller.id, events.values.length);
  const result = await deps.ingest({ events, bytes: body.length, ageMsMax });
  deps.observe(result, reply.elapsedTime);
  reply.code(result.accepted + result.duplicates > 0 ? 200 : 422);
  return result;
}

function readEvents(request: FastifyRequest, body: Buffer, eventsMax: number): EventInput {
  const mediaType = mediaTypeOf(request.headers['content-type'] ?? '');
  const text = mediaType === 'application/x-ndjson' ? toNdjson(body) : toText(body);
  const cloudEvent = mediaType === 'application/json' ? cloudEventHeaders(request) : undefined;
  return readEventInput({ mediaType, text, cloudEvent, eventsMax });
}

function mediaTypeOf(contentType: string): EventMediaType {
  const [essence = '', ...parameters] = contentType.toLowerCase().split(';');
  const isForeign = parameters.some(
    (parameter) => /^\s*charset\s*=/.test(parameter) && !/utf-?8"?\s*$/.test(parameter),
  );
  const mediaType = EVENT_MEDIA_TYPES.find((known) => known === essence.trim());
  if (mediaType !== undefined && !isForeign) return mediaType;
  throw new DaemonError({
    kind: 'invalid',
    code: 'content_type_unsupported',
    message: `Content-Type can be ${EVENT_MEDIA_TYPES.join(', ')}, in UTF-8.`,
  });
}

/** The attributes of a CloudEvent in binary mode, whose values are percent-encoded (CloudEvents HTTP binding 3.1.3.2). */
function cloudEventHeaders(request: FastifyRequest): Record<string, string> | undefined {
  if (request.headers['ce-specversion'] === undefined) return undefined;
  const attributes: Record<string, string> = {};
  for (const [name, value] of Object.entries(request.headers)) {
    if (name.startsWith('ce-') && typeof value === 'string') attributes[name.slice(3)] = decodePercent(name, value);
  }
  return attributes;
}

function decodePercent(name: string, value: string): string {
  try {
    return decodeURIComponent(value.replace(/^"(.*)"$/, '$1'));
  } catch (cause) {
    const message = `The header ${name} is not percent-encoded UTF-8.`;
    throw new DaemonError({ kind: 'invalid', code: 'request_invalid', message, cause });
  }
}

/** How old an event may be. Importing history is for administrators: it changes periods that are closed. */
function readAge(request: FastifyRequest, deps: EventsRouteDeps): number {
  const { history, ...others } = request.query as { history?: unknown };
  if ((history !== undefined && history !== 'true' && history !== 'false') || Object.keys(others).length > 0) {
    const message = 'The only query parameter is history, which is true or false.';
    throw new DaemonError({ kind: 'invalid', code: 'request_invalid', message, context: { pointer: '/history' } });
  }
  if (history !== 'true') return deps.eventAgeDaysMax * DAY_MS;
  requireScope(callerOf(request), 'admin');
  return Number.POSITIVE_INFINITY;
}
