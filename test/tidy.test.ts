/** The repository's own rules. Each scan first shows that it found what it is about. */
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { breachesOf, kindOf, placeOf, ROOMS } from './support/layers.ts';
import { importsOf, readFiles, readTypeScript, REPOSITORY, withoutComments } from './support/source-files.ts';
import type { SourceFile } from './support/source-files.ts';

const FILE_LINES_MAX = 300;
const IMPORTS = /^import [^;]*;\n/gm;
const everything = readFiles();
const code = readTypeScript('src', 'jobs', 'packages', 'scripts');
const built = code.filter(({ path }) => !path.startsWith('scripts/'));
/** What the daemon is made of. */
const running = built.filter(({ path }) => !path.startsWith('packages/'));
const tests = readTypeScript('test');

/** Every place in `files` where `pattern` (with the flag g) is found, outside the files that `mayHave` it. */
function findPlaces(files: readonly SourceFile[], pattern: RegExp, mayHave: readonly string[] = []): string[] {
  return files
    .filter(({ path }) => !mayHave.includes(path))
    .flatMap(({ path, text }) =>
      [...text.matchAll(pattern)].map((match) => `${path}:${lineOf(text, match.index)} ${match[0].trim()}`),
    );
}

function lineOf(text: string, index: number): number {
  return text.slice(0, index).split('\n').length;
}

/** The same files without their comments; line numbers are no longer those of the file. */
function codeOf(files: readonly SourceFile[]): SourceFile[] {
  return files.map(({ path, text }) => ({ path, text: withoutComments(text) }));
}

function textOf(path: string): string {
  const file = everything.find((candidate) => candidate.path === path);
  if (file === undefined) throw new Error(`${path} is missing`);
  return file.text;
}

describe('the scan', () => {
  it('sees the sources, the tests, the scripts and the documents', () => {
    const seen = everything.map(({ path }) => path);
    for (const path of [
      'src/platform/errors.ts',
      'scripts/test',
      'test/tidy.test.ts',
      'package.json',
      '.oxlintrc.json',
    ]) {
      expect(seen).toContain(path);
    }
    expect(seen.filter((path) => path.startsWith('node_modules/'))).toEqual([]);
    for (const folder of [...ROOMS, 'packages/stripe-double', 'packages/dev-services', 'scripts']) {
      expect(code.filter(({ path }) => path.startsWith(`${folder}/`)).length, folder).toBeGreaterThan(0);
    }
  });

  it('recognises every form of import', () => {
    const text = [
      "import a from 'one';",
      "import type { B } from 'two';",
      'import {',
      '  c,',
      '  type D,',
      "} from '../three.ts';",
      "export * from './four.ts';",
      "import 'five';",
      "const six = await import('six');",
      "// import seven from 'seven';",
    ].join('\n');
    expect(importsOf(text)).toEqual([
      { specifier: 'one', isTypeOnly: false },
      { specifier: 'two', isTypeOnly: true },
      { specifier: '../three.ts', isTypeOnly: false },
      { specifier: './four.ts', isTypeOnly: false },
      { specifier: 'five', isTypeOnly: false },
      { specifier: 'six', isTypeOnly: false },
    ]);
  });
});

describe('rooms', () => {
  const breaches = (path: string, line: string): number => breachesOf({ path, text: line }).length;

  it('hold for every file: who imports whom, and which vendor package enters where', () => {
    expect(code.length).toBeGreaterThan(20);
    expect(code.flatMap(breachesOf)).toEqual([]);
    // Each kind of file is there, so that its rules are about something.
    const kinds = running.map(({ path }) => kindOf(path));
    for (const kind of ['store', 'stripe', 'routes', 'plain'] as const) expect(kinds).toContain(kind);
  });

  it.each([
    ['a higher room', 'src/usage/usage-event.ts', "import { x } from '../submissions/submission.ts';"],
    ['a higher room, even its types', 'src/meters/meter.ts', "import type { X } from '../usage/usage-event.ts';"],
    ['the daemon', 'src/explain/explanation.ts', "import { x } from '../daemon/job-parts.ts';"],
    ['a setting', 'src/usage/read-events.ts', "import { loadConfig } from '../config.ts';"],
    ['a store', 'src/usage/read-events.ts', "import { UsageEvents } from './usage-events-store.ts';"],
    ['what Stripe says', 'src/meters/sync-meters.ts', "import { StripeMeters } from './meters-stripe.ts';"],
    ['a store from a route', 'src/usage/events-routes.ts', "import { UsageEvents } from './usage-events-store.ts';"],
    ['a store from what Stripe says', 'src/meters/meters-stripe.ts', "import { Meters } from './meters-store.ts';"],
    ['a route', 'src/usage/read-events.ts', "import type { X } from './events-routes.ts';"],
    ['input and output', 'src/meters/meter.ts', "import { readFileSync } from 'node:fs';"],
    ['the driver', 'src/aggregation/aggregate-usage.ts', "import type { Db } from 'mongodb';"],
    ['the driver in the queue', 'src/platform/queue/job-queue.ts', "import type { Collection } from 'mongodb';"],
    ['the SDK', 'src/mirror/invoice.ts', "import type { Stripe } from 'stripe';"],
    ['the SDK as more than types', 'packages/stripe-double/src/meters.ts', "import Stripe from 'stripe';"],
    ['the web framework', 'src/meters/meters-store.ts', "import sensible from '@fastify/sensible';"],
    ['the simulator', 'src/daemon.ts', "import { x } from '../packages/stripe-double/src/simulator.ts';"],
    [
      'the daemon from a package',
      'packages/stripe-double/src/meters.ts',
      "import { x } from '../../../src/platform/clock.ts';",
    ],
    [
      'one package from another',
      'packages/stripe-double/src/meters.ts',
      "import { x } from '../../dev-services/src/ports.ts';",
    ],
  ])('would notice an import of %s', (_what, path, line) => {
    expect(breaches(path, line)).toBe(1);
  });

  it('would notice a folder that is no room', () => {
    expect(breaches('src/utils/pad.ts', '')).toBe(1);
    expect(breaches('src/storage/meters.ts', '')).toBe(1);
  });

  it.each([
    ['a lower room', 'src/submissions/submission.ts', "import { x } from '../usage/usage-event.ts';"],
    ['the types of a store', 'src/usage/read-events.ts', "import type { X } from './usage-events-store.ts';"],
    ['the SDK, its types', 'packages/stripe-double/src/meters.ts', "import type Stripe from 'stripe';"],
    ['the web framework', 'src/platform/http/app.ts', "import swagger from '@fastify/swagger';"],
    [
      'everything, where all is put together',
      'src/daemon/stores.ts',
      "import { x } from '../usage/usage-events-store.ts';",
    ],
  ])('let through %s', (_what, path, line) => {
    expect(breaches(path, line)).toBe(0);
  });
});

describe('what enters through one file', () => {
  it('the environment is read in src/config.ts and for the embedded services only', () => {
    const readers = ['src/config.ts', 'packages/dev-services/src/environment.ts'];
    expect(findPlaces(codeOf(built), /\bprocess\.env\b|\bprocess\[['"]env/g, readers)).toEqual([]);
    expect(textOf('packages/dev-services/src/environment.ts')).toMatch(/\bprocess\.env\b/);
  });

  it('the time of day is asked for in src/platform/clock.ts only', () => {
    const pattern = /\bDate\.now\b|\bnew Date\(\s*\)|\bDateTime\.(?:now|utc|local)\(\s*\)/g;
    const clocks = ['src/platform/clock.ts', 'packages/stripe-double/src/clock.ts'];
    expect(findPlaces(codeOf(built), pattern, clocks)).toEqual([]);
    expect(textOf('src/platform/clock.ts')).toMatch(/Date\.now\(\)/);
  });

  it('what is pure throws no dice, writes no log and touches no process', () => {
    const nouns = ROOMS.filter((room) => !['src/platform', 'src/stripe', 'src/daemon'].includes(room));
    const pure = codeOf(
      running.filter(({ path }) => nouns.some((room) => room === placeOf(path)) && kindOf(path) === 'plain'),
    );
    expect(pure.length).toBeGreaterThan(0);
    const pattern =
      /\bMath\.random\b|\brandom(?:Bytes|UUID|Int)\b|\bconsole\.|\bprocess\.|\bset(?:Timeout|Interval)\(/g;
    expect(findPlaces(pure, pattern)).toEqual([]);
  });
});

describe('calls to Stripe', () => {
  const DOOR = 'src/stripe/writes.ts';
  /** Calls of the package on a client, by their last name, that change nothing. */
  const READS: readonly string[] = ['list', 'retrieve', 'listEventSummaries', 'listLineItems'];
  const callsOf = (files: readonly SourceFile[]): string[] =>
    files.flatMap(({ path, text }) =>
      [...withoutComments(text).matchAll(/\bstripe((?:\s*\.\s*\w+)+)\s*\(/g)].map(
        ([, names = '']) => `${path} ${names.replaceAll(/\s/g, '').slice(1)}`,
      ),
    );
  const isWrite = (call: string): boolean => !READS.some((name) => call.endsWith(`.${name}`));

  it('change something in one place only, which numbers the keys', () => {
    const adapters = running.filter(({ path }) => path.startsWith('src/stripe/') || kindOf(path) === 'stripe');
    const calls = callsOf(adapters.filter(({ path }) => path !== DOOR));
    expect(calls.length).toBeGreaterThan(5);
    expect(calls.filter(isWrite)).toEqual([]);
    expect(callsOf(adapters.filter(({ path }) => path === DOOR)).filter(isWrite).length).toBeGreaterThan(3);
  });

  it('past that place would be noticed', () => {
    const text =
      'await this.#stripe.invoices\n  .update(id, {});\nstripe.rawRequest("POST", "/v1/x");\nstripe.events.list();';
    expect(callsOf([{ path: 'x', text }]).filter(isWrite)).toEqual(['x invoices.update', 'x rawRequest']);
  });
});

describe('statements', () => {
  /** Lists that are neither a slice nor a constant, and what bounds them. */
  const BOUNDED: Readonly<Record<string, string>> = {
    'src/usage/adjustment-totals-store.ts $in: meters': 'a slice of the meters of a step',
    'src/aggregation/counted-values-store.ts $or: scopes.map': 'PERIODS_PER_STATEMENT',
    'src/aggregation/counted-values-store.ts $nor: former': 'the calendars of one customer',
    'src/aggregation/counted-values-store.ts $or: some.map': 'HOURS_PER_STATEMENT',
    'src/usage/derivation-scope-store.ts $in: cells.map': 'STEP_PAIRS_MAX',
    'src/usage/derivation-scope-store.ts $or: cells.map': 'STEP_PAIRS_MAX',
    'src/usage/derivation-scope-store.ts $in: [...customerIds': 'STEP_PAIRS_MAX',
    'src/usage/dirty-hours-store.ts $each: [...pairs': 'COMMIT_EVENTS_MAX',
    'src/aggregation/fact-expressions-store.ts $and: meter.where.map': 'CONDITIONS_MAX, CONDITION_VALUES_MAX',
    'src/submissions/meter-submissions-store.ts $in: [...states': 'the states there are',
    'src/submissions/planning/period-entries-store.ts $or: ranges': 'PERIODS_PER_STATEMENT',
    'src/aggregation/usage-aggregates-store.ts $in: [...meters': 'METERS_MAX',
    'src/usage/usage-events-store.ts $in: values.map': 'CONDITION_VALUES_MAX',
    'src/usage/usage-events-store.ts $and: conditions': 'CONDITIONS_MAX',
    'src/aggregation/usage-periods-store.ts $in: [...meters': 'METERS_MAX',
    'src/aggregation/usage-periods-store.ts $or: scopes.map': 'PERIODS_PER_STATEMENT',
    'src/webhooks/webhook-inbox-store.ts $in: state': 'the states there are',
  };
  const LIST =
    /(?:\$(?:in|nin|or|nor|and|all|each|documents): (?!\[[^.\]]|\{)|\b(?:insertMany|bulkWrite)\()(?:\[\.\.\.)?[\w.']+/g;
  const listsOf = (files: readonly SourceFile[]): string[] =>
    files.flatMap(({ path, text }) => [...withoutComments(text).matchAll(LIST)].map(([list]) => `${path} ${list}`));
  const isSliced = (list: string): boolean => /(?:[( ]|\.\.\.)(?:slice|[A-Z][A-Z_]+)\b/.test(list);

  it('carry no list whose length or size somebody else decides', () => {
    const lists = listsOf(
      running.filter(({ path }) => path.startsWith('src/platform/mongo/') || kindOf(path) === 'store'),
    );
    expect(lists.length).toBeGreaterThan(40);
    expect(lists.filter((list) => !isSliced(list) && BOUNDED[list] === undefined)).toEqual([]);
    expect(Object.keys(BOUNDED).filter((list) => !lists.includes(list))).toEqual([]);
  });

  it('with such a list would be noticed', () => {
    const text = [
      'find({ _id: { $in: [...customerIds] } })',
      'find({ $or: ranges })',
      'insertMany(documents)',
      'bulkWrite(updates, {})',
      'find({ _id: { $in: slice } })',
      "find({ state: { $in: ['a', 'b'] } })",
    ].join('\n');
    const lists = listsOf([{ path: 'x', text }]).filter((list) => !isSliced(list));
    expect(lists).toEqual(['x $in: [...customerIds', 'x $or: ranges', 'x insertMany(documents', 'x bulkWrite(updates']);
  });
});

describe('connections', () => {
  /** What opens one, and what has to stand beside it so that a peer that says nothing is given up. */
  const OPENING = /\bnew (?:Redis|MongoClient|Stripe)\((?!\))|(?<![.\w]|function |async )fetch\((?!guard\)|seen\))/g;
  const BOUND = /\.\.\.limits\(|^new MongoClient\(uri, OPTIONS\)|\bsocketTimeoutMS\b|\bbounded\(|\bsignal\b/;
  const SOCKET_IMPORT =
    /^import \{[^}]*\b(?:connect|request|get|createConnection)\b[^}]*\} from 'node:(?:net|tls|http|https|http2)';/m;
  const SOCKET_BOUND = /\btimeout: |\bsetTimeout\(|AbortSignal\.timeout\(/;
  /** What falls silent itself, and measurements, which a person watches. */
  const NOT_MEANT = /^scripts\/lib\/(?:torture\/silent-proxy\.ts$|bench\/)/;
  /** How far behind its opening the limit of a connection may stand. */
  const REACH = 900;

  const unbounded = (files: readonly SourceFile[]): string[] =>
    codeOf(files.filter(({ path }) => !NOT_MEANT.test(path))).flatMap(({ path, text }) => [
      ...[...text.matchAll(OPENING)]
        .filter(({ index }) => !BOUND.test(text.slice(index, index + REACH)))
        .map(([opening]) => `${path} opens ${opening} without a limit on silence`),
      ...(SOCKET_IMPORT.test(text) && !SOCKET_BOUND.test(text) ? [`${path} opens sockets without a time limit`] : []),
    ]);

  it('are opened in few places, each with a limit on silence', () => {
    const openers = codeOf(code).filter(({ text }) => text.match(OPENING) !== null || SOCKET_IMPORT.test(text));
    const places = openers.map(({ path }) => path);
    expect(places).toEqual(
      expect.arrayContaining([
        'src/platform/redis/connection.ts',
        'src/platform/mongo/database.ts',
        'src/stripe/client.ts',
      ]),
    );
    // A new place in the daemon is a decision.
    expect(places.filter((path) => path.startsWith('src/'))).toEqual([
      'src/platform/mongo/database.ts',
      'src/platform/redis/connection.ts',
      'src/stripe/client.ts',
    ]);
    expect(unbounded(code)).toEqual([]);
  });

  it('without one would be noticed', () => {
    const faults = (text: string): number => unbounded([{ path: 'src/platform/redis/connection.ts', text }]).length;
    expect(faults('const redis = new Redis(url, { lazyConnect: true });')).toBe(1);
    expect(faults('const client = new MongoClient(uri);')).toBe(1);
    expect(faults('await fetch(url);')).toBe(1);
    expect(faults("import { connect } from 'node:net';\nconnect(1);")).toBe(1);
    expect(faults('await fetch(url, { signal: AbortSignal.timeout(3_000) });')).toBe(0);
  });
});

describe('form', () => {
  it('nothing in the sources is a default export', () => {
    expect(findPlaces(codeOf(code), /^export default\b|\bas default\b/gm)).toEqual([]);
  });

  it('no file or folder is named after nothing in particular', () => {
    const vague = /^(?:utils?|helpers?|common|misc|types)$/;
    const names = [...code, ...tests].flatMap(({ path }) => path.replace(/\.ts$/, '').split('/'));
    expect(names.length).toBeGreaterThan(20);
    expect(names.filter((name) => vague.test(name))).toEqual([]);
  });

  it(`no source file is longer than ${FILE_LINES_MAX} lines beside its imports`, () => {
    const linesOf = (text: string): number => text.replaceAll(IMPORTS, '').trim().split('\n').length;
    expect(linesOf("import a from 'one';\nimport {\n  b,\n} from 'two';\n\nc();\nd();\n")).toBe(2);
    expect(code.filter(({ text }) => linesOf(text) > FILE_LINES_MAX).map(({ path }) => path)).toEqual([]);
  });

  it('every room and package says what it owns, what not, its invariants and its limits', () => {
    const folders = built.map(({ path }) => path.split('/')).filter((parts) => parts.length > 2);
    const names = new Set(folders.map((parts) => parts.slice(0, 2).join('/')));
    expect(names.size).toBeGreaterThan(3);
    const faults = [...names].flatMap((name) => {
      const readme = everything.find(({ path }) => path === `${name}/README.md`)?.text.toLowerCase();
      if (readme === undefined) return [`${name} has no README.md`];
      const words = ['owns', 'does not own', 'invariants', 'limits'];
      return words.filter((word) => !readme.includes(word)).map((word) => `${name}/README.md lacks: ${word}`);
    });
    expect(faults).toEqual([]);
  });
});

describe('tests', () => {
  it('are never skipped, focused, postponed or expected to fail', () => {
    expect(tests.filter(({ path }) => path.endsWith('.test.ts')).length).toBeGreaterThan(2);
    const pattern = /\b(?:it|test|describe)(?:\.\w+)*\.(?:skip|only|todo|fails|skipIf|runIf)\b|\bx(?:it|describe)\(/g;
    expect(findPlaces(codeOf(tests), pattern)).toEqual([]);
  });

  it('use the real thing or a double that says no, never a module mock', () => {
    expect(findPlaces(codeOf(tests), /\bvi\s*\.(?:mock|doMock|hoisted|stubGlobal)\b/g)).toEqual([]);
  });
});

describe('configuration', () => {
  interface ConfigModule {
    configVariables: readonly { name: string }[];
  }
  const read = async (): Promise<string[]> => {
    const { configVariables } = (await import(/* @vite-ignore */ join(REPOSITORY, 'src/config.ts'))) as ConfigModule;
    return configVariables.map(({ name }) => name).sort();
  };
  const namesIn = (text: string, pattern: RegExp): string[] =>
    [...text.matchAll(pattern)].map(([, name = '']) => name).sort();

  it('is the same in the schema and in .env.example', async () => {
    const names = await read();
    expect(names.length).toBeGreaterThan(10);
    expect(namesIn(textOf('.env.example'), /^#? ?([A-Z][A-Z0-9_]+)=/gm)).toEqual(names);
  });

  it('is the same in the schema and in the table of docs/configuration.md', async () => {
    expect(namesIn(textOf('docs/configuration.md'), /^\| *`([A-Z][A-Z0-9_]+)`/gm)).toEqual(await read());
  });
});

describe('documents', () => {
  it('explain every error code that the daemon can give', () => {
    const literals = [...running, ...code.filter(({ path }) => path.startsWith('packages/dev-services/'))].flatMap(
      ({ text }) =>
        [...withoutComments(text).matchAll(/\bcode: ((?:\s*\|?\s*'[a-z][a-z0-9_]*')+)/g)].flatMap(([, list = '']) =>
          [...list.matchAll(/'([a-z0-9_]+)'/g)].map(([, name = '']) => name),
        ),
    );
    const codes = [...new Set(literals)].sort();
    expect(codes).toContain('invariant_broken');
    expect(codes.length).toBeGreaterThan(3);
    const documented = new Set(
      [...textOf('docs/errors.md').matchAll(/^(?:#+|\|) *`?([a-z][a-z0-9_]*)`?/gm)].map(([, name = '']) => name),
    );
    expect(codes.filter((name) => !documented.has(name))).toEqual([]);
  });

  it('link only to files that exist', () => {
    const documents = everything.filter(({ path }) => path.endsWith('.md'));
    expect(documents.length).toBeGreaterThan(0);
    const broken = documents.flatMap(({ path, text }) =>
      [...text.matchAll(/\]\((?!https?:|mailto:|#)([^)#\s]+)/g)]
        .map(([, target = '']) => join(path, '..', target))
        .filter((target) => !existsSync(join(REPOSITORY, target)))
        .map((target) => `${path} links to ${target}`),
    );
    expect(broken).toEqual([]);
  });
});

describe('nothing in the repository', () => {
  it('names a package registry or a path of one machine', () => {
    expect(everything.length).toBeGreaterThan(50);
    const hosts = [
      ['npmjs', 'org'],
      ['npmjs', 'com'],
      ['yarnpkg', 'com'],
      ['pypi', 'org'],
      ['pythonhosted', 'org'],
    ];
    const host = hosts.map((labels) => labels.join('\\.')).join('|');
    const folders = ['root', 'work'].join('|');
    expect(findPlaces(everything, new RegExp(`\\b(?:${host})\\b`, 'g'))).toEqual([]);
    expect(findPlaces(everything, new RegExp(`(?<![\\w./*~$}-])/(?:${folders})\\b`, 'g'))).toEqual([]);
    expect(findPlaces(everything, new RegExp(`(?<![\\w-])${['sha', 'red/'].join('')}`, 'g'))).toEqual([]);
    expect(textOf('package-lock.json')).not.toContain('"resolved": "http');
  });

  it('looks like a secret of a live Stripe account', () => {
    expect(findPlaces(everything, /\b[sr]k_live_[A-Za-z0-9]{16,}/g)).toEqual([]);
    expect(findPlaces(everything, /\bwhsec_[A-Za-z0-9]{32,}/g)).toEqual([]);
  });

  it('is a shell script that the system could not run', () => {
    const scripts = everything.filter(({ path, text }) => text.startsWith('#!') && !path.endsWith('.ts'));
    expect(scripts.map(({ path }) => path)).toEqual(
      expect.arrayContaining(['.ci/run', 'scripts/check', 'scripts/test']),
    );
    const isRunnable = ({ path, text }: SourceFile): boolean =>
      text.startsWith('#!/usr/bin/env bash\n') && (statSync(join(REPOSITORY, path)).mode & 0o111) !== 0;
    expect(scripts.filter((file) => !isRunnable(file)).map(({ path }) => path)).toEqual([]);
  });
});
