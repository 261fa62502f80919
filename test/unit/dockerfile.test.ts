/** What can be known about the container without building it: that everything it copies and runs exists. */
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, posix } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { importsOf, REPOSITORY, withoutComments } from '../support/source-files.ts';

const read = (path: string): string => readFileSync(join(REPOSITORY, path), 'utf8');

interface Instruction {
  keyword: string;
  words: string[];
}

interface Manifest {
  bin: Record<string, string>;
  scripts: Record<string, string>;
  dependencies: Record<string, string>;
  engines: { node: string };
}

const dockerfile = read('Dockerfile');
const instructions: Instruction[] = dockerfile
  .replaceAll(/\\\n/g, ' ')
  .split('\n')
  .filter((line) => line !== '' && !line.startsWith('#'))
  .map((line) => {
    const [keyword = '', ...words] = line.split(/\s+/);
    return { keyword, words };
  });
const manifest = JSON.parse(read('package.json')) as Manifest;
const entry = 'dist/scripts/tallystick.js';

/** The instructions after the last FROM: what the image is. */
const image = instructions.slice(instructions.findLastIndex(({ keyword }) => keyword === 'FROM'));

/** The JSON list that follows a keyword in the last stage. */
function commandOf(keyword: string): string[] {
  const line = image.find((instruction) => instruction.keyword === keyword)?.words.join(' ') ?? '';
  return JSON.parse(line.slice(line.indexOf('['))) as string[];
}

/** The source a compiled file comes from. */
function sourceOf(compiled: string): string {
  return compiled.replace(/^dist\//, '').replace(/\.js$/, '.ts');
}

/** Every package that is loaded when `path` is, without those behind a dynamic import. */
function packagesLoadedBy(path: string, seen = new Set<string>()): Set<string> {
  const packages = new Set<string>();
  if (seen.has(path)) return packages;
  seen.add(path);
  const code = withoutComments(read(path)).replaceAll(/\bimport\(/g, 'later(');
  for (const { specifier, isTypeOnly } of importsOf(code)) {
    if (isTypeOnly || specifier.startsWith('node:')) continue;
    if (!specifier.startsWith('.')) {
      packages.add(specifier.startsWith('@') ? specifier.split('/', 2).join('/') : (specifier.split('/')[0] ?? ''));
      continue;
    }
    for (const name of packagesLoadedBy(posix.join(posix.dirname(path), specifier), seen)) packages.add(name);
  }
  return packages;
}

describe('the Dockerfile', () => {
  const copies = instructions.filter(({ keyword }) => keyword === 'COPY').map(({ words }) => words);

  it('copies only files that exist and that .dockerignore lets through', () => {
    const sources = copies.filter(([first = '']) => !first.startsWith('--')).flatMap((words) => words.slice(0, -1));
    expect(sources).toContain('src');
    const ignore = read('.dockerignore').split('\n');
    expect(ignore.indexOf('*')).toBeLessThan(ignore.indexOf('!src'));
    expect(sources.filter((path) => !existsSync(join(REPOSITORY, path)))).toEqual([]);
    expect(sources.filter((path) => !ignore.includes(`!${path}`))).toEqual([]);
    const allowed = ignore.filter((line) => line.startsWith('!')).map((line) => line.slice(1));
    expect(allowed.filter((path) => !sources.includes(path))).toEqual([]);
  });

  it('takes from other stages only what they make', () => {
    const stages = instructions.filter(({ keyword }) => keyword === 'FROM').map(({ words }) => words[2]);
    const taken = copies.flatMap(([first = '', path]) => (first.startsWith('--from=') ? [[first.slice(7), path]] : []));
    expect(taken).toEqual([
      ['packages', '/app/node_modules'],
      ['build', '/app/dist'],
    ]);
    expect(taken.filter(([stage]) => !stages.includes(stage))).toEqual([]);
    expect(dockerfile).toContain('RUN npm ci --omit=dev');
    expect(manifest.scripts['build']).toBe('tsc -p tsconfig.build.json');
    expect(JSON.parse(read('tsconfig.build.json'))).toMatchObject({
      compilerOptions: { outDir: 'dist', rootDir: '.' },
      include: ['src', 'jobs', 'packages', 'scripts'],
    });
  });

  it('builds and runs on one version of Node 24, not as root', () => {
    const bases = instructions.filter(({ keyword }) => keyword === 'FROM').map(({ words }) => words[0]);
    expect(new Set(bases)).toEqual(new Set(['node:24.11.1-bookworm-slim']));
    expect(image.find(({ keyword }) => keyword === 'USER')?.words).toEqual(['node']);
  });

  it('gives Node what the benchmarks give it', () => {
    const [setting = ''] = image.find(({ words }) => words[0]?.startsWith('NODE_OPTIONS=') === true)?.words ?? [];
    expect(setting).toMatch(/^NODE_OPTIONS=--/);
    expect(read('scripts/bench')).toContain(`export ${setting}`);
  });

  it('starts and examines the daemon by verbs that exist', () => {
    const [verb = ''] = commandOf('CMD');
    expect(commandOf('ENTRYPOINT')).toEqual(['node', entry]);
    expect(commandOf('HEALTHCHECK')).toEqual(['node', entry, 'doctor', 'health']);
    expect(manifest.bin['tallystick']).toBe(entry);
    const sources = [sourceOf(entry), `scripts/commands/${verb}.ts`, 'scripts/commands/doctor.ts'];
    expect(sources.filter((path) => !existsSync(join(REPOSITORY, path)))).toEqual([]);
  });

  it('needs no development package to load what it runs', () => {
    const loaded = new Set(
      [sourceOf(entry), 'scripts/commands/start.ts', 'scripts/commands/doctor.ts', 'src/main.ts'].flatMap((path) => [
        ...packagesLoadedBy(path),
      ]),
    );
    expect(loaded).toContain('mongodb');
    expect([...loaded].filter((name) => !(name in manifest.dependencies))).toEqual([]);
  });
});

describe('compose.yaml', () => {
  const compose = read('compose.yaml');
  const topLevel = new Map(
    compose
      .split(/^(?=[a-z][\w-]*:)/m)
      .slice(1)
      .map((text) => [text.slice(0, text.indexOf(':')), text]),
  );
  const entriesOf = (name: string): Map<string, string> => {
    const [, ...parts] = (topLevel.get(name) ?? '').split(/^ {2}(?=\w[\w-]*:)/m);
    return new Map(parts.map((text) => [text.slice(0, text.indexOf(':')), text]));
  };
  const services = entriesOf('services');
  const section = (name: string): string => services.get(name) ?? '';
  const valueOf = (name: string): string =>
    new RegExp(`^ {6}${name}: '?([^'\\n]+)`, 'm').exec(section('tallystick'))?.[1] ?? '';
  const listOf = (text: string, name: string): string[] =>
    (new RegExp(`^ {4}${name}: \\[(.*)\\]$`, 'm').exec(text)?.[1] ?? '').split(', ').filter((item) => item !== '');

  /** What `scripts/make-secrets` makes in an empty folder. */
  async function makeSecrets(use: (folder: string) => void): Promise<void> {
    const folder = mkdtempSync(join(tmpdir(), 'tallystick-secrets-'));
    try {
      await promisify(execFile)(join(REPOSITORY, 'scripts/make-secrets'), [join(folder, 'secrets')]);
      use(join(folder, 'secrets'));
    } finally {
      rmSync(folder, { recursive: true });
    }
  }

  it('keeps every password in a file that the script makes, and in no variable', async () => {
    const secrets = entriesOf('secrets');
    await makeSecrets((folder) => {
      const files = [...secrets].map(([name, text]) => [name, /file: secrets\/(\w+)/.exec(text)?.[1]]);
      expect(files).toEqual([...secrets.keys()].map((name) => [name, name]));
      expect(readdirSync(folder).sort()).toEqual([...secrets.keys()].sort());
      expect(statSync(folder).mode & 0o077).toBe(0);
      for (const name of secrets.keys())
        expect(readFileSync(join(folder, name), 'utf8').trim().length).toBeGreaterThan(40);
    });
    const used = [...services.values()].flatMap((text) => listOf(text, 'secrets'));
    expect(new Set(used)).toEqual(new Set(secrets.keys()));
    for (const [name, text] of services) {
      const mounted = [...text.matchAll(/\/run\/secrets\/(\w+)/g)].map(([, secret]) => secret ?? '');
      const missing = mounted.filter((secret) => !listOf(text, 'secrets').includes(secret));
      expect(missing, name).toEqual([]);
    }
    expect(read('.gitignore').split('\n')).toContain('secrets/');
  });

  it('gives the daemon addresses that it takes, of services that it waits for', async () => {
    expect([...services.keys()]).toEqual(['tallystick', 'mongodb', 'redis']);
    await makeSecrets((folder) => {
      const env = Object.fromEntries(
        ['MONGODB_URI_FILE', 'REDIS_URL_FILE', 'ADMIN_API_KEY_FILE'].map((name) => [
          name,
          valueOf(name).replace('/run/secrets', folder),
        ]),
      );
      const config = loadConfig(env);
      const replicaSet = new URL(config.mongodbUri).searchParams.get('replicaSet') ?? '';
      expect(section('mongodb')).toContain(`'--replSet', '${replicaSet}'`);
      expect(section('mongodb')).toContain(`_id: '${replicaSet}'`);
      for (const address of [config.mongodbUri, config.redisUrl].map((text) => new URL(text))) {
        const { hostname } = address;
        expect(services.has(hostname), hostname).toBe(true);
        expect(section('tallystick')).toMatch(new RegExp(`^ {6}${hostname}:\\n {8}condition: service_healthy`, 'm'));
        expect(section(hostname)).toContain('healthcheck:');
        const secret = readFileSync(join(folder, `${hostname}_password`), 'utf8').trim();
        expect(address.password).toBe(secret);
        if (hostname === 'mongodb') expect(section('mongodb')).toContain(`host: '${address.host}'`);
      }
    });
  });

  it('lets MongoDB and Redis answer nobody without a password', () => {
    expect(section('mongodb')).toContain("'--keyFile', '/tmp/keyfile'");
    expect(section('mongodb')).toContain('MONGO_INITDB_ROOT_PASSWORD_FILE: /run/secrets/mongodb_root_password');
    expect(topLevel.get('configs')).toContain("roles: [{ role: 'readWrite', db: 'tallystick' }]");
    expect(section('redis')).toContain('requirepass');
    expect(section('redis')).toMatch(/exec valkey-server \/tmp\/password\.conf/);
  });

  it('keeps what Redis holds, on disk and in memory', () => {
    expect(section('redis')).toContain("'--appendonly', 'yes'");
    expect(section('redis')).toContain("'--maxmemory-policy', 'noeviction'");
    expect(section('redis')).toContain('redis:/data');
    expect(section('mongodb')).toContain('mongodb:/data/db');
  });

  it('lets no container write to its root, gain rights, or take the whole machine; none is run by root', () => {
    const hardened = topLevel.get('x-hardened') ?? '';
    const rules = ['read_only: true', 'cap_drop: [ALL]', "security_opt: ['no-new-privileges:true']", 'max-size: '];
    for (const rule of [...rules, "tmpfs: ['/tmp:"]) expect(hardened).toContain(rule);
    for (const [name, text] of services) {
      expect(text, name).toContain('<<: *hardened');
      for (const limit of ['mem_limit', 'cpus', 'pids_limit'])
        expect(text, name).toMatch(new RegExp(`^ {4}${limit}: \\S`, 'm'));
      expect(text, name).not.toMatch(/privileged|cap_add|user: '?(?:root|0)/);
      if (name !== 'tallystick') expect(text, name).toMatch(/^ {4}user: [a-z]+$/m);
    }
  });

  it('opens one port, on this machine only: the one the daemon listens on', () => {
    const published = [...compose.matchAll(/^ +- '?([\d.:]+)'?$/gm)].map(([, port]) => port);
    expect(published).toEqual([`127.0.0.1:${valueOf('PORT')}:${valueOf('PORT')}`]);
    expect(valueOf('HOST')).toBe('0.0.0.0');
    expect(dockerfile).toContain(`EXPOSE ${valueOf('PORT')}`);
    expect(dockerfile).toContain(`HOST=${valueOf('HOST')} PORT=${valueOf('PORT')}`);
    expect(entriesOf('networks').get('stores')).toContain('internal: true');
    for (const name of ['mongodb', 'redis']) expect(listOf(section(name), 'networks')).toEqual(['stores']);
  });

  it('sets only variables that the daemon knows, and names a version for every image', () => {
    const names = [...section('tallystick').matchAll(/^ {6}([A-Z_]+):/gm)].map(([, name]) => name ?? '');
    expect(names.length).toBeGreaterThan(4);
    const known = read('.env.example');
    const unknown = names.filter((name) => !new RegExp(`^#? ?${name.replace(/_FILE$/, '')}=`, 'm').test(known));
    expect(unknown).toEqual([]);
    const images = [...compose.matchAll(/^ +image: (.+)$/gm)].map(([, image]) => image);
    expect(images).toHaveLength(2);
    expect(images.filter((image) => !/:\d+\.\d+\.\d+$/.test(image ?? ''))).toEqual([]);
  });
});

describe('the backup recipe', () => {
  it('reads only secrets that the container has, and takes everything as of one instant', () => {
    const recipe = read('docs/backup.md');
    const mongodb =
      read('compose.yaml')
        .split(/^ {2}(?=\w[\w-]*:$)/m)
        .find((text) => text.startsWith('mongodb:')) ?? '';
    const secrets = [...recipe.matchAll(/\/run\/secrets\/(\w+)/g)].map(([, name]) => name ?? '');
    expect(secrets.length).toBeGreaterThan(0);
    expect(secrets.filter((name) => !mongodb.includes(name))).toEqual([]);
    expect(recipe).toMatch(/mongodump .*--oplog .*--archive/);
    expect(recipe).toMatch(/mongorestore .*--oplogReplay .*--archive/);
  });
});
