/** `POST /v1/events`: records usage, and answers only for what is durable. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { type Static, Type } from 'typebox';
import type { Clock } from '../platform/clock.ts';
import type { CloudEventData } from './cloud-event.ts';
import {
  EVENT_MEDIA_TYPES,
  type EventBody,
  type EventInput,
  type EventMediaType,
  readEventInput,
} from './event-input.ts';
import type { IngestResult } from './ingest-result.ts';
import { faultsOf } from '../platform/schema-fault.ts';
import { DAY_MS } from '../platform/durations.ts';
import { DaemonError, isPassing } from '../platform/errors.ts';
import { callerOf, requireScope } from '../platform/http/auth.ts';
import { bodyTooLarge, decodeBody, toNdjson, toText } from './body.ts';
import { eventsBodySchema, ingestAnswerSchema } from './event-schemas.ts';
import { DryRun, isDryRun } from '../platform/http/fields.ts';
import { cloudEventHeaders } from './cloud-event-headers.ts';
import { problemResponse, requestInvalid } from '../platform/http/problem.ts';
import { type Charge, RateLimit, tokensOfBytes } from '../platform/http/rate-limit.ts';
import { type App, needs } from '../platform/http/route.ts';

export interface EventsRouteDeps {
  ingest(input: { events: EventInput; bytes: number; ageMsMax: number; dryRun: boolean }): Promise<IngestResult>;
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
  querystring: Type.Object(
    {
      history: Type.Optional(
        Type.Unsafe<'true' | 'false'>({ type: 'string', enum: ['true', 'false'], description: 'true takes any age.' }),
      ),
      dryRun: Type.Optional(DryRun),
      data: Type.Optional(
        Type.Unsafe<CloudEventData>({
          type: 'string',
          enum: ['fields', 'properties'],
          description:
            'What the `data` of CloudEvents is: fields of a usage event (the default), or its properties. As properties, an event without `time` counts at the instant of its first arrival.',
        }),
      ),
    },
    { additionalProperties: false },
  ),
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
  const charge = limit.admit(caller.id);
  const { isHistory, data, dryRun } = readQuery(request);
  const ageMsMax = isHistory ? Number.POSITIVE_INFINITY : deps.eventAgeDaysMax * DAY_MS;
  const raw = (request.body as Buffer | undefined) ?? Buffer.alloc(0);
  const encoding = request.headers['content-encoding'];
  // What inflating may come to is charged before it is tried: a refusal costs as much as it took.
  charge.set(tokensOfBytes(encoding === undefined ? raw.length : deps.bodyBytesMax));
  const body = encoding === undefined ? raw : await decodeBody(raw, encoding, deps.bodyBytesMax);
  if (body.length > deps.bodyBytesMax) throw bodyTooLarge(deps.bodyBytesMax);
  charge.set(tokensOfBytes(body.length));
  const events = readEvents(request, body, { eventsMax: deps.eventsPerRequestMax, data, isHistory });
  charge.set(Math.max(events.values.length, tokensOfBytes(body.length)));
  const result = await ingestOrGiveBack({ deps, charge }, { events, bytes: body.length, ageMsMax, dryRun });
  if (!dryRun) deps.observe(result, reply.elapsedTime);
  reply.code(result.accepted + result.duplicates > 0 ? 200 : 422);
  return result;
}

/** Where nothing could be acknowledged the same comes again, and is charged then. */
async function ingestOrGiveBack(
  { deps, charge }: { deps: EventsRouteDeps; charge: Charge },
  input: Parameters<EventsRouteDeps['ingest']>[0],
): Promise<IngestResult> {
  try {
    return await deps.ingest(input);
  } catch (error) {
    if (isPassing(error)) charge.set(0);
    throw error;
  }
}

function readEvents(
  request: FastifyRequest,
  body: Buffer,
  how: Pick<EventBody, 'eventsMax' | 'data'> & { isHistory: boolean },
): EventInput {
  const mediaType = mediaTypeOf(request.headers['content-type'] ?? '');
  const text = mediaType === 'application/x-ndjson' ? toNdjson(body) : toText(body);
  const cloudEvent = mediaType === 'application/json' ? cloudEventHeaders(request.raw.rawHeaders) : undefined;
  const { timeless, ...events } = readEventInput({ mediaType, text, cloudEvent, ...how });
  // History without a time would count today: it is refused as an event without occurredAt.
  return timeless === undefined || how.isHistory ? events : { ...events, timeless };
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

/** Whether events may be of any age, and what data is. Importing history is for administrators: it changes closed periods. */
function readQuery(request: FastifyRequest): {
  isHistory: boolean;
  data: CloudEventData | undefined;
  dryRun: boolean;
} {
  const errors = faultsOf(schema.querystring, request.query);
  if (errors.length > 0) throw requestInvalid(errors);
  const { history, data, dryRun } = request.query as Static<typeof schema.querystring>;
  if (history === 'true') requireScope(callerOf(request), 'admin');
  return { isHistory: history === 'true', data, dryRun: isDryRun({ dryRun }) };
}
