import { type Static, Type } from 'typebox';
import { type Cancellation, showCancellation } from './resolving/cancellation.ts';
import { SUBMISSION_STATES, type SubmissionState } from './submission.ts';
import { DaemonError } from '../platform/errors.ts';
import { CancellationReply, OffsetBy } from './resolving/cancellation-routes.ts';
import { problemResponse } from '../platform/http/problem.ts';
import { type App, needs } from '../platform/http/route.ts';
import { decodeCursor, type Page, pageSchema, pagingQuery, readLimit, toPage } from '../platform/http/cursor.ts';
import { Actor, DryRunQuery, Instant, isDryRun, Reason } from '../platform/http/fields.ts';
import type { SubmissionMode } from '../meters/stripe-meter.ts';

/** A submission as the outbox stores it. */
export interface StoredSubmission {
  readonly _id: string;
  readonly customerId: string;
  readonly meter: string;
  readonly subject: string;
  readonly subjectStart: Date;
  readonly sequence: number;
  readonly fromQuantity: { toString(): string };
  readonly toQuantity: { toString(): string };
  readonly value: { toString(): string };
  readonly timestamp: Date;
  readonly mode?: SubmissionMode;
  readonly state: SubmissionState;
  readonly reason?: string;
  readonly message?: string;
  readonly stripeCustomerId?: string;
  readonly stripeMeterId?: string;
  readonly dueAt?: Date;
  readonly attempts: number;
  readonly firstAttemptAt?: Date;
  readonly lastAttemptAt?: Date;
  readonly acceptedAt?: Date;
  readonly replacedBy?: string;
  readonly replaces?: string;
  readonly cancellation?: {
    readonly state: Cancellation['state'];
    readonly at: Date;
    readonly attempts: number;
    readonly reason?: string;
  };
  readonly offset?: { readonly by: string };
  readonly plannedAt: Date;
  readonly history: readonly {
    readonly at: Date;
    readonly change: string;
    readonly reason?: string;
    readonly actor?: string;
  }[];
}

export interface SubmissionRoutesDeps {
  /** In order of identifier, after one. */
  listSubmissions(query: {
    state?: SubmissionState;
    customerId?: string;
    meter?: string;
    after?: string;
    limit: number;
  }): Promise<readonly StoredSubmission[]>;
  findSubmission(identifier: string): Promise<StoredSubmission | null>;
  /** @throws DaemonError `submission_not_found`, `submission_not_decidable`. */
  decide(input: Static<typeof Decision> & { readonly identifier: string; readonly dryRun: boolean }): Promise<void>;
  /** @throws DaemonError `submission_not_found`, `submission_not_rejected`. */
  resend(input: Static<typeof Resend> & { readonly identifier: string; readonly dryRun: boolean }): Promise<void>;
}

const State = Type.Unsafe<SubmissionState>({ type: 'string', enum: [...SUBMISSION_STATES] });

const Decision = Type.Object(
  { counted: Type.Boolean({ description: 'Whether Stripe counted it.' }), actor: Actor, reason: Reason },
  { additionalProperties: false },
);
const Resend = Type.Object({ actor: Actor, reason: Reason }, { additionalProperties: false });

const Mode = Type.Unsafe<SubmissionMode>({
  type: 'string',
  enum: ['delta', 'period_total'],
  description:
    'How Stripe reads the value: absent or delta, it is added; period_total, it takes the place of the last.',
});

const SubmissionReply = Type.Object({
  identifier: Type.String(),
  customerId: Type.String(),
  meter: Type.String(),
  subject: Type.String({ description: 'window, period, heal or late' }),
  subjectStart: Instant,
  sequence: Type.Integer(),
  fromQuantity: Type.String(),
  toQuantity: Type.String(),
  value: Type.String({ description: 'What is sent: the difference to what was planned before.' }),
  timestamp: Instant,
  mode: Type.Optional(Mode),
  state: State,
  reason: Type.Optional(Type.String()),
  message: Type.Optional(Type.String()),
  stripeCustomerId: Type.Optional(Type.String()),
  stripeMeterId: Type.Optional(Type.String()),
  dueAt: Type.Optional(Instant),
  attempts: Type.Integer(),
  firstAttemptAt: Type.Optional(Instant),
  lastAttemptAt: Type.Optional(Instant),
  acceptedAt: Type.Optional(Instant),
  replacedBy: Type.Optional(Type.String()),
  replaces: Type.Optional(Type.String()),
  cancellation: Type.Optional(CancellationReply),
  offsetBy: Type.Optional(OffsetBy),
  plannedAt: Instant,
  history: Type.Array(
    Type.Object({
      at: Instant,
      change: Type.String(),
      reason: Type.Optional(Type.String()),
      actor: Type.Optional(Type.String()),
    }),
  ),
});

const SubmissionList = pageSchema(SubmissionReply);
const Path = Type.Object({ identifier: Type.String({ maxLength: 200 }) });
const ListQuery = Type.Object(
  {
    state: Type.Optional(State),
    customerId: Type.Optional(Type.String()),
    meter: Type.Optional(Type.String()),
    ...pagingQuery,
  },
  { additionalProperties: false },
);

/** `/v1/submissions`: the outbox, with attempts and reasons. */
export function registerSubmissions(app: App, deps: SubmissionRoutesDeps): void {
  app.get(
    '/v1/submissions',
    {
      schema: {
        security: needs('admin'),
        operationId: 'listSubmissions',
        summary: 'Meter events planned, sent and settled, in order of identifier.',
        tags: ['submissions'],
        querystring: ListQuery,
        response: { 200: SubmissionList, default: problemResponse },
      },
    },
    async (request) => list(deps, request.query),
  );
  app.get(
    '/v1/submissions/:identifier',
    {
      schema: {
        security: needs('admin'),
        operationId: 'getSubmission',
        summary: 'One submission.',
        tags: ['submissions'],
        params: Path,
        response: { 200: SubmissionReply, default: problemResponse },
      },
    },
    async (request) => find(deps, request.params.identifier),
  );
  registerDecisions(app, deps);
}

/** What a person does about a submission that cannot settle by itself. */
function registerDecisions(app: App, deps: SubmissionRoutesDeps): void {
  app.post(
    '/v1/submissions/:identifier/decide',
    {
      schema: {
        security: needs('admin'),
        operationId: 'decideSubmission',
        summary: 'Say whether Stripe counted a submission in doubt; if not, it goes out under a new identifier.',
        tags: ['submissions'],
        params: Path,
        querystring: DryRunQuery,
        body: Decision,
        response: { 200: SubmissionReply, default: problemResponse },
      },
    },
    async (request) => {
      const { identifier } = request.params;
      await deps.decide({ ...request.body, identifier, dryRun: isDryRun(request.query) });
      return find(deps, identifier);
    },
  );
  app.post(
    '/v1/submissions/:identifier/resend',
    {
      schema: {
        security: needs('admin'),
        operationId: 'resendSubmission',
        summary: 'Send the usage of a rejected submission again, under a new identifier.',
        tags: ['submissions'],
        params: Path,
        querystring: DryRunQuery,
        body: Resend,
        response: { 200: SubmissionReply, default: problemResponse },
      },
    },
    async (request) => {
      const { identifier } = request.params;
      await deps.resend({ ...request.body, identifier, dryRun: isDryRun(request.query) });
      return find(deps, identifier);
    },
  );
}

async function find(deps: SubmissionRoutesDeps, identifier: string): Promise<Static<typeof SubmissionReply>> {
  const found = await deps.findSubmission(identifier);
  if (found !== null) return toReply(found);
  throw new DaemonError({
    kind: 'not-found',
    code: 'submission_not_found',
    message: 'No submission has this identifier.',
  });
}

async function list(
  deps: SubmissionRoutesDeps,
  query: Static<typeof ListQuery>,
): Promise<Page<Static<typeof SubmissionReply>>> {
  const limit = readLimit(query.limit);
  const { state, customerId, meter } = query;
  const found = await deps.listSubmissions({
    limit: limit + 1,
    ...(state !== undefined && { state }),
    ...(customerId !== undefined && { customerId }),
    ...(meter !== undefined && { meter }),
    ...(query.cursor !== undefined && { after: decodeCursor(query.cursor, Type.String()) }),
  });
  return toPage(found, limit, { item: toReply, cursor: ({ _id }) => _id });
}

function toReply(found: StoredSubmission): Static<typeof SubmissionReply> {
  const { _id, subjectStart, fromQuantity, toQuantity, value, timestamp, plannedAt, history } = found;
  const { dueAt, firstAttemptAt, lastAttemptAt, acceptedAt, cancellation, offset, ...rest } = found;
  return {
    ...rest,
    identifier: _id,
    subjectStart: subjectStart.toISOString(),
    fromQuantity: fromQuantity.toString(),
    toQuantity: toQuantity.toString(),
    value: value.toString(),
    timestamp: timestamp.toISOString(),
    ...(dueAt && { dueAt: dueAt.toISOString() }),
    ...(firstAttemptAt && { firstAttemptAt: firstAttemptAt.toISOString() }),
    ...(lastAttemptAt && { lastAttemptAt: lastAttemptAt.toISOString() }),
    ...(acceptedAt && { acceptedAt: acceptedAt.toISOString() }),
    ...(cancellation && { cancellation: showCancellation(_id, cancellation) }),
    ...(offset && { offsetBy: offset.by }),
    plannedAt: plannedAt.toISOString(),
    history: history.map((entry) => ({ ...entry, at: entry.at.toISOString() })),
  };
}
