import { type Static, Type } from 'typebox';
import { UNBILLED_REASONS, type UnbilledPart, type UnbilledReason } from './unbilled-usage.ts';
import { addQuantities } from '../platform/quantity.ts';
import { decodeCursor, pageSchema, pagingQuery, readLimit, toPage } from '../platform/http/cursor.ts';
import { CustomerId, DecimalText, Instant, MeterKey } from '../platform/http/fields.ts';
import { problemResponse } from '../platform/http/problem.ts';
import { type App, needs } from '../platform/http/route.ts';

/** Usage that nothing bills, as it is stored. */
export interface StoredUnbilled {
  readonly customerId: string;
  readonly meter: string;
  readonly unit: string;
  readonly stripeCustomerId: string;
  readonly parts: readonly UnbilledPart[];
  readonly accepted?: string;
  readonly checkedAt: Date;
}

export interface UnbilledRoutesDeps {
  /** In order of customer and meter, after one. */
  listUnbilled(query: {
    customerId?: string;
    accepted?: boolean;
    after?: { customerId: string; meter: string };
    limit: number;
  }): Promise<readonly StoredUnbilled[]>;
}

export const UnbilledReply = Type.Object(
  {
    customerId: CustomerId,
    meter: MeterKey,
    unit: Type.String(),
    stripeCustomerId: Type.String(),
    quantity: DecimalText,
    parts: Type.Array(
      Type.Object({
        reason: Type.Unsafe<UnbilledReason>({ type: 'string', enum: [...UNBILLED_REASONS] }),
        from: Instant,
        to: Instant,
        quantity: DecimalText,
      }),
    ),
    accepted: Type.Optional(Type.String({ description: 'Why that is meant: the unbilledReason of the customer.' })),
    checkedAt: Instant,
  },
  { description: 'Usage that is at Stripe, on no invoice, and comes onto none.' },
);

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

export function toUnbilledReply({ parts, checkedAt, ...rest }: StoredUnbilled): Static<typeof UnbilledReply> {
  return {
    ...rest,
    quantity: addQuantities('0', ...parts.map(({ quantity }) => quantity)),
    parts: toUnbilledParts(parts),
    checkedAt: checkedAt.toISOString(),
  };
}

export function toUnbilledParts(parts: readonly UnbilledPart[]): Static<typeof UnbilledReply>['parts'] {
  return parts.map(({ fromMs, toMs, ...part }) => ({
    ...part,
    from: new Date(fromMs).toISOString(),
    to: new Date(toMs).toISOString(),
  }));
}
