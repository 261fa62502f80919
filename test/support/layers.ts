/**
 * Who may import whom. The sources are cut by noun: a folder of `src` is a room, and `ROOMS` is their order, a lower one never
 * imports a higher one. Within a room the suffix of a file says what it does, and so what it may import.
 */
import { posix } from 'node:path';
import { importsOf, type ImportStatement, type SourceFile } from './source-files.ts';

/** From the lowest to the highest. */
export const ROOMS = [
  'src/platform',
  'src/stripe',
  'src/meters',
  'src/customers',
  'src/usage',
  'src/aggregation',
  'src/mirror',
  'src/submissions',
  'src/late-usage',
  'src/reconciliation',
  'src/invoice-guard',
  'src/webhooks',
  'src/explain',
  'jobs',
  'src/daemon',
] as const;
type Room = (typeof ROOMS)[number];

/** What stands above every room, file by file or as a folder, and what each may import of `src` besides its own. */
const APART: Readonly<Record<string, readonly string[] | 'anything'>> = {
  'src/main.ts': ['src/daemon.ts', 'src/config.ts', 'src/platform'],
  'src/daemon.ts': 'anything',
  'src/config.ts': ['src/config-variables.ts', 'src/config-secrets.ts', 'src/platform'],
  'src/config-variables.ts': [
    'src/config-addresses.ts',
    'src/config-crons.ts',
    'src/config-secrets.ts',
    'src/platform',
  ],
  'src/config-addresses.ts': [],
  'src/config-crons.ts': ['src/platform'],
  'src/config-secrets.ts': [],
  'packages/stripe-double': [],
  'packages/dev-services': [],
  scripts: 'anything',
};
/** Files of the settings that the wiring may read. */
const SETTINGS = ['src/config.ts', 'src/config-secrets.ts'];
/** Never part of the running daemon. */
const NOT_IN_THE_DAEMON = ['packages/stripe-double', 'packages/dev-services', 'scripts'];

/** What a file does, by its suffix. `plain` is a value, a table, a plan, or a use case. */
type Kind = 'store' | 'stripe' | 'routes' | 'plain';

/** Vendor packages, and where their code may enter; a name that ends in `/` is a scope. */
const PACKAGES: Readonly<Record<string, { folders: readonly string[]; kind?: Kind; typesIn?: readonly string[] }>> = {
  stripe: { folders: ['src/stripe'], kind: 'stripe', typesIn: ['packages/stripe-double'] },
  mongodb: { folders: ['src/platform/mongo'], kind: 'store' },
  fastify: { folders: ['src/platform/http'], kind: 'routes' },
  '@fastify/': { folders: ['src/platform/http'] },
  bullmq: { folders: ['src/platform/queue'] },
  'node-cron': { folders: ['src/platform/queue', 'src/config-crons.ts'] },
  ioredis: { folders: ['src/platform/redis'], typesIn: ['src/platform/queue', 'src/daemon'] },
  'mongodb-memory-server-core': { folders: ['packages/dev-services'] },
  pino: { folders: ['src/platform/logger.ts'] },
};
/** What plain files of a room take from outside: calculation, schemas and hashing, never input or output. */
const PURE_PACKAGES = [
  'decimal.js',
  'luxon',
  'node:buffer',
  'node:crypto',
  'node:util',
  'node:zlib',
  'typebox',
  'typebox/value',
];

/** The room, the folder or the file that a path belongs to; undefined for one that belongs to none. */
export function placeOf(path: string): string | undefined {
  const parts = path.split('/');
  const folder = parts[0] === 'src' || parts[0] === 'packages' ? parts.slice(0, 2).join('/') : (parts[0] ?? '');
  return isRoom(folder) || folder in APART ? folder : undefined;
}

/** Every breach in one file, as sentences. */
export function breachesOf(file: SourceFile): string[] {
  const place = placeOf(file.path);
  if (place === undefined) return [`${file.path} belongs to no room`];
  return importsOf(file.text).flatMap((statement) => {
    const reason = statement.specifier.startsWith('.')
      ? judgeOwn(file.path, posix.join(posix.dirname(file.path), statement.specifier), statement.isTypeOnly)
      : judgePackage(file.path, statement);
    return reason === undefined ? [] : [`${file.path} imports ${statement.specifier}: ${reason}`];
  });
}

function judgeOwn(path: string, target: string, isTypeOnly: boolean): string | undefined {
  const [place, to] = [placeOf(path), placeOf(target)];
  if (place === undefined || to === undefined) return 'outside every room';
  if (place !== 'scripts' && place !== to && NOT_IN_THE_DAEMON.includes(to)) return `${to} is never part of the daemon`;
  if (!isRoom(place)) {
    const allowed = APART[place] ?? [];
    return place === to || allowed === 'anything' || allowed.includes(to) ? undefined : `${place} may not import ${to}`;
  }
  if (!isRoom(to))
    return place === 'src/daemon' && SETTINGS.includes(target) ? undefined : `${place} may not import ${to}`;
  if (ROOMS.indexOf(to) > ROOMS.indexOf(place)) return `${to} is above ${place}`;
  if (place === 'src/daemon' || place === 'src/platform') return undefined;
  return judgeKinds(kindOf(path), kindOf(target), isTypeOnly);
}

/** A use case is handed its stores and what Stripe says: it may name their types and nothing else of them. */
function judgeKinds(from: Kind, to: Kind, isTypeOnly: boolean): string | undefined {
  if (from === to || to === 'plain') return undefined;
  if (from === 'plain' && to !== 'routes' && isTypeOnly) return undefined;
  return `a ${from} file does not import a ${to} file`;
}

function judgePackage(path: string, statement: ImportStatement): string | undefined {
  const { specifier, isTypeOnly } = statement;
  const place = placeOf(path) ?? '';
  const isNamed = (name: string): boolean =>
    name.endsWith('/') ? specifier.startsWith(name) : specifier === name || specifier.startsWith(`${name}/`);
  const name = Object.keys(PACKAGES).find(isNamed);
  const rule = name === undefined ? undefined : PACKAGES[name];
  const isIn = (folders: readonly string[]): boolean =>
    folders.some((folder) => path === folder || path.startsWith(`${folder}/`));
  if (rule !== undefined) {
    const hasKinds = isNoun(place) || place === 'src/daemon';
    const isOfKind = rule.kind !== undefined && hasKinds && kindOf(path) === rule.kind;
    if (isIn(rule.folders) || isOfKind) return undefined;
    if (isTypeOnly && isIn(rule.typesIn ?? [])) return undefined;
    return `only ${rule.folders.join(' and ')}${rule.kind === undefined ? '' : ` and files x-${rule.kind}.ts`} may`;
  }
  if (isNoun(place) && kindOf(path) === 'plain' && !PURE_PACKAGES.includes(specifier)) return `${path} is pure`;
  return undefined;
}

/** A room of billing, and not the platform below them or what puts them together above. */
function isNoun(place: string): boolean {
  return isRoom(place) && !['src/platform', 'src/stripe', 'src/daemon'].includes(place);
}

function isRoom(place: string): place is Room {
  return (ROOMS as readonly string[]).includes(place);
}

export function kindOf(path: string): Kind {
  const suffix = /-(store|stripe|routes)\.ts$/.exec(path)?.[1];
  return (suffix as Kind | undefined) ?? 'plain';
}
