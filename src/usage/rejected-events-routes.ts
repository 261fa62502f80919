/** The dead letters: list, replay, delete. */
import { type Static, Type } from 'typebox';
import { DAY_MS } from '../platform/durations.ts';
import { DaemonError } from '../platform/errors.ts';
import { CursorInstant, decodeCursor, pageSchema, pagingQuery, readLimit, toPage } from '../platform/http/cursor.ts';
import { DryRun, DryRunQuery, isDryRun } from '../platform/http/fields.ts';
import { problemResponse } from '../platform/http/problem.ts';
import { type App, needs } from '../platform/http/route.ts';

/** An entry as the store keeps it. */
export interface RejectedEventEntry {
  readonly _id: string;
  readonly text: string;
  readonly truncated?: boolean;
  readonly idempotencyKey?: string;
  readonly customerId?: string;
  readonly code: string;
  readonly detail: string;
  readonly pointer: string;
  readonly count: number;
  readonly firstAt: Date;
  readonly lastAt: Date;
}

export interface RejectedEventsRouteDeps {
  readonly rejected: {
    list(query: {
      before?: { lastAt: Date; id: string };
      code?: string;
      limit: number;
    }): Promise<readonly RejectedEventEntry[]>;
    find(id: string): Promise<object | null>;
    delete(id: string): Promise<boolean>;
  };
  replay(input: { id: string; event?: unknown; ageMsMax: number; dryRun: boolean }): Promise<{
    idempotencyKey: string;
    customerId: string;
    outcome: 'accepted' | 'duplicate';
  }>;
  readonly eventAgeDaysMax: number;
}

/** A cursor: `lastAt` in milliseconds and the id. */
const cursorSchema = Type.Tuple([CursorInstant, Type.String()]);
const paramsSchema = Type.Object({ id: Type.String({ pattern: '^[A-Za-z0-9_-]{1,64}$' }) });

const entrySchema = Type.Object({
  id: Type.String(),
  text: Type.String({ description: 'The input as JSON text.' }),
  truncated: Type.Boolean({ description: 'Whether the text is not all of the input.' }),
  idempotencyKey: Type.Union([Type.String(), Type.Null()]),
  customerId: Type.Union([Type.String(), Type.Null()]),
  code: Type.String(),
  detail: Type.String(),
  pointer: Type.String(),
  count: Type.Integer({ description: 'How often the same was refused.' }),
  firstAt: Type.String({ format: 'date-time' }),
  lastAt: Type.String({ format: 'date-time' }),
});

const common = { tags: ['rejected events'], security: needs('admin') };

export function registerRejectedEvents(app: App, deps: RejectedEventsRouteDeps): void {
  registerList(app, deps);
  registerReplay(app, deps);
  registerDelete(app, deps);
}

function registerList(app: App, deps: RejectedEventsRouteDeps): void {
  const schema = {
    ...common,
    summary: 'List rejected events, newest first',
    querystring: Type.Object(
      { ...pagingQuery, code: Type.Optional(Type.String({ pattern: '^[a-z0-9_]{1,64}$' })) },
      { additionalProperties: false },
    ),
    response: { 200: pageSchema(entrySchema), default: problemResponse },
  };
  app.get('/v1/rejected-events', { schema }, async (request) => {
    const { cursor, code } = request.query;
    const limit = readLimit(request.query.limit);
    const after = cursor === undefined ? undefined : decodeCursor(cursor, cursorSchema);
    const found = await deps.rejected.list({
      ...(after !== undefined && { before: { lastAt: new Date(after[0]), id: after[1] } }),
      ...(code !== undefined && { code }),
      limit: limit + 1,
    });
    return toPage(found, limit, { item: toItem, cursor: (last) => [last.lastAt.getTime(), last._id] });
  });
}

function registerReplay(app: App, deps: RejectedEventsRouteDeps): void {
  const schema = {
    ...common,
    summary: 'Try a rejected event again',
    description: 'The body may hold the corrected event. The entry is removed once the event is stored.',
    params: paramsSchema,
    querystring: Type.Object(
      {
        history: Type.Optional(Type.Union([Type.Literal('true'), Type.Literal('false')])),
        dryRun: Type.Optional(DryRun),
      },
      { additionalProperties: false },
    ),
    body: Type.Union([Type.Record(Type.String(), Type.Unknown()), Type.Null()], {
      description: 'Nothing, the corrected event, or {"event": the corrected event}.',
    }),
    response: {
      200: Type.Object({
        idempotencyKey: Type.String(),
        customerId: Type.String(),
        outcome: Type.Union([Type.Literal('accepted'), Type.Literal('duplicate')]),
      }),
      default: problemResponse,
    },
  };
  app.post('/v1/rejected-events/:id/replay', { schema }, (request) => {
    const event = correctedEvent(request.body);
    return deps.replay({
      id: request.params.id,
      ...(event !== undefined && { event }),
      ageMsMax: request.query.history === 'true' ? Number.POSITIVE_INFINITY : deps.eventAgeDaysMax * DAY_MS,
      dryRun: isDryRun(request.query),
    });
  });
}

function correctedEvent(body: Record<string, unknown> | null | undefined): unknown {
  if (body === null || body === undefined) return undefined;
  const names = Object.keys(body);
  if (names.length === 0) return undefined;
  return names.length === 1 && 'event' in body ? body['event'] : body;
}

function registerDelete(app: App, deps: RejectedEventsRouteDeps): void {
  const schema = {
    ...common,
    summary: 'Remove a rejected event',
    params: paramsSchema,
    querystring: DryRunQuery,
    response: { 204: Type.Null(), default: problemResponse },
  };
  app.delete('/v1/rejected-events/:id', { schema }, async (request, reply) => {
    const { id } = request.params;
    const isThere = isDryRun(request.query) ? (await deps.rejected.find(id)) !== null : await deps.rejected.delete(id);
    if (isThere) return reply.code(204).send(null);
    throw new DaemonError({
      kind: 'not-found',
      code: 'rejected_event_not_found',
      message: 'There is no rejected event with this id.',
    });
  });
}

function toItem(entry: RejectedEventEntry): Static<typeof entrySchema> {
  return {
    id: entry._id,
    text: entry.text,
    truncated: entry.truncated ?? false,
    idempotencyKey: entry.idempotencyKey ?? null,
    customerId: entry.customerId ?? null,
    code: entry.code,
    detail: entry.detail,
    pointer: entry.pointer,
    count: entry.count,
    firstAt: entry.firstAt.toISOString(),
    lastAt: entry.lastAt.toISOString(),
  };
}
