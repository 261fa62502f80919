/**
 * The one error type of the daemon. Its `kind` decides what happens (HTTP status, retry or not); its `code` names the
 * case and has an entry in docs/errors.md. The text of a message never decides anything.
 */
export type ErrorKind =
  /** The caller's input breaks a rule. */
  | 'invalid'
  /** The request is well formed but clashes with what is stored. */
  | 'conflict'
  /** The caller is not known, or may not do this. */
  | 'forbidden'
  /** What was named does not exist. */
  | 'not-found'
  /** Stripe understood and refuses for good. */
  | 'rejected'
  /** Try again later: network, election, rate limit, a store that is away. */
  | 'transient'
  /** A broken invariant: stop the unit of work, wake a person. */
  | 'defect';

export interface ErrorDetails {
  kind: ErrorKind;
  /** `snake_case`, stable, documented. */
  code: string;
  /** One sentence for a person. */
  message: string;
  /** Values that help to find the cause; never secrets. */
  context?: Record<string, unknown>;
  cause?: unknown;
}

export class DaemonError extends Error {
  override readonly name = 'DaemonError';
  readonly kind: ErrorKind;
  readonly code: string;
  readonly context: Readonly<Record<string, unknown>>;

  constructor(details: ErrorDetails) {
    super(details.message, details.cause === undefined ? undefined : { cause: details.cause });
    this.kind = details.kind;
    this.code = details.code;
    this.context = Object.freeze({ ...details.context });
  }
}

/** The error for a broken invariant: `assert` stays on in production. */
export function defect(message: string, context?: Record<string, unknown>): DaemonError {
  return new DaemonError({ kind: 'defect', code: 'invariant_broken', message, ...(context && { context }) });
}

/** Throws a `defect` unless `condition` holds. */
export function assert(condition: unknown, message: string, context?: Record<string, unknown>): asserts condition {
  if (condition !== true) throw defect(message, context);
}

/**
 * Whether trouble passes by itself, so that the same can be tried again later. Everything else, and everything unknown,
 * belongs to the work that was tried: a batch is halved until the piece that causes it is alone.
 */
export function isPassing(error: unknown): error is DaemonError {
  return error instanceof DaemonError && error.kind === 'transient';
}

/** What is kept of a failure of background work, whatever was thrown: `job_failed` where the error has no code. */
export function failureOf(error: unknown): { code: string; message: string } {
  return {
    code: error instanceof DaemonError ? error.code : 'job_failed',
    message: error instanceof Error ? error.message : String(error),
  };
}

/** What is wrong with one setting, as a clause that follows its name. Never holds the value: it may be a secret. */
export interface ConfigFault {
  /** The name of the variable. */
  readonly name: string;
  readonly detail: string;
}

/** The error for settings that cannot be right: the start is refused, and all of them are named. */
export function configurationInvalid(faults: readonly ConfigFault[], cause?: unknown): DaemonError {
  const lines = faults.map(({ name, detail }) => `${name} ${detail}`);
  return new DaemonError({
    kind: 'invalid',
    code: 'configuration_invalid',
    message: `The configuration has ${faults.length === 1 ? 'a fault' : `${faults.length} faults`}: ${lines.join('; ')}.`,
    context: { faults },
    cause,
  });
}
