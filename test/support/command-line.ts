/** Runs the `tallystick` command as a person would: another process, arguments, environment, exit code. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { REPOSITORY } from './source-files.ts';

export interface CommandResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  /** The whole environment besides PATH. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  /** Sends this signal when standard error first holds `at`. */
  readonly interrupt?: { readonly at: string; readonly signal: NodeJS.Signals };
}

export async function tallystick(args: readonly string[], options: CommandOptions): Promise<CommandResult> {
  const child = spawn(process.execPath, [...command(), ...args], {
    cwd: options.cwd ?? REPOSITORY,
    env: { PATH: process.env['PATH'], ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const { interrupt } = options;
  let seen = '';
  if (interrupt !== undefined) {
    child.stderr.on('data', (chunk: Buffer) => {
      const before = seen;
      seen += chunk.toString();
      if (!before.includes(interrupt.at) && seen.includes(interrupt.at)) child.kill(interrupt.signal);
    });
  }
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  const [stdout, stderr, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  return { code, stdout, stderr };
}

/** The command as it was built, where `TALLYSTICK_TEST_COMMAND` names it (scripts/test does); else its source. */
function command(): string[] {
  const built = process.env['TALLYSTICK_TEST_COMMAND'];
  if (built !== undefined && built !== '') return [join(REPOSITORY, built)];
  return ['--import', import.meta.resolve('tsx'), join(REPOSITORY, 'scripts/tallystick.ts')];
}
