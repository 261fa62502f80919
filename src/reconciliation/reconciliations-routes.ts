import { type Static, Type } from 'typebox';
import { VERDICTS, type Verdict } from './reconciliation.ts';
import { DaemonError } from '../platform/errors.ts';
import { problemResponse } from '../platform/http/problem.ts';
import { type App, needs } from '../platform/http/route.ts';
import {
  CursorInstant,
  decodeCursor,
  type Page,
  pageSchema,
  pagingQuery,
  readLimit,
  toPage,
} from '../platform/http/cursor.ts';
import { Instant } from '../platform/http/fields.ts';

/** A reconciliation run as it is stored. */
export interface StoredReconciliation {
  readonly _id: string;
  readonly startedAt: Date;
  readonly endedAt?: Date;
  readonly mode: string;
  readonly reads: number;
  readonly verdicts: Partial<Record<Verdict, number>>;
  readonly aggregates: { readonly checked: number; readonly requeued: number; readonly person: readonly object[] };
  readonly healed: number;
  readonly waiting: number;
  readonly approvals?: readonly StoredApproval[];
}

/** A decision about plans that waited, as it is stored. */
interface StoredApproval {
  readonly id: string;
  readonly actor: string;
  readonly at: Date;
  readonly reason?: string;
  readonly acceptSurplus?: true;
  readonly rows: readonly { readonly customerId: string; readonly meter: string; readonly periodStart: Date }[];
  readonly applied?: number;
}

/** One comparison as it is stored. */
export interface StoredComparison {
  readonly _id: {
    readonly run: string;
    readonly customerId: string;
    readonly meter: string;
    readonly periodStart: Date;
  };
  readonly from: Date;
  readonly to: Date;
  readonly verdict: Verdict;
  readonly local: string;
  readonly delivered: string;
  readonly inFlight: string;
  readonly blocked: string;
  readonly rejected: string;
  readonly late?: string;
  readonly stripe?: string;
  readonly readAt?: Date;
  readonly note?: string;
  readonly unbilled?: { readonly quantity: string; readonly reasons: readonly string[] };
  readonly hours: readonly {
    readonly hourMs: number;
    readonly delivered: string;
    readonly stripe: string;
    readonly isSettled: boolean;
  }[];
  readonly plan: readonly object[];
  readonly applied: boolean;
  readonly waits?: true;
}

export interface ReconciliationRoutesDeps {
  /** Newest first, begun before an instant. */
  listReconciliations(query: { before?: Date; limit: number }): Promise<readonly StoredReconciliation[]>;
  findReconciliation(id: string): Promise<StoredReconciliation | null>;
  /** A run's comparisons by customer, meter and period, after one. */
  listComparisons(query: {
    run: string;
    after?: StoredComparison['_id'];
    verdict?: Verdict;
    waits?: boolean;
    limit: number;
  }): Promise<readonly StoredComparison[]>;
}

const VerdictField = Type.Unsafe<Verdict>({ type: 'string', enum: [...VERDICTS] });
const RunReply = Type.Object({
  id: Type.String(),
  startedAt: Instant,
  endedAt: Type.Optional(Instant),
  mode: Type.String(),
  reads: Type.Integer({ description: 'Event summary reads that were made.' }),
  verdicts: Type.Record(Type.String(), Type.Integer()),
  aggregates: Type.Object({
    checked: Type.Integer(),
    requeued: Type.Integer(),
    person: Type.Array(Type.Unknown()),
  }),
  healed: Type.Integer(),
  waiting: Type.Integer({ description: 'Plans that wait for a person.' }),
  approvals: Type.Array(
    Type.Object({
      id: Type.String(),
      actor: Type.String(),
      at: Instant,
      reason: Type.Optional(Type.String()),
      acceptSurplus: Type.Boolean(),
      rows: Type.Array(Type.Object({ customerId: Type.String(), meter: Type.String(), periodStart: Instant })),
      applied: Type.Optional(Type.Integer({ description: 'Corrections made; absent while they are being made.' })),
    }),
    { description: 'Who decided what about plans that waited.' },
  ),
});
const ComparisonReply = Type.Object({
  customerId: Type.String(),
  meter: Type.String(),
  periodStart: Instant,
  from: Instant,
  to: Instant,
  verdict: VerdictField,
  local: Type.String({ description: 'What usage came to.' }),
  delivered: Type.String({ description: 'What Stripe has taken from us.' }),
  inFlight: Type.String(),
  blocked: Type.String(),
  rejected: Type.String(),
  late: Type.String({ description: 'Late usage: counted here, and not sent with the stamp of its window.' }),
  stripe: Type.Optional(Type.String({ description: "Stripe's total; absent when it was not read." })),
  readAt: Type.Optional(
    Type.String({
      format: 'date-time',
      description: "When Stripe's total was read: earlier than the run where nothing changed since the last match.",
    }),
  ),
  note: Type.Optional(Type.String()),
  unbilled: Type.Optional(
    Type.Object(
      { quantity: Type.String(), reasons: Type.Array(Type.String()) },
      { description: 'Usage that is at Stripe and that nothing bills; see GET /v1/unbilled-usage.' },
    ),
  ),
  hours: Type.Array(
    Type.Object({ hour: Instant, delivered: Type.String(), stripe: Type.String(), isSettled: Type.Boolean() }),
  ),
  plan: Type.Array(Type.Unknown(), { description: 'What mends it, hour by hour.' }),
  applied: Type.Boolean(),
  waits: Type.Boolean({ description: 'The plan waits for a person.' }),
});
const RunList = pageSchema(RunReply);
const RunWithRows = Type.Object({
  ...RunReply.properties,
  comparisons: pageSchema(ComparisonReply),
});
const Path = Type.Object({ id: Type.String({ maxLength: 100 }) });
const ListQuery = Type.Object(pagingQuery, { additionalProperties: false });
const OneQuery = Type.Object(
  {
    ...ListQuery.properties,
    verdict: Type.Optional(VerdictField),
    waits: Type.Optional(Type.Literal('true', { description: 'Only comparisons whose plan waits for a person.' })),
  },
  { additionalProperties: false },
);

/** `/v1/reconciliations`: runs with their verdicts and both numbers of each comparison. */
export function registerReconciliations(app: App, deps: ReconciliationRoutesDeps): void {
  app.get(
    '/v1/reconciliations',
    {
      schema: {
        security: needs('admin'),
        operationId: 'listReconciliations',
        summary: 'Reconciliation runs, newest first.',
        tags: ['reconciliations'],
        querystring: ListQuery,
        response: { 200: RunList, default: problemResponse },
      },
    },
    async (request) => listRuns(deps, request.query),
  );
  app.get(
    '/v1/reconciliations/:id',
    {
      schema: {
        security: needs('admin'),
        operationId: 'getReconciliation',
        summary: 'A run with its comparisons, in pages.',
        tags: ['reconciliations'],
        params: Path,
        querystring: OneQuery,
        response: { 200: RunWithRows, default: problemResponse },
      },
    },
    async (request) => {
      const run = await deps.findReconciliation(request.params.id);
      if (run === null) {
        throw new DaemonError({
          kind: 'not-found',
          code: 'reconciliation_not_found',
          message: 'No reconciliation run has this id.',
        });
      }
      return { ...toRunReply(run), comparisons: await listRows(deps, run._id, request.query) };
    },
  );
}

async function listRuns(
  deps: ReconciliationRoutesDeps,
  query: Static<typeof ListQuery>,
): Promise<Page<Static<typeof RunReply>>> {
  const limit = readLimit(query.limit);
  const before = query.cursor === undefined ? undefined : new Date(decodeCursor(query.cursor, CursorInstant));
  const found = await deps.listReconciliations({ limit: limit + 1, ...(before && { before }) });
  return toPage(found, limit, { item: toRunReply, cursor: ({ startedAt }) => startedAt.getTime() });
}

const RowCursor = Type.Object({ customerId: Type.String(), meter: Type.String(), periodStartMs: CursorInstant });

async function listRows(
  deps: ReconciliationRoutesDeps,
  run: string,
  query: Static<typeof OneQuery>,
): Promise<Page<Static<typeof ComparisonReply>>> {
  const limit = readLimit(query.limit);
  const cursor = query.cursor === undefined ? undefined : decodeCursor(query.cursor, RowCursor);
  const found = await deps.listComparisons({
    run,
    limit: limit + 1,
    ...(query.verdict !== undefined && { verdict: query.verdict }),
    ...(query.waits === 'true' && { waits: true }),
    ...(cursor && {
      after: { run, customerId: cursor.customerId, meter: cursor.meter, periodStart: new Date(cursor.periodStartMs) },
    }),
  });
  return toPage(found, limit, {
    item: toRowReply,
    cursor: ({ _id }) => ({ customerId: _id.customerId, meter: _id.meter, periodStartMs: _id.periodStart.getTime() }),
  });
}

function toRunReply(run: StoredReconciliation): Static<typeof RunReply> {
  const { _id, startedAt, endedAt, mode, reads, verdicts, aggregates, healed, waiting, approvals = [] } = run;
  return {
    id: _id,
    startedAt: startedAt.toISOString(),
    ...(endedAt && { endedAt: endedAt.toISOString() }),
    mode,
    reads,
    verdicts,
    aggregates: { ...aggregates, person: [...aggregates.person] },
    healed,
    waiting,
    approvals: approvals.map(({ at, acceptSurplus, rows, ...approval }) => ({
      ...approval,
      at: at.toISOString(),
      acceptSurplus: acceptSurplus === true,
      rows: rows.map(({ periodStart, ...row }) => ({ ...row, periodStart: periodStart.toISOString() })),
    })),
  };
}

function toRowReply(row: StoredComparison): Static<typeof ComparisonReply> {
  const { _id, from, to, hours, plan, late = '0', waits, readAt, unbilled, ...rest } = row;
  return {
    ...rest,
    late,
    waits: waits === true,
    ...(readAt && { readAt: readAt.toISOString() }),
    customerId: _id.customerId,
    meter: _id.meter,
    periodStart: _id.periodStart.toISOString(),
    from: from.toISOString(),
    to: to.toISOString(),
    hours: hours.map(({ hourMs, ...hour }) => ({ ...hour, hour: new Date(hourMs).toISOString() })),
    plan: [...plan],
    ...(unbilled && { unbilled: { quantity: unbilled.quantity, reasons: [...unbilled.reasons] } }),
  };
}
