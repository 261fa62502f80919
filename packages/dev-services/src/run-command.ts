/** Runs a program to its end within a time limit; used for `--version` and for fetching wheels. */
import { execFile } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';

export interface CommandResult {
  /** The exit code; undefined when the program is not there or was ended by the time limit. */
  readonly exitCode: number | undefined;
  /** The program does not exist. */
  readonly absent: boolean;
  readonly stdout: string;
  readonly stderr: string;
}

const OUTPUT_BYTES_MAX = 1_048_576;

/** Never throws: a failure is a result. */
export function runCommand(file: string, args: readonly string[], timeoutMs: number): Promise<CommandResult> {
  return new Promise((resolve) => {
    const options = { timeout: timeoutMs, maxBuffer: OUTPUT_BYTES_MAX, killSignal: 'SIGKILL' } as const;
    execFile(file, args, options, (err, stdout, stderr) => {
      const code = err === null ? 0 : err.code;
      resolve({ exitCode: typeof code === 'number' ? code : undefined, absent: code === 'ENOENT', stdout, stderr });
    });
  });
}

/** Why a command failed, in one line: the last that it wrote to stderr, which is where programs say it. */
export function whyNot(result: CommandResult): string {
  if (result.absent) return 'no such program';
  const lastLine = result.stderr.trim().split('\n').at(-1) ?? '';
  return lastLine === '' ? `exit code ${result.exitCode ?? 'none (time limit or signal)'}` : lastLine;
}

/** The full path of the first of `names` that is an executable file in a folder of `searchPath`. */
export async function findOnPath(names: readonly string[], searchPath: string): Promise<string | undefined> {
  for (const name of names) {
    for (const folder of searchPath.split(delimiter).filter((part) => part !== '')) {
      const candidate = join(folder, name);
      if (await isExecutable(candidate)) return candidate;
    }
  }
  return undefined;
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
