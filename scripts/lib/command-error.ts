import { ServicesError } from '../../packages/dev-services/src/errors.ts';
import { DaemonError } from '../../src/platform/errors.ts';
import { EXIT, type ExitCode } from './exit-codes.ts';

export interface CommandErrorDetails {
  /** What failed, as a clause. */
  readonly what: string;
  readonly why?: string | undefined;
  /** What the person can do about it. */
  readonly todo?: string | undefined;
  readonly exitCode?: ExitCode;
  readonly cause?: unknown;
}

/** A failure in words for a person: what, why, what to do; and the exit code of the command. */
export class CommandError extends Error {
  override readonly name: string = 'CommandError';
  readonly why: string | undefined;
  readonly todo: string | undefined;
  readonly exitCode: ExitCode;

  constructor(details: CommandErrorDetails) {
    super(details.what, details.cause === undefined ? undefined : { cause: details.cause });
    this.why = details.why;
    this.todo = details.todo;
    this.exitCode = details.exitCode ?? EXIT.failure;
  }
}

/** A mistake in the command line. */
export function usageError(what: string, todo: string): CommandError {
  return new CommandError({ what, todo, exitCode: EXIT.usage });
}

/** The end of a command by Ctrl-C. */
export function interrupted(todo?: string): CommandError {
  return new CommandError({ what: 'interrupted', todo, exitCode: EXIT.interrupted });
}

/** Any error as one of ours; a broken invariant keeps its stack as the reason. */
export function toCommandError(error: unknown): CommandError {
  if (error instanceof CommandError) return error;
  if (error instanceof DaemonError) return fromDaemonError(error);
  if (error instanceof ServicesError) return fromServicesError(error);
  if (error instanceof Error && 'code' in error && error.code === 'EADDRINUSE') return addressInUse(error);
  const why = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return new CommandError({
    what: 'the command itself failed',
    why,
    todo: 'This is a defect of tallystick: please report it with the lines above.',
    cause: error,
  });
}

/** Errors behind which a setting may stand, and which one. */
const BY_CODE: Readonly<Record<string, { readonly todo: string; readonly exitCode: ExitCode }>> = {
  store_unavailable: {
    todo: 'Start MongoDB, or correct MONGODB_URI; `tallystick doctor` names what is down.',
    exitCode: EXIT.dependencyDown,
  },
  store_access_refused: {
    todo: 'Correct MONGODB_URI, or what its user may do: it has to read and write the database and make indexes.',
    exitCode: EXIT.configuration,
  },
  queue_unavailable: {
    todo: 'Start Redis, or correct REDIS_URL; `tallystick doctor` names what is down.',
    exitCode: EXIT.dependencyDown,
  },
  stripe_not_configured: { todo: 'Set STRIPE_SECRET_KEY.', exitCode: EXIT.configuration },
  stripe_key_refused: {
    todo: 'Correct STRIPE_SECRET_KEY, or what the key may do: docs/security.md lists the rights that it needs.',
    exitCode: EXIT.configuration,
  },
};

function fromDaemonError(error: DaemonError): CommandError {
  if (error.code === 'configuration_invalid') {
    const faults = error.context['faults'] as readonly { name: string; detail: string }[];
    return new CommandError({
      what: 'the configuration has faults',
      why: faults.map(({ name, detail }) => `${name} ${detail}`).join('; '),
      todo: 'Correct these environment variables (docs/configuration.md explains each) and run this again.',
      exitCode: EXIT.configuration,
      cause: error,
    });
  }
  const isDown = error.kind === 'transient';
  const cause = error.cause instanceof Error ? error.cause.message : undefined;
  const known = BY_CODE[error.code];
  return new CommandError({
    what: error.message,
    why: cause ?? error.code,
    todo:
      known?.todo ?? (isDown ? '`tallystick doctor` names what is down.' : `docs/errors.md explains ${error.code}.`),
    exitCode: known?.exitCode ?? (isDown ? EXIT.dependencyDown : EXIT.failure),
    cause: error,
  });
}

/** What `dev`, the demo and the tests run on, where no server is given. */
function fromServicesError(error: ServicesError): CommandError {
  const cause = error.cause instanceof Error ? error.cause.message : undefined;
  return new CommandError({
    what: error.message,
    why: cause ?? error.code,
    todo: `docs/errors.md explains ${error.code}; MONGODB_URI and REDIS_URL name servers that are there already.`,
    exitCode: error.code === 'embedded_unavailable' ? EXIT.dependencyDown : EXIT.failure,
    cause: error,
  });
}

function addressInUse(error: Error): CommandError {
  return new CommandError({
    what: 'a port is taken',
    why: error.message,
    todo: 'Another process has it, perhaps another tallystick: stop it, or choose another (PORT, or --port).',
    exitCode: EXIT.configuration,
    cause: error,
  });
}
