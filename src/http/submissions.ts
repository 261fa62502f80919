import { type Static, Type } from 'typebox';
import { SUBMISSION_STATES, type SubmissionState } from '../domain/submission.ts';
import { DaemonError } from '../errors.ts';
import { type App, needs } from './route.ts';
import { decodeCursor, type Page, pageSchema, pagingQuery, readLimit, toPage } from './cursor.ts';
import { Instant } from './fields.ts';

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
  readonly plannedAt: Date;
  readonly history: readonly { readonly at: Date; readonly change: string; readonly reason?: string }[];
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
}

const State = Type.Unsafe<SubmissionState>({ type: 'string', enum: [...SUBMISSION_STATES] });

const SubmissionReply = Type.Object({
  identifier: Type.String(),
  customerId: Type.String(),
  meter: Type.String(),
  subject: Type.String({ description: 'window, period or heal' }),
  subjectStart: Instant,
  sequence: Type.Integer(),
  fromQuantity: Type.String(),
  toQuantity: Type.String(),
  value: Type.String({ description: 'What is sent: the difference to what was planned before.' }),
  timestamp: Instant,
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
  plannedAt: Instant,
  history: Type.Array(Type.Object({ at: Instant, change: Type.String(), reason: Type.Optional(Type.String()) })),
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
        response: { 200: SubmissionList },
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
        response: { 200: SubmissionReply },
      },
    },
    async (request) => {
      const found = await deps.findSubmission(request.params.identifier);
      if (found === null) {
        throw new DaemonError({
          kind: 'not-found',
          code: 'submission_not_found',
          message: 'No submission has this identifier.',
        });
      }
      return toReply(found);
    },
  );
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
  const { dueAt, firstAttemptAt, lastAttemptAt, acceptedAt, ...rest } = found;
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
    plannedAt: plannedAt.toISOString(),
    history: history.map((entry) => ({ ...entry, at: entry.at.toISOString() })),
  };
}
