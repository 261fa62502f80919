import { type Static, Type } from 'typebox';
import type { Adjustment, AdjustmentInput } from './adjustment.ts';
import { DAY_MS } from '../platform/durations.ts';
import {
  CursorInstant,
  decodeCursor,
  encodeCursor,
  pageSchema,
  pagingQuery,
  readLimit,
} from '../platform/http/cursor.ts';
import { AdjustmentReply, toAdjustmentReply } from './fact-entry-routes.ts';
import { CustomerId, DryRun, isDryRun, MeterKey } from '../platform/http/fields.ts';
import { problemResponse } from '../platform/http/problem.ts';
import { type App, needs } from '../platform/http/route.ts';

interface StoredAdjustment extends Adjustment {
  readonly receivedAtMs: number;
}

/** Where a page of adjustments ended. */
interface Position {
  readonly receivedAtMs: number;
  readonly id: string;
}

export interface AdjustmentRoutesDeps {
  /** Durable when it returns. */
  recordAdjustment(input: {
    adjustment: AdjustmentInput;
    ageMsMax: number;
    isNewCustomer: boolean;
    dryRun: boolean;
  }): Promise<{ outcome: 'created' | 'duplicate'; adjustment: StoredAdjustment }>;
  /** Those received last first. */
  listAdjustments(query: {
    customerId?: string;
    meter?: string;
    after?: Position;
    limit: number;
  }): Promise<{ adjustments: readonly StoredAdjustment[]; next?: Position }>;
  readonly eventAgeDaysMax: number;
}

const TEXT_LENGTH_MAX = 4_096;

const Body = Type.Object(
  {
    idempotencyKey: Type.String({
      maxLength: TEXT_LENGTH_MAX,
      description: "Derived from the work; unique among the customer's adjustments, for ever. 1 to 255 bytes.",
    }),
    customerId: Type.String({ maxLength: TEXT_LENGTH_MAX, description: '1 to 255 bytes.' }),
    meter: Type.String({ maxLength: TEXT_LENGTH_MAX, description: 'The key of a sum or count meter.' }),
    quantity: Type.Union([Type.String({ maxLength: TEXT_LENGTH_MAX }), Type.Number()], {
      description: 'A decimal, below zero to take usage away; the digits of a usage event. Exact ones belong in texts.',
      examples: ['-12.50'],
    }),
    occurredAt: Type.String({
      maxLength: TEXT_LENGTH_MAX,
      description: 'When the usage occurred that is corrected: RFC 3339 with an offset.',
      examples: ['2026-11-21T05:00:00Z'],
    }),
    reason: Type.String({ maxLength: TEXT_LENGTH_MAX, description: 'Why; kept for ever. 1 to 1000 bytes.' }),
    actor: Type.String({ maxLength: TEXT_LENGTH_MAX, description: 'Who says so; kept for ever. 1 to 255 bytes.' }),
  },
  { additionalProperties: false },
);
const Reply = Type.Object({
  outcome: Type.Union([Type.Literal('created'), Type.Literal('duplicate')]),
  ...AdjustmentReply.properties,
});
const List = pageSchema(AdjustmentReply);
const ListQuery = Type.Object(
  { customerId: Type.Optional(CustomerId), meter: Type.Optional(MeterKey), ...pagingQuery },
  { additionalProperties: false },
);
const PostQuery = Type.Object(
  {
    dryRun: Type.Optional(DryRun),
    history: Type.Optional(
      Type.Unsafe<'true' | 'false'>({ enum: ['true', 'false'], description: 'true takes one of any age.' }),
    ),
    newCustomer: Type.Optional(
      Type.Unsafe<'true' | 'false'>({
        enum: ['true', 'false'],
        description: 'true takes one for a customer that nobody has told of and that has no usage.',
      }),
    ),
  },
  { additionalProperties: false },
);
/** Where the page before ended: when its last adjustment was received, and its id. */
const AfterAdjustment = Type.Tuple([CursorInstant, Type.String()]);

const common = { tags: ['adjustments'], security: needs('admin') };

/** `/v1/adjustments`: corrections of usage after the fact. */
export function registerAdjustments(app: App, deps: AdjustmentRoutesDeps): void {
  app.post(
    '/v1/adjustments',
    {
      schema: {
        ...common,
        operationId: 'recordAdjustment',
        summary: 'Add usage to a sum or count meter, or take it away. Sending the same again changes nothing.',
        description:
          'An adjustment is a fact like a usage event: append-only, and part of every figure from here to Stripe. ' +
          'A wrong one is undone by another. 201 when it was stored, 200 when it had been.',
        querystring: PostQuery,
        body: Body,
        response: { 200: Reply, 201: Reply, default: problemResponse },
      },
    },
    async (request, reply) => {
      const dryRun = isDryRun(request.query);
      const ageMsMax = request.query.history === 'true' ? Number.POSITIVE_INFINITY : deps.eventAgeDaysMax * DAY_MS;
      const { outcome, adjustment } = await deps.recordAdjustment({
        adjustment: request.body,
        ageMsMax,
        isNewCustomer: request.query.newCustomer === 'true',
        dryRun,
      });
      return reply
        .code(outcome === 'created' && !dryRun ? 201 : 200)
        .send({ outcome, ...toAdjustmentReply(adjustment) });
    },
  );
  app.get(
    '/v1/adjustments',
    {
      schema: {
        ...common,
        operationId: 'listAdjustments',
        summary: 'Adjustments, those received last first.',
        querystring: ListQuery,
        response: { 200: List, default: problemResponse },
      },
    },
    (request) => list(deps, request.query),
  );
}

async function list(deps: AdjustmentRoutesDeps, query: Static<typeof ListQuery>): Promise<Static<typeof List>> {
  const { cursor, limit, ...rest } = query;
  const { adjustments, next } = await deps.listAdjustments({
    ...rest,
    limit: readLimit(limit),
    ...(cursor !== undefined && { after: readPosition(cursor) }),
  });
  return {
    data: adjustments.map(toAdjustmentReply),
    nextCursor: next === undefined ? null : encodeCursor([next.receivedAtMs, next.id]),
    hasMore: next !== undefined,
  };
}

function readPosition(cursor: string): Position {
  const [receivedAtMs, id] = decodeCursor(cursor, AfterAdjustment);
  return { receivedAtMs, id };
}
