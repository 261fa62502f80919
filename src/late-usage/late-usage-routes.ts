import { type Static, Type } from 'typebox';
import {
  LATE_USAGE_STATES,
  type LateReason,
  type LateUsageDecision,
  type LateUsageState,
} from '../submissions/late-usage.ts';
import type { LateUsagePolicy } from '../meters/meter.ts';
import { canonicalQuantity } from '../platform/quantity.ts';
import { decodeCursor, type Page, pageSchema, pagingQuery, readLimit, toPage } from '../platform/http/cursor.ts';
import {
  Actor,
  CustomerId,
  DecimalText,
  DryRunQuery,
  Instant,
  isDryRun,
  MeterKey,
  Reason,
} from '../platform/http/fields.ts';
import { problemResponse } from '../platform/http/problem.ts';
import { type App, needs } from '../platform/http/route.ts';

/** An entry as the store keeps it. */
export interface StoredLateUsage {
  readonly _id: string;
  readonly customerId: string;
  readonly meter: string;
  readonly subject: string;
  readonly subjectStart: Date;
  readonly sequence: number;
  readonly fromQuantity: { toString(): string };
  readonly toQuantity: { toString(): string };
  readonly quantity: { toString(): string };
  readonly timestamp: Date;
  readonly reason: LateReason;
  readonly policy: LateUsagePolicy;
  readonly invoiceId?: string;
  readonly unit?: string;
  readonly identifier: string;
  readonly state: LateUsageState;
  readonly decision?: {
    readonly policy: LateUsageDecision;
    readonly actor: string;
    readonly reason?: string;
    readonly at: Date;
    readonly timestamp?: Date;
  };
  readonly createdAt: Date;
}

export interface LateUsageRoutesDeps {
  /** In order of id, after one. */
  listLateUsage(query: {
    state?: LateUsageState;
    customerId?: string;
    meter?: string;
    after?: string;
    limit: number;
  }): Promise<readonly StoredLateUsage[]>;
  /** @throws DaemonError `late_usage_not_found`, `late_usage_decided`, `policy_not_available`, `no_open_period`. */
  decide(input: {
    id: string;
    policy: LateUsagePolicy | 'dismiss';
    actor: string;
    reason?: string;
    dryRun: boolean;
  }): Promise<StoredLateUsage>;
}

const TEXT_LENGTH_MAX = 255;

const State = Type.Unsafe<LateUsageState>({ type: 'string', enum: [...LATE_USAGE_STATES] });
const Policy = Type.Unsafe<LateUsagePolicy | 'dismiss'>({
  type: 'string',
  enum: ['next_period', 'dismiss', 'invoice_item'],
  description: '`next_period`: submitted with a stamp in the open period. `dismiss`: never billed.',
});

const LateUsageReply = Type.Object({
  id: Type.String(),
  customerId: Type.String(),
  meter: Type.String(),
  subject: Type.String({ description: 'window, period, heal or late' }),
  subjectStart: Instant,
  sequence: Type.Integer(),
  fromQuantity: Type.String(),
  toQuantity: Type.String(),
  quantity: Type.String({ ...DecimalText, description: 'What would not be billed; negative after a correction.' }),
  timestamp: Type.String({ ...Instant, description: 'Start of the window in which it was used.' }),
  reason: Type.String({ description: 'invoice_final, too_old or accepted_after_finalization' }),
  policy: Type.String({ description: "The meter's policy when it was found late." }),
  invoiceId: Type.Optional(Type.String({ description: 'The invoice that is final.' })),
  unit: Type.Optional(Type.String({ description: 'Entries with the same text are decided together.' })),
  identifier: Type.String({ description: 'The submission whose value this is.' }),
  state: State,
  decision: Type.Optional(
    Type.Object({
      policy: Type.String(),
      actor: Type.String(),
      reason: Type.Optional(Type.String()),
      at: Instant,
      timestamp: Type.Optional(Instant),
    }),
  ),
  createdAt: Instant,
});

const ListQuery = Type.Object(
  {
    state: Type.Optional(State),
    customerId: Type.Optional(CustomerId),
    meter: Type.Optional(MeterKey),
    ...pagingQuery,
  },
  { additionalProperties: false },
);

const Decision = Type.Object(
  {
    policy: Policy,
    actor: Actor,
    reason: Type.Optional(Reason),
  },
  { additionalProperties: false },
);

const common = { tags: ['late usage'], security: needs('admin') };

/** `/v1/late-usage`: usage that Stripe would not bill, and what is decided about it. */
export function registerLateUsage(app: App, deps: LateUsageRoutesDeps): void {
  app.get(
    '/v1/late-usage',
    {
      schema: {
        ...common,
        operationId: 'listLateUsage',
        summary: 'Usage that came too late for its invoice, in order of id.',
        querystring: ListQuery,
        response: { 200: pageSchema(LateUsageReply), default: problemResponse },
      },
    },
    (request) => list(deps, request.query),
  );
  app.post(
    '/v1/late-usage/:id/decide',
    {
      schema: {
        ...common,
        operationId: 'decideLateUsage',
        summary: 'Decide what becomes of late usage.',
        description: 'Once: the same decision again changes nothing, another is refused.',
        params: Type.Object({ id: Type.String({ minLength: 1, maxLength: TEXT_LENGTH_MAX }) }),
        querystring: DryRunQuery,
        body: Decision,
        response: { 200: LateUsageReply, default: problemResponse },
      },
    },
    async (request) =>
      toReply(await deps.decide({ id: request.params.id, ...request.body, dryRun: isDryRun(request.query) })),
  );
}

async function list(
  deps: LateUsageRoutesDeps,
  query: Static<typeof ListQuery>,
): Promise<Page<Static<typeof LateUsageReply>>> {
  const limit = readLimit(query.limit);
  const { state, customerId, meter, cursor } = query;
  const found = await deps.listLateUsage({
    limit: limit + 1,
    ...(state !== undefined && { state }),
    ...(customerId !== undefined && { customerId }),
    ...(meter !== undefined && { meter }),
    ...(cursor !== undefined && { after: decodeCursor(cursor, Type.String()) }),
  });
  return toPage(found, limit, { item: toReply, cursor: ({ _id }) => _id });
}

function toReply(found: StoredLateUsage): Static<typeof LateUsageReply> {
  const { _id, subjectStart, fromQuantity, toQuantity, quantity, timestamp, decision, createdAt, ...rest } = found;
  return {
    ...rest,
    id: _id,
    subjectStart: subjectStart.toISOString(),
    fromQuantity: canonicalQuantity(fromQuantity.toString()),
    toQuantity: canonicalQuantity(toQuantity.toString()),
    quantity: canonicalQuantity(quantity.toString()),
    timestamp: timestamp.toISOString(),
    ...(decision && { decision: toDecision(decision) }),
    createdAt: createdAt.toISOString(),
  };
}

function toDecision({ at, timestamp, ...rest }: NonNullable<StoredLateUsage['decision']>) {
  return { ...rest, at: at.toISOString(), ...(timestamp && { timestamp: timestamp.toISOString() }) };
}
