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
const START_MS_MAX = 240_000;
const LOOK_MS = 100;

/** Builds what package.json calls `tallystick`, unless it is newer than everything it is made of. */
export async function buildProgram(): Promise<void> {
  const builtAt = statSync(PROGRAM, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const sources = ['tsconfig.build.json', ...readTypeScript('src', 'jobs', 'scripts').map(({ path }) => path)];
  if (sources.every((path) => statSync(join(REPOSITORY, path)).mtimeMs < builtAt)) return;
  const { code, stderr, stdout } = await run('npm', ['run', '--silent', 'build'], REPOSITORY);
  if (code !== 0) throw new Error(`the build failed: ${stdout}${stderr}`);
}

/**
 * Lends a `dev` that was started by `command` in an empty folder, with `tallystick` on the PATH and nothing else in the
 * environment that says where anything is: it brings its own MongoDB and Redis.
 */
export async function withDevSession(command: string, use: (session: DevSession) => Promise<void>): Promise<void> {
  const place = await mkdtemp(join(tmpdir(), 'tallystick-first-'));
  const folder = join(place, 'empty');
  const bin = join(place, 'bin');
  await mkdir(folder);
  await mkdir(bin);
  const program = join(bin, 'tallystick');
  await writeFile(program, `#!/bin/sh\nexec '${process.execPath}' '${PROGRAM}' "$@"\n`);
  await chmod(program, 0o755);
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
  // `exec`: what is signalled is the program, not the shell around it.
  const child = spawn('bash', ['-c', `exec ${command}`], { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
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
      type: (commands, where = folder) => run('bash', ['-eu', '-o', 'pipefail', '-c', commands], where, env),
    });
  } finally {
    child.kill('SIGINT');
    await ended;
    await rm(place, { recursive: true, force: true });
  }
}

async function run(
  program: string,
  args: readonly string[],
  cwd: string,
  env: Readonly<Record<string, string | undefined>> = process.env,
): Promise<CommandResult> {
  const child = spawn(program, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  const [stdout, stderr, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  return { code, stdout, stderr };
}
