import { type Static, Type } from 'typebox';
import { problemResponse } from './problem.ts';
import { type App, needs } from './route.ts';
import { decodeCursor, encodeCursor, pageSchema, pagingQuery, readLimit } from './cursor.ts';
import { CustomerId, DecimalText, Instant, MeterKey } from './fields.ts';

const EventReply = Type.Object({
  idempotencyKey: Type.String(),
  customerId: CustomerId,
  eventType: Type.String(),
  occurredAt: Instant,
  receivedAt: Instant,
  quantity: DecimalText,
  userId: Type.Optional(Type.String()),
  properties: Type.Optional(
    Type.Record(Type.String(), Type.Union([Type.String(), Type.Boolean()]), {
      description: 'Numbers are shown as exact decimal texts.',
    }),
  ),
});
const EventList = pageSchema(EventReply);

/** Where the page before ended: the instant and the id of its last event. */
const AfterEvent = Type.Tuple([Type.Integer(), Type.String()]);

interface Position {
  readonly occurredAtMs: number;
  readonly id: string;
}

export interface CustomerEventsRoutesDeps {
  readEvents(input: {
    customerId: string;
    from?: string;
    to?: string;
    meter?: string;
    after?: Position;
    limit: number;
  }): Promise<{ events: Static<typeof EventReply>[]; next?: Position }>;
}

const Query = Type.Object(
  {
    from: Type.Optional(Instant),
    to: Type.Optional(Instant),
    meter: Type.Optional(MeterKey),
    ...pagingQuery,
  },
  { additionalProperties: false },
);

/** `GET /v1/customers/{customerId}/events`: the raw events behind a figure. */
export function registerCustomerEvents(app: App, deps: CustomerEventsRoutesDeps): void {
  app.get(
    '/v1/customers/:customerId/events',
    {
      schema: {
        operationId: 'listCustomerEvents',
        summary: 'The raw events of a customer, in time order; with a meter, those that it looks at.',
        tags: ['usage'],
        security: needs('usage:read'),
        params: Type.Object({ customerId: CustomerId }),
        querystring: Query,
        response: { 200: EventList, default: problemResponse },
      },
    },
    (request) => list(deps, { ...request.query, customerId: request.params.customerId }),
  );
}

async function list(
  deps: CustomerEventsRoutesDeps,
  query: Static<typeof Query> & { customerId: string },
): Promise<Static<typeof EventList>> {
  const { cursor, limit, ...rest } = query;
  const { events, next } = await deps.readEvents({
    ...rest,
    limit: readLimit(limit),
    ...(cursor !== undefined && { after: readPosition(cursor) }),
  });
  return {
    data: events,
    nextCursor: next === undefined ? null : encodeCursor([next.occurredAtMs, next.id]),
    hasMore: next !== undefined,
  };
}

function readPosition(cursor: string): Position {
  const [occurredAtMs, id] = decodeCursor(cursor, AfterEvent);
  return { occurredAtMs, id };
}
