/**
 * Who may import whom. A layer is a folder of src, `jobs`, `scripts`, or a file directly under src. What a layer may
 * not import is left out here; its own files it may always import.
 */
import { posix } from 'node:path';
import { importsOf, type ImportStatement, type SourceFile } from './source-files.ts';

/** Read everywhere: they hold no wiring and no vendor but the logger's. */
const FOUNDATION = [
  'src/platform/errors.ts',
  'src/platform/clock.ts',
  'src/platform/durations.ts',
  'src/platform/logger.ts',
  'src/platform/trouble-log.ts',
  'src/platform/boundary.ts',
  'src/platform/event-loop.ts',
  'src/platform/read-scope.ts',
  'src/platform/time-limit.ts',
];

const ADAPTER = ['src/domain', ...FOUNDATION];

const MAY_IMPORT: Readonly<Record<string, readonly string[] | 'anything'>> = {
  'src/platform/errors.ts': [],
  'src/platform/clock.ts': [],
  'src/platform/durations.ts': [],
  'src/platform/boundary.ts': [],
  'src/platform/version.ts': [],
  'src/platform/event-loop.ts': [],
  'src/platform/read-scope.ts': [],
  'src/platform/time-limit.ts': [],
  'src/platform/logger.ts': ['src/platform/errors.ts', 'src/platform/clock.ts'],
  'src/platform/trouble-log.ts': ['src/platform/logger.ts', 'src/platform/clock.ts'],
  'src/config.ts': ['src/config-variables.ts', 'src/config-secrets.ts', 'src/platform/errors.ts', 'src/platform/durations.ts'],
  'src/config-variables.ts': [
    'src/config-addresses.ts',
    'src/config-crons.ts',
    'src/config-secrets.ts',
    'src/platform/durations.ts',
  ],
  'src/config-addresses.ts': [],
  'src/config-crons.ts': ['src/platform/durations.ts'],
  'src/config-secrets.ts': [],
  'src/domain': ['src/platform/errors.ts', 'src/platform/durations.ts'],
  'src/storage': ADAPTER,
  'src/stripe': ADAPTER,
  'src/redis': ADAPTER,
  'src/queue': [...ADAPTER, 'src/redis'],
  'src/http': ADAPTER,
  'src/simulator': ['src/domain', ...FOUNDATION],
  'src/embedded': ['src/platform/errors.ts'],
  jobs: ['src/domain', 'src/platform/errors.ts', 'src/platform/clock.ts', 'src/platform/durations.ts', 'src/platform/boundary.ts', 'src/platform/event-loop.ts'],
  'src/wiring': 'anything',
  'src/daemon.ts': 'anything',
  'src/main.ts': ['src/daemon.ts', 'src/config.ts', ...FOUNDATION],
  scripts: 'anything',
};

/** Never part of the running daemon. */
const NOT_IN_THE_DAEMON = ['src/simulator', 'src/embedded', 'scripts'];

/** Packages with a fixed place; a pattern ending in `/` names a scope. */
const PLACES: Readonly<Record<string, readonly string[]>> = {
  stripe: ['src/stripe'],
  bullmq: ['src/queue'],
  'node-cron': ['src/queue', 'src/config-crons.ts'],
  fastify: ['src/http'],
  '@fastify/': ['src/http'],
  mongodb: ['src/storage'],
  'mongodb-memory-server-core': ['src/embedded'],
  ioredis: ['src/redis'],
  pino: ['src/platform/logger.ts'],
};

/** Packages whose types alone may be named elsewhere. */
const TYPE_ONLY_PLACES: Readonly<Record<string, readonly string[]>> = {
  stripe: ['src/simulator'],
  ioredis: ['src/queue', 'src/wiring'],
};

/** What the pure layers may take from outside: calculation, schemas and hashing, never input or output. */
const PURE_PACKAGES: Readonly<Record<string, readonly string[]>> = {
  'src/domain': ['decimal.js', 'luxon', 'node:crypto', 'typebox', 'typebox/value'],
  jobs: ['node:crypto'],
};

/** The layer of a file; undefined for one that belongs to none. */
export function layerOf(path: string): string | undefined {
  const parts = path.split('/');
  const layer = parts[0] === 'src' ? parts.slice(0, 2).join('/') : (parts[0] ?? '');
  return layer in MAY_IMPORT ? layer : undefined;
}

/** Every breach in one file, as sentences. */
export function breachesOf(file: SourceFile): string[] {
  const layer = layerOf(file.path);
  if (layer === undefined) return [`${file.path} belongs to no layer`];
  return importsOf(file.text).flatMap((statement) => {
    const reason = statement.specifier.startsWith('.')
      ? judgeOwn(layer, posix.join(posix.dirname(file.path), statement.specifier))
      : judgePackage(layer, statement);
    return reason === undefined ? [] : [`${file.path} imports ${statement.specifier}: ${reason}`];
  });
}

function judgeOwn(layer: string, target: string): string | undefined {
  const targetLayer = layerOf(target);
  if (targetLayer === undefined) return 'outside every layer';
  if (targetLayer === layer) return undefined;
  const allowed = MAY_IMPORT[layer] ?? [];
  if (allowed === 'anything') {
    const isApart = layer !== 'scripts' && NOT_IN_THE_DAEMON.includes(targetLayer);
    return isApart ? `${targetLayer} is never part of the daemon` : undefined;
  }
  return allowed.includes(targetLayer) ? undefined : `${layer} may not import ${targetLayer}`;
}

function judgePackage(layer: string, statement: ImportStatement): string | undefined {
  const { specifier, isTypeOnly } = statement;
  const pure = PURE_PACKAGES[layer];
  if (pure !== undefined && !pure.includes(specifier)) return `${layer} is pure`;
  const isNamed = (name: string): boolean =>
    name.endsWith('/') ? specifier.startsWith(name) : specifier === name || specifier.startsWith(`${name}/`);
  const name = Object.keys(PLACES).find(isNamed);
  if (name === undefined || PLACES[name]?.includes(layer) === true) return undefined;
  if (isTypeOnly && TYPE_ONLY_PLACES[name]?.includes(layer) === true) return undefined;
  return `only ${PLACES[name]?.join(' and ')} may`;
}
