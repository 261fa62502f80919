import { Command } from 'commander';
import { ApiClient } from './api-client.ts';
import { CommandError } from './command-error.ts';
import { adoptRunningDev } from './dev/dev-environment.ts';
import { EXIT, type ExitCode } from './exit-codes.ts';
import { Output } from './output.ts';

/** What every verb takes. */
interface CommonOptions {
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly url?: string;
  readonly apiKey?: string;
}

/** What a verb's action is given. */
export interface VerbContext {
  readonly output: Output;
  /** Aborted by Ctrl-C or SIGTERM. */
  readonly signal: AbortSignal;
  /** A client of the daemon. @throws CommandError without an API key. */
  readonly api: () => ApiClient;
}

export interface VerbText {
  /** The verb with its arguments, as commander writes them: `import <file>`. */
  readonly name: string;
  readonly summary: string;
  /** Command lines shown by `--help`. */
  readonly examples: readonly string[];
}

const DEFAULT_URL = 'http://127.0.0.1:8080';

/** A verb with `--json`, `--quiet` and examples. */
export function createVerb({ name, summary, examples }: VerbText): Command {
  const lines = examples.map((example) => `  $ ${example}`).join('\n');
  const [verb = name, ...operands] = name.split(' ');
  const command = new Command(verb).description(summary);
  for (const operand of operands) command.argument(operand);
  return command
    .option('--json', 'print the result as JSON')
    .option('--quiet', 'print nothing but JSON that was asked for, and errors')
    .addHelpText('after', `\nExample${examples.length > 1 ? 's' : ''}:\n${lines}`);
}

/** A verb that talks to the daemon over HTTP. */
export function createApiVerb(text: VerbText): Command {
  return createVerb(text)
    .option('--url <url>', `the daemon's address (TALLYSTICK_URL; default ${DEFAULT_URL})`)
    .option('--api-key <key>', 'an API key (TALLYSTICK_API_KEY, else ADMIN_API_KEY)');
}

/**
 * Runs a verb's action to its end and sets the process's exit code: what the action returns, or what its error says.
 * @param ownsSignals for verbs that run a daemon: they stop in their own way.
 */
export async function runVerb(
  command: Command,
  action: (context: VerbContext) => Promise<ExitCode | void>,
  ownsSignals = false,
): Promise<void> {
  const options = command.optsWithGlobals<CommonOptions>();
  const output = new Output(options);
  const interruption = new AbortController();
  const interrupt = (): void => {
    if (interruption.signal.aborted) process.exit(EXIT.interrupted);
    interruption.abort();
  };
  if (!ownsSignals) process.on('SIGINT', interrupt).on('SIGTERM', interrupt);
  try {
    if (!ownsSignals) await adoptRunningDev(process.env, options.url !== undefined || options.apiKey !== undefined);
    const { signal } = interruption;
    process.exitCode = (await action({ output, signal, api: () => openApi(options, signal) })) ?? EXIT.ok;
  } catch (error) {
    process.exitCode = output.failure(error, nameOf(command));
  } finally {
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
  }
}

/** The full name of a command: `tallystick meters put`. */
function nameOf(command: Command): string {
  return command.parent === null ? command.name() : `${nameOf(command.parent)} ${command.name()}`;
}

function openApi(options: CommonOptions, signal: AbortSignal): ApiClient {
  const { env } = process;
  const url = options.url ?? (env['TALLYSTICK_URL'] || DEFAULT_URL);
  const apiKey = options.apiKey ?? (env['TALLYSTICK_API_KEY'] || env['ADMIN_API_KEY']);
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
    throw new CommandError({
      what: `${url} is not an address`,
      todo: `Give one like ${DEFAULT_URL} with --url or TALLYSTICK_URL.`,
      exitCode: EXIT.configuration,
    });
  }
  if (apiKey !== undefined && apiKey !== '') return new ApiClient({ url, apiKey, signal });
  throw new CommandError({
    what: 'no API key was given',
    why: 'neither --api-key nor TALLYSTICK_API_KEY is set',
    todo: 'Make one with `tallystick keys create --scope admin` where the daemon runs, or go to the folder of a `tallystick dev`.',
    exitCode: EXIT.configuration,
  });
}
