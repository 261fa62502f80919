import { type Static, Type } from 'typebox';
import { problemResponse } from '../platform/http/problem.ts';
import { type App, needs } from '../platform/http/route.ts';
import {
  CursorInstant,
  decodeCursor,
  encodeCursor,
  pageSchema,
  pagingQuery,
  readLimit,
} from '../platform/http/cursor.ts';
import { FactEntry, type ShownFact, toFactEntry } from './fact-entry-routes.ts';
import { CustomerId, Instant, MeterKey } from '../platform/http/fields.ts';

const FactList = pageSchema(FactEntry);

/** Where the page before ended: the instant, the id and the kind of its last fact. */
const AfterFact = Type.Tuple([
  CursorInstant,
  Type.String(),
  Type.Union([Type.Literal('event'), Type.Literal('adjustment')]),
]);

/** Where a page of facts ended. */
export interface FactPosition {
  readonly occurredAtMs: number;
  readonly id: string;
  readonly kind: 'event' | 'adjustment';
}

export interface CustomerEventsRoutesDeps {
  readEvents(input: {
    customerId: string;
    from?: string;
    to?: string;
    meter?: string;
    after?: FactPosition;
    limit: number;
  }): Promise<{ facts: readonly ShownFact[]; next?: FactPosition }>;
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
        summary: 'The raw events and adjustments of a customer, in time order; with a meter, those that it looks at.',
        tags: ['usage'],
        security: needs('usage:read'),
        params: Type.Object({ customerId: CustomerId }),
        querystring: Query,
        response: { 200: FactList, default: problemResponse },
      },
    },
    (request) => list(deps, { ...request.query, customerId: request.params.customerId }),
  );
}

async function list(
  deps: CustomerEventsRoutesDeps,
  query: Static<typeof Query> & { customerId: string },
): Promise<Static<typeof FactList>> {
  const { cursor, limit, ...rest } = query;
  const { facts, next } = await deps.readEvents({
    ...rest,
    limit: readLimit(limit),
    ...(cursor !== undefined && { after: readFactCursor(cursor) }),
  });
  return {
    data: facts.map(toFactEntry),
    nextCursor: next === undefined ? null : writeFactCursor(next),
    hasMore: next !== undefined,
  };
}

export function writeFactCursor({ occurredAtMs, id, kind }: FactPosition): string {
  return encodeCursor([occurredAtMs, id, kind]);
}

/** @throws DaemonError `cursor_invalid` */
export function readFactCursor(cursor: string): FactPosition {
  const [occurredAtMs, id, kind] = decodeCursor(cursor, AfterFact);
  return { occurredAtMs, id, kind };
}
