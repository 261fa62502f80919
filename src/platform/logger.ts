/** JSON logs on standard output: a fixed lower-case phrase and fields, one line a unit of work. */
import { type DestinationStream, pino } from 'pino';
import { DaemonError } from './errors.ts';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent';

/** What the rest of the daemon asks of a logger. `error` wakes a person. */
export interface Logger {
  debug(fields: object, phrase: string): void;
  info(fields: object, phrase: string): void;
  warn(fields: object, phrase: string): void;
  error(fields: object, phrase: string): void;
  /** A logger whose lines all have these fields. */
  child(fields: Record<string, unknown>): Logger;
}

/** How many causes of a cause are told. */
const CAUSES_MAX = 5;
const REDACTED = '[redacted]';
/** Fields that never hold anything to be read, at the top or one level down. */
const SECRET_FIELDS = ['authorization', 'cookie', 'apiKey', 'password', 'secret', 'secretKey', 'token'];
/** What a secret looks like wherever it stands: keys of Stripe and our own, signing secrets, passwords in addresses. */
const SECRET_TEXT =
  /\b(?:[sr]k_(?:test|live)_|whsec_|tly_)[A-Za-z0-9_-]{6,}|(?<=:\/\/[^\s/:@"]{0,128}:)[^\s/@"]+(?=@)/g;

/** A logger that writes to standard output, or to `destination` in tests. */
export function createLogger(options: { level: LogLevel; destination?: DestinationStream }): Logger {
  return pino(
    {
      level: options.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: SECRET_FIELDS.flatMap((name) => [name, `*.${name}`]), censor: REDACTED },
      serializers: { err: (error: unknown) => describeError(error), error: (error: unknown) => describeError(error) },
      hooks: { streamWrite: (line) => line.replace(SECRET_TEXT, REDACTED) },
    },
    options.destination ?? pino.destination({ fd: 1, sync: true }),
  );
}

/** Errors as fields: what decides (kind, code), what helps (context), and the chain of causes. */
function describeError(error: unknown, depth = 0): unknown {
  if (!(error instanceof Error)) return error;
  if (depth > CAUSES_MAX) return error.message;
  return {
    type: error.name,
    message: error.message,
    ...(error instanceof DaemonError && { kind: error.kind, code: error.code, context: error.context }),
    stack: error.stack,
    ...(error.cause !== undefined && { cause: describeError(error.cause, depth + 1) }),
  };
}
