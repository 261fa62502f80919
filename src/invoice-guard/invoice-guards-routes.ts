import { type Static, Type } from 'typebox';
import type { GuardHistoryEntry } from './guard-record.ts';
import type { LineVerdict } from './guarded-line.ts';
import { GUARD_STATES, type GuardState } from './invoice-guard.ts';
import { DaemonError } from '../platform/errors.ts';
import { Actor, AfterId, DecimalText, Instant, Reason } from '../platform/http/fields.ts';
import { decodeCursor, type Page, pageSchema, pagingQuery, readLimit, toPage } from '../platform/http/cursor.ts';
import { problemResponse } from '../platform/http/problem.ts';
import { type App, needs } from '../platform/http/route.ts';

/** A guard as the store keeps it. */
export interface StoredInvoiceGuard {
  readonly _id: string;
  readonly stripeCustomerId: string;
  readonly customerId?: string;
  readonly state: GuardState;
  readonly finalizesAt?: Date;
  readonly previousAutoAdvance?: boolean;
  readonly checkAt?: Date;
  readonly checks: number;
  readonly heldAt?: Date;
  readonly releasedAt?: Date;
  readonly releasedBy?: string;
  readonly reason?: string;
  readonly release?: { readonly actor: string; readonly reason: string; readonly at: Date };
  readonly differs?: true;
  readonly lines: readonly {
    readonly lineId: string;
    readonly meter: string;
    readonly from: Date;
    readonly to: Date;
    readonly local?: { toString(): string };
    readonly stripe?: { toString(): string };
    readonly billed?: { toString(): string };
    readonly verdict: LineVerdict;
    readonly note?: string;
  }[];
  readonly error?: { readonly code: string; readonly message: string };
  readonly history: readonly GuardHistoryEntry[];
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

export interface InvoiceGuardRoutesDeps {
  /** In order of invoice, after one. */
  listGuards(query: { state?: GuardState; after?: string; limit: number }): Promise<readonly StoredInvoiceGuard[]>;
  findGuard(invoiceId: string): Promise<StoredInvoiceGuard | null>;
  /** Null where there is none that can be released. */
  release(input: { invoiceId: string; actor: string; reason: string }): Promise<StoredInvoiceGuard | null>;
}

const TEXT_LENGTH_MAX = 255;

const State = Type.Unsafe<GuardState>({
  type: 'string',
  enum: [...GUARD_STATES],
  description: '`held`: Stripe does not finalise the invoice until it is released.',
});
const Verdict = Type.Unsafe<LineVerdict>({
  type: 'string',
  enum: ['match', 'missing', 'surplus', 'late', 'not_read'],
  description: '`missing`: less at Stripe than was used. `late`: what is not billed is on the list of late usage.',
});
const LineReply = Type.Object({
  lineId: Type.String(),
  meter: Type.String(),
  from: Instant,
  to: Instant,
  local: Type.Optional(Type.String({ ...DecimalText, description: 'What is to be billed, by our aggregates.' })),
  stripe: Type.Optional(Type.String({ ...DecimalText, description: "Stripe's event summary of the same period." })),
  billed: Type.Optional(Type.String({ ...DecimalText, description: 'What the final invoice bills.' })),
  verdict: Verdict,
  note: Type.Optional(Type.String()),
});
const GuardReply = Type.Object({
  invoiceId: Type.String({ description: "Stripe's id." }),
  stripeCustomerId: Type.String(),
  customerId: Type.Optional(Type.String()),
  state: State,
  finalizesAt: Type.Optional(Instant),
  previousAutoAdvance: Type.Optional(Type.Boolean({ description: 'What is restored when a hold ends.' })),
  checkAt: Type.Optional(Instant),
  checks: Type.Integer({ description: 'Looks in a row that changed nothing.' }),
  heldAt: Type.Optional(Instant),
  releasedAt: Type.Optional(Instant),
  releasedBy: Type.Optional(Type.String({ description: 'A person, `tallystick`, or `stripe`.' })),
  reason: Type.Optional(Type.String()),
  release: Type.Optional(Type.Object({ actor: Type.String(), reason: Type.String(), at: Instant })),
  differs: Type.Boolean({ description: 'The final invoice does not bill what was used.' }),
  lines: Type.Array(LineReply),
  error: Type.Optional(
    Type.Object({ code: Type.String(), message: Type.String() }, { description: 'Why the last look came to nothing.' }),
  ),
  history: Type.Array(
    Type.Object({
      at: Instant,
      state: Type.String(),
      reason: Type.Optional(Type.String()),
      actor: Type.Optional(Type.String()),
    }),
  ),
  createdAt: Instant,
  updatedAt: Instant,
});
const ListQuery = Type.Object({ state: Type.Optional(State), ...pagingQuery }, { additionalProperties: false });
const Path = Type.Object({ invoiceId: Type.String({ minLength: 1, maxLength: TEXT_LENGTH_MAX }) });
const Release = Type.Object(
  {
    actor: Actor,
    reason: Reason,
  },
  { additionalProperties: false },
);
const common = { tags: ['invoice guards'], security: needs('admin') };

/** `/v1/invoice-guards`: what the guard found of each invoice, and a person's word that one is to go. */
export function registerInvoiceGuards(app: App, deps: InvoiceGuardRoutesDeps): void {
  app.get(
    '/v1/invoice-guards',
    {
      schema: {
        ...common,
        operationId: 'listInvoiceGuards',
        summary: 'The guards of invoices, in order of invoice.',
        querystring: ListQuery,
        response: { 200: pageSchema(GuardReply), default: problemResponse },
      },
    },
    (request) => list(deps, request.query),
  );
  app.get(
    '/v1/invoice-guards/:invoiceId',
    {
      schema: {
        ...common,
        operationId: 'getInvoiceGuard',
        summary: 'The guard of an invoice, with both numbers of each line.',
        params: Path,
        response: { 200: GuardReply, default: problemResponse },
      },
    },
    async (request) => toReply(await find(deps, request.params.invoiceId)),
  );
  app.post(
    '/v1/invoice-guards/:invoiceId/release',
    {
      schema: {
        ...common,
        operationId: 'releaseInvoice',
        summary: 'Let an invoice go although it differs, or before it is held.',
        description: 'Recorded with actor and reason, and carried out by the job `guard-invoices`.',
        params: Path,
        body: Release,
        response: { 200: GuardReply, default: problemResponse },
      },
    },
    async (request) => toReply(await release(deps, { ...request.params, ...request.body })),
  );
}

async function list(
  deps: InvoiceGuardRoutesDeps,
  query: Static<typeof ListQuery>,
): Promise<Page<Static<typeof GuardReply>>> {
  const limit = readLimit(query.limit);
  const { state, cursor } = query;
  const found = await deps.listGuards({
    limit: limit + 1,
    ...(state !== undefined && { state }),
    ...(cursor !== undefined && { after: decodeCursor(cursor, AfterId)[0] }),
  });
  return toPage(found, limit, { item: toReply, cursor: ({ _id }) => [_id] });
}

async function find(deps: InvoiceGuardRoutesDeps, invoiceId: string): Promise<StoredInvoiceGuard> {
  const found = await deps.findGuard(invoiceId);
  if (found !== null) return found;
  throw new DaemonError({
    kind: 'not-found',
    code: 'invoice_guard_not_found',
    message: 'No invoice of this id is guarded.',
  });
}

async function release(
  deps: InvoiceGuardRoutesDeps,
  input: { invoiceId: string; actor: string; reason: string },
): Promise<StoredInvoiceGuard> {
  const released = await deps.release(input);
  if (released !== null) return released;
  const { state, release: earlier } = await find(deps, input.invoiceId);
  throw new DaemonError({
    kind: 'conflict',
    code: 'invoice_guard_not_releasable',
    message:
      earlier === undefined
        ? `The invoice is not held: its guard is ${state}.`
        : `${earlier.actor} has said already that the invoice is to be released.`,
  });
}

function toReply(guard: StoredInvoiceGuard): Static<typeof GuardReply> {
  const { finalizesAt, checkAt, heldAt, releasedAt, customerId, previousAutoAdvance, releasedBy, reason } = guard;
  return {
    invoiceId: guard._id,
    stripeCustomerId: guard.stripeCustomerId,
    ...(customerId !== undefined && { customerId }),
    state: guard.state,
    ...(finalizesAt && { finalizesAt: finalizesAt.toISOString() }),
    ...(previousAutoAdvance !== undefined && { previousAutoAdvance }),
    ...(checkAt && { checkAt: checkAt.toISOString() }),
    checks: guard.checks,
    ...(heldAt && { heldAt: heldAt.toISOString() }),
    ...(releasedAt && { releasedAt: releasedAt.toISOString() }),
    ...(releasedBy !== undefined && { releasedBy }),
    ...(reason !== undefined && { reason }),
    ...(guard.release && { release: { ...guard.release, at: guard.release.at.toISOString() } }),
    differs: guard.differs === true,
    lines: guard.lines.map(toLine),
    ...(guard.error && { error: guard.error }),
    history: guard.history.map((entry) => ({ ...entry, at: entry.at.toISOString() })),
    createdAt: guard.createdAt.toISOString(),
    updatedAt: guard.updatedAt.toISOString(),
  };
}

function toLine(line: StoredInvoiceGuard['lines'][number]): Static<typeof LineReply> {
  const { lineId, meter, from, to, local, stripe, billed, verdict, note } = line;
  return {
    lineId,
    meter,
    from: from.toISOString(),
    to: to.toISOString(),
    ...(local && { local: local.toString() }),
    ...(stripe && { stripe: stripe.toString() }),
    ...(billed && { billed: billed.toString() }),
    verdict,
    ...(note !== undefined && { note }),
  };
}
