/** What can be known about the container without building it: that everything it copies and runs exists. */
import { existsSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { describe, expect, it } from 'vitest';
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
      include: ['src', 'jobs', 'scripts'],
    });
  });

  it('builds and runs on Node 24, not as root', () => {
    const bases = instructions.filter(({ keyword }) => keyword === 'FROM').map(({ words }) => words[0]);
    expect(new Set(bases)).toEqual(new Set(['node:24-bookworm-slim']));
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
  const [, ...sections] = compose.slice(0, compose.indexOf('\nvolumes:')).split(/^ {2}(?=\w[\w-]*:$)/m);
  const services = new Map(sections.map((text) => [text.slice(0, text.indexOf(':')), text]));
  const section = (name: string): string => services.get(name) ?? '';
  const valueOf = (name: string): string =>
    new RegExp(`^ {6}${name}: '?([^'\\n]+)`, 'm').exec(section('tallystick'))?.[1] ?? '';

  it('gives the daemon the addresses of services that it waits for', () => {
    expect([...services.keys()]).toEqual(['tallystick', 'mongodb', 'redis']);
    for (const name of ['MONGODB_URI', 'REDIS_URL']) {
      const { hostname } = new URL(valueOf(name));
      expect(services.has(hostname), name).toBe(true);
      expect(section('tallystick')).toMatch(new RegExp(`^ {6}${hostname}:\\n {8}condition: service_healthy`, 'm'));
      expect(section(hostname)).toContain('healthcheck:');
    }
  });

  it('makes the replica set that the daemon asks for, under the name it connects to', () => {
    const address = new URL(valueOf('MONGODB_URI'));
    const name = address.searchParams.get('replicaSet') ?? '';
    expect(name).not.toBe('');
    expect(section('mongodb')).toContain(`'--replSet', '${name}'`);
    expect(section('mongodb')).toContain(`_id: '${name}'`);
    expect(section('mongodb')).toContain(`host: '${address.host}'`);
  });

  it('keeps what Redis holds, on disk and in memory', () => {
    expect(section('redis')).toContain("'--appendonly', 'yes'");
    expect(section('redis')).toContain("'--maxmemory-policy', 'noeviction'");
    expect(section('redis')).toContain('redis:/data');
    expect(section('mongodb')).toContain('mongodb:/data/db');
  });

  it('opens one port, on this machine only: the one the daemon listens on', () => {
    const published = [...compose.matchAll(/^ +- '?([\d.:]+)'?$/gm)].map(([, port]) => port);
    expect(published).toEqual([`127.0.0.1:${valueOf('PORT')}:${valueOf('PORT')}`]);
    expect(valueOf('HOST')).toBe('0.0.0.0');
    expect(dockerfile).toContain(`EXPOSE ${valueOf('PORT')}`);
    expect(dockerfile).toContain(`HOST=${valueOf('HOST')} PORT=${valueOf('PORT')}`);
  });

  it('sets only variables that the daemon knows, and names a version for every image', () => {
    const names = [...section('tallystick').matchAll(/^ {6}([A-Z_]+):/gm)].map(([, name]) => name);
    expect(names).toHaveLength(4);
    const known = read('.env.example');
    expect(names.filter((name) => !new RegExp(`^#? ?${name}=`, 'm').test(known))).toEqual([]);
    const images = [...compose.matchAll(/^ +image: (.+)$/gm)].map(([, image]) => image);
    expect(images).toHaveLength(2);
    expect(images.filter((image) => !/:\d+(?:\.\d+)*$/.test(image ?? ''))).toEqual([]);
  });
});
