import { Type } from 'typebox';
import { decodeCursor, pageSchema, pagingQuery, readLimit, toPage } from '../platform/http/cursor.ts';
import { type StoredUnbilled, toUnbilledReply, UnbilledReply } from '../customers/unbilled-reply-routes.ts';
import { CustomerId } from '../platform/http/fields.ts';
import { problemResponse } from '../platform/http/problem.ts';
import { type App, needs } from '../platform/http/route.ts';

export interface UnbilledRoutesDeps {
  /** In order of customer and meter, after one. */
  listUnbilled(query: {
    customerId?: string;
    accepted?: boolean;
    after?: { customerId: string; meter: string };
    limit: number;
  }): Promise<readonly StoredUnbilled[]>;
}

const Query = Type.Object(
  {
    customerId: Type.Optional(CustomerId),
    accepted: Type.Optional(
      Type.Unsafe<'true' | 'false'>({
        enum: ['true', 'false'],
        description: 'Only what is, or is not, meant to be so.',
      }),
    ),
    ...pagingQuery,
  },
  { additionalProperties: false },
);
const Cursor = Type.Object({ customerId: Type.String(), meter: Type.String() });

/** `GET /v1/unbilled-usage`: usage that is at Stripe and that nothing bills. */
export function registerUnbilledUsage(app: App, deps: UnbilledRoutesDeps): void {
  app.get(
    '/v1/unbilled-usage',
    {
      schema: {
        operationId: 'listUnbilledUsage',
        summary: 'Usage that is at Stripe and that nothing bills, by customer and meter.',
        description:
          'As of the last look: hourly, with each reconciliation, and soon after usage was sent or a subscription ' +
          'changed. `GET /v1/status` says when that was, and whether the subscriptions are known at all.',
        tags: ['reconciliations'],
        security: needs('admin'),
        querystring: Query,
        response: { 200: pageSchema(UnbilledReply), default: problemResponse },
      },
    },
    async ({ query }) => {
      const limit = readLimit(query.limit);
      const found = await deps.listUnbilled({
        limit: limit + 1,
        ...(query.customerId !== undefined && { customerId: query.customerId }),
        ...(query.accepted !== undefined && { accepted: query.accepted === 'true' }),
        ...(query.cursor !== undefined && { after: decodeCursor(query.cursor, Cursor) }),
      });
      return toPage(found, limit, {
        item: toUnbilledReply,
        cursor: ({ customerId, meter }) => ({ customerId, meter }),
      });
    },
  );
}
