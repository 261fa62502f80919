import { type Static, Type } from 'typebox';
import { DaemonError } from '../platform/errors.ts';
import { CursorInstant, decodeCursor, pageSchema, pagingQuery, readLimit, toPage } from '../platform/http/cursor.ts';
import { Instant } from '../platform/http/fields.ts';
import { problemResponse } from '../platform/http/problem.ts';
import { type App, needs } from '../platform/http/route.ts';

type State = 'pending' | 'done' | 'failed';

/** An event as the inbox stores it. */
export interface StoredWebhook {
  readonly _id: string;
  readonly kind: 'snapshot' | 'thin';
  readonly type: string;
  readonly objectId?: string;
  readonly createdAt: Date;
  readonly receivedAt: Date;
  readonly source: string;
  readonly state: State;
  readonly attempts: number;
  readonly dueAt?: Date;
  readonly doneAt?: Date;
  readonly outcome?: string;
  readonly error?: { readonly code: string; readonly message: string };
}

export interface StripeInboxDeps {
  /** Newest first. */
  listInbox(query: {
    state?: State;
    before?: { receivedAt: Date; id: string };
    limit: number;
  }): Promise<readonly StoredWebhook[]>;
  /** Makes a failed event pending again; returns whether it had failed. */
  retry(eventId: string): Promise<boolean>;
}

const StateText = Type.Unsafe<State>({ type: 'string', enum: ['pending', 'done', 'failed'] });

const EntryReply = Type.Object({
  eventId: Type.String(),
  kind: Type.Unsafe<'snapshot' | 'thin'>({ type: 'string', enum: ['snapshot', 'thin'] }),
  type: Type.String(),
  objectId: Type.Optional(Type.String()),
  createdAt: Instant,
  receivedAt: Instant,
  source: Type.String({ description: 'delivery, or catch-up: it was missing and found in the list of Stripe.' }),
  state: StateText,
  attempts: Type.Integer(),
  dueAt: Type.Optional(Instant),
  doneAt: Type.Optional(Instant),
  outcome: Type.Optional(Type.String({ description: 'handled, or ignored: nothing is done for this type.' })),
  error: Type.Optional(Type.Object({ code: Type.String(), message: Type.String() })),
});

const InboxList = pageSchema(EntryReply);
const ListQuery = Type.Object({ state: Type.Optional(StateText), ...pagingQuery }, { additionalProperties: false });
const Position = Type.Tuple([CursorInstant, Type.String()]);
const Path = Type.Object({ eventId: Type.String({ minLength: 1, maxLength: 255 }) });
const RetryReply = Type.Object({ eventId: Type.String(), state: Type.Literal('pending') });

/** `/v1/stripe/inbox`: the events that Stripe told us of, and what became of them. */
export function registerStripeInbox(app: App, deps: StripeInboxDeps): void {
  app.get(
    '/v1/stripe/inbox',
    {
      schema: {
        operationId: 'listStripeInbox',
        summary: 'Events of Stripe, newest first, and what became of them.',
        tags: ['stripe'],
        security: needs('admin'),
        querystring: ListQuery,
        response: { 200: InboxList, default: problemResponse },
      },
    },
    (request) => list(deps, request.query),
  );
  app.post(
    '/v1/stripe/inbox/:eventId/retry',
    {
      schema: {
        operationId: 'retryStripeEvent',
        summary: 'Try a failed event again.',
        tags: ['stripe'],
        security: needs('admin'),
        params: Path,
        response: { 200: RetryReply, default: problemResponse },
      },
    },
    async (request) => {
      const { eventId } = request.params;
      if (await deps.retry(eventId)) return { eventId, state: 'pending' as const };
      throw new DaemonError({
        kind: 'not-found',
        code: 'webhook_event_not_failed',
        message: 'No event of this id has failed.',
      });
    },
  );
}

async function list(deps: StripeInboxDeps, query: Static<typeof ListQuery>): Promise<Static<typeof InboxList>> {
  const limit = readLimit(query.limit);
  const before = query.cursor === undefined ? undefined : decodeCursor(query.cursor, Position);
  const found = await deps.listInbox({
    limit: limit + 1,
    ...(query.state !== undefined && { state: query.state }),
    ...(before !== undefined && { before: { receivedAt: new Date(before[0]), id: before[1] } }),
  });
  return toPage(found, limit, { item: toReply, cursor: ({ receivedAt, _id }) => [receivedAt.getTime(), _id] });
}

function toReply(entry: StoredWebhook): Static<typeof EntryReply> {
  const { _id, createdAt, receivedAt, dueAt, doneAt, ...rest } = entry;
  return {
    ...rest,
    eventId: _id,
    createdAt: createdAt.toISOString(),
    receivedAt: receivedAt.toISOString(),
    ...(dueAt && { dueAt: dueAt.toISOString() }),
    ...(doneAt && { doneAt: doneAt.toISOString() }),
  };
}
