/** Errors as RFC 9457 problem details. The kind of an error decides the status; a few codes have one of their own. */
import { STATUS_CODES } from 'node:http';
import { Type } from 'typebox';
import type { FastifyError } from 'fastify';
import { type SchemaFault, toSchemaFaults } from '../schema-fault.ts';
import { DaemonError, type ErrorKind } from '../errors.ts';

export const PROBLEM_MEDIA_TYPE = 'application/problem+json';

export interface ProblemError {
  /** A JSON Pointer (RFC 6901) into the request's body, parameters or query. */
  readonly pointer: string;
  readonly detail: string;
}

export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  /** Stable; docs/errors.md has an entry for each. */
  readonly code: string;
  readonly detail: string;
  readonly requestId: string;
  readonly errors?: readonly ProblemError[];
}

/** The schema of a problem, for the `default` response of a route. */
export const problemSchema = Type.Object(
  {
    type: Type.String(),
    title: Type.String(),
    status: Type.Integer(),
    code: Type.String({ description: 'Stable name of the case; docs/errors.md explains each.' }),
    detail: Type.String(),
    requestId: Type.String(),
    errors: Type.Optional(Type.Array(Type.Object({ pointer: Type.String(), detail: Type.String() }))),
  },
  { description: 'Problem details (RFC 9457).' },
);

/** What a route answers when it fails, for its `response` schema. */
export const problemResponse = {
  description: 'Any error, as problem details (RFC 9457).',
  content: { [PROBLEM_MEDIA_TYPE]: { schema: problemSchema } },
};

const STATUS_OF_KIND: Readonly<Record<ErrorKind, number>> = {
  invalid: 422,
  conflict: 409,
  forbidden: 403,
  'not-found': 404,
  rejected: 502,
  transient: 503,
  defect: 500,
};

const STATUS_OF_CODE: Readonly<Record<string, number>> = {
  api_key_missing: 401,
  api_key_unknown: 401,
  api_key_revoked: 401,
  api_key_expired: 401,
  batch_not_an_array: 400,
  bodies_too_many: 503,
  body_not_gzip: 400,
  body_not_json: 400,
  body_not_utf8: 400,
  body_too_large: 413,
  cloud_event_header_invalid: 400,
  content_encoding_unsupported: 415,
  content_type_unsupported: 415,
  cursor_invalid: 400,
  events_per_second_exceeded: 429,
  field_repeated: 400,
  json_too_deep: 400,
  metrics_token_wrong: 401,
  no_events: 400,
  request_aborted: 400,
  request_invalid: 400,
  request_timeout: 408,
  too_many_events: 413,
  webhook_account_other: 400,
  webhook_body_encoded: 400,
  webhook_event_kind_wrong: 400,
  webhook_event_malformed: 400,
  webhook_mode_other: 400,
  webhook_secret_other: 400,
  webhook_signature_malformed: 400,
  webhook_signature_missing: 400,
  webhook_signature_wrong: 400,
  webhook_timestamp_refused: 400,
};

/** What Fastify's own refusals are called here; those not listed are `request_invalid`. */
const CODE_OF_FASTIFY: Readonly<Record<string, string>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'body_too_large',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'content_type_unsupported',
  FST_ERR_CTP_INVALID_JSON_BODY: 'body_not_json',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'body_not_json',
  ECONNRESET: 'request_aborted',
};

const RETRY_AFTER_SECONDS = 2;

export interface Answer {
  readonly problem: Problem;
  readonly retryAfterSeconds?: number;
}

/** The answer to a request that failed with `error`. What a defect says stays in the log. */
export function toAnswer(error: unknown, requestId: string): Answer {
  const known = error instanceof DaemonError ? error : fromFastify(error);
  if (known === undefined || known.kind === 'defect') {
    const detail = 'Something failed that must not; the log says more under this requestId.';
    return { problem: toProblem({ code: known?.code ?? 'internal_error', status: 500, detail, requestId }) };
  }
  const status = STATUS_OF_CODE[known.code] ?? STATUS_OF_KIND[known.kind];
  const errors = errorsOf(known);
  const problem = toProblem({
    code: known.code,
    status,
    detail: known.message,
    requestId,
    ...(errors !== undefined && { errors }),
  });
  if (status !== 503 && status !== 429) return { problem };
  const given = known.context['retryAfterSeconds'];
  return { problem, retryAfterSeconds: typeof given === 'number' ? Math.ceil(given) : RETRY_AFTER_SECONDS };
}

/** Fills in what follows from the code and the status. */
export function toProblem(parts: Omit<Problem, 'type' | 'title'>): Problem {
  return { type: `urn:tallystick:error:${parts.code}`, title: STATUS_CODES[parts.status] ?? 'Error', ...parts };
}

function errorsOf(error: DaemonError): readonly ProblemError[] | undefined {
  const { errors, pointer } = error.context;
  if (Array.isArray(errors)) {
    return (errors as ProblemError[]).map(({ pointer: at, detail }) => ({ pointer: at, detail }));
  }
  return typeof pointer === 'string' ? [{ pointer, detail: error.message }] : undefined;
}

/** A request that its route does not know. The summary is one sentence: what exactly stands in `errors`. */
export function requestInvalid(errors: readonly SchemaFault[]): DaemonError {
  const message = 'The request does not match the schema of this route.';
  return new DaemonError({ kind: 'invalid', code: 'request_invalid', message, context: { errors } });
}

/** What a caller calls the parts of a request. */
const PARTS: Readonly<Record<string, string>> = { querystring: 'query', params: 'path' };

function fromFastify(error: unknown): DaemonError | undefined {
  if (!(error instanceof Error)) return undefined;
  const { statusCode, code, validation, validationContext } = error as Omit<FastifyError, 'code'> & {
    code?: unknown;
  };
  if (validation !== undefined) {
    const part = PARTS[validationContext ?? 'body'] ?? validationContext;
    return requestInvalid(
      toSchemaFaults(validation).map(({ pointer, detail }) => ({ pointer, detail: `In the ${part}: ${detail}` })),
    );
  }
  // Other libraries' errors have codes and statuses too, and theirs are not the caller's fault.
  const name = typeof code === 'string' ? code : '';
  const known = CODE_OF_FASTIFY[name];
  if (statusCode === undefined || (known === undefined && !name.startsWith('FST_'))) return undefined;
  if (known !== undefined) return new DaemonError({ kind: 'invalid', code: known, message: error.message });
  if (statusCode === 503) return new DaemonError({ kind: 'transient', code: 'stopping', message: error.message });
  if (statusCode >= 500) return undefined;
  return new DaemonError({ kind: 'invalid', code: 'request_invalid', message: error.message });
}
