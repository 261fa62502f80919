import { type Static, Type } from 'typebox';
import { decodeCursor, pageSchema, pagingQuery, readLimit, toPage } from '../platform/http/cursor.ts';
import { CustomerId, Instant } from '../platform/http/fields.ts';
import { problemResponse } from '../platform/http/problem.ts';
import { type App, needs } from '../platform/http/route.ts';

export interface UnmappedCustomersDeps {
  /** In order of id, after an id. */
  listUnmapped(query: {
    after?: string;
    limit: number;
  }): Promise<readonly { readonly customerId: string; readonly blocked: number; readonly since: Date }[]>;
}

const UnmappedList = pageSchema(
  Type.Object({
    customerId: CustomerId,
    blockedSubmissions: Type.Integer({ description: 'Meter events that wait for the mapping.' }),
    since: Instant,
  }),
);
const ListQuery = Type.Object({ ...pagingQuery }, { additionalProperties: false });

/** `/v1/unmapped-customers`: whose usage cannot be billed, whether or not anybody told us of the customer. */
export function registerUnmappedCustomers(app: App, deps: UnmappedCustomersDeps): void {
  app.get(
    '/v1/unmapped-customers',
    {
      schema: {
        operationId: 'listUnmappedCustomers',
        summary:
          'Customers with usage but without a Stripe customer, in order of id; also those known from events only.',
        tags: ['customers'],
        security: needs('usage:read'),
        querystring: ListQuery,
        response: { 200: UnmappedList, default: problemResponse },
      },
    },
    (request) => list(deps, request.query),
  );
}

async function list(
  deps: UnmappedCustomersDeps,
  query: Static<typeof ListQuery>,
): Promise<Static<typeof UnmappedList>> {
  const limit = readLimit(query.limit);
  const after = query.cursor === undefined ? undefined : decodeCursor(query.cursor, Type.String());
  const found = await deps.listUnmapped({ limit: limit + 1, ...(after !== undefined && { after }) });
  return toPage(found, limit, {
    item: ({ customerId, blocked, since }) => ({
      customerId,
      blockedSubmissions: blocked,
      since: since.toISOString(),
    }),
    cursor: ({ customerId }) => customerId,
  });
}
