/** `tallystick dev` and what is typed beside it, from the built program, in folders of their own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { statSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import type { CommandResult } from './command-line.ts';
import { readTypeScript, REPOSITORY } from './source-files.ts';

export interface DevSession {
  /** The folder in which `dev` runs. */
  readonly folder: string;
  /** What `dev` has printed so far. */
  readonly printed: () => { readonly stdout: string; readonly stderr: string };
  /** Runs text in a shell as it stands, in this folder or another one that is made for it. */
  readonly type: (commands: string, folder?: string) => Promise<CommandResult>;
}

const PROGRAM = join(REPOSITORY, 'dist/scripts/tallystick.js');
/** Ends at the first failure; knows aliases, as a terminal does. */
const SHELL = ['-O', 'expand_aliases', '-eu', '-o', 'pipefail', '-c'];
const START_MS_MAX = 240_000;
const LOOK_MS = 100;

/** Builds what package.json calls `tallystick`, unless it is newer than everything it is made of. */
export async function buildProgram(): Promise<void> {
  const builtAt = statSync(PROGRAM, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const sources = ['tsconfig.build.json', ...readTypeScript('src', 'jobs', 'scripts').map(({ path }) => path)];
  if (sources.every((path) => statSync(join(REPOSITORY, path)).mtimeMs < builtAt)) return;
  const { code, stderr, stdout } = await run('npm', ['run', '--silent', 'build'], { cwd: REPOSITORY });
  if (code !== 0) throw new Error(`the build failed: ${stdout}${stderr}`);
}

interface SessionOptions {
  /** Starts `dev`, as it is typed into the first terminal. */
  readonly start: string;
  /** Typed into each terminal first, in the repository; absent: `tallystick` is on the PATH. */
  readonly before?: string;
}

/**
 * Lends a `dev` that was started in an empty folder, with nothing in the environment that says where anything is: it
 * brings its own MongoDB and Redis.
 */
export async function withDevSession(
  { start, before = '' }: SessionOptions,
  use: (session: DevSession) => Promise<void>,
): Promise<void> {
  const place = await mkdtemp(join(tmpdir(), 'tallystick-first-'));
  const folder = join(place, 'empty');
  await mkdir(folder);
  const bin = await fillBin(join(place, 'bin'), before === '');
  const {
    PATH = '',
    HOME,
    XDG_CACHE_HOME,
    TALLYSTICK_CACHE_DIR,
    MONGOMS_SYSTEM_BINARY,
    REDIS_SERVER_BINARY,
  } = process.env;
  const servers = { HOME, XDG_CACHE_HOME, TALLYSTICK_CACHE_DIR, MONGOMS_SYSTEM_BINARY, REDIS_SERVER_BINARY };
  const env = { ...servers, PATH: `${bin}:${PATH}`, PORT: '0' };
  const typed = (commands: string, where: string): string[] => {
    return [...SHELL, `cd '${REPOSITORY}'\n${before}\ncd '${where}'\n${commands}`];
  };
  // In a group of its own, which is interrupted as a terminal does it.
  const child = spawn('bash', typed(start, folder), { env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = once(child, 'exit');
  const seen = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk: Buffer) => (seen.stdout += String(chunk)));
  child.stderr.on('data', (chunk: Buffer) => (seen.stderr += String(chunk)));
  try {
    for (let waitedMs = 0; !seen.stdout.endsWith('TALLYSTICK_API_KEY"\n'); waitedMs += LOOK_MS) {
      if (child.exitCode !== null || waitedMs > START_MS_MAX) throw new Error(`dev did not start: ${seen.stderr}`);
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
    await use({
      folder,
      printed: () => seen,
      type: (commands, where = folder) => run('bash', typed(commands, where), { env }),
    });
  } finally {
    if (child.exitCode === null && child.pid !== undefined) process.kill(-child.pid, 'SIGINT');
    await ended;
    await rm(place, { recursive: true, force: true });
  }
}

/** A folder for the PATH: with `tallystick`, or with an `npm` that has installed and built already, as `buildProgram` did. */
async function fillBin(bin: string, hasProgram: boolean): Promise<string> {
  await mkdir(bin);
  const [name, text] = hasProgram
    ? ['tallystick', `exec '${process.execPath}' '${PROGRAM}' "$@"`]
    : ['npm', 'case "$*" in "ci" | "run build") ;; *) exit 1 ;; esac'];
  await writeFile(join(bin, name), `#!/bin/sh\n${text}\n`);
  await chmod(join(bin, name), 0o755);
  return bin;
}

async function run(
  program: string,
  args: readonly string[],
  options: { cwd?: string; env?: Readonly<Record<string, string | undefined>> } = {},
): Promise<CommandResult> {
  const child = spawn(program, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  const [stdout, stderr, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  return { code, stdout, stderr };
}
