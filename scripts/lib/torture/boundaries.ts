import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const BOUNDARY_CALL = /\bboundary\(\s*'([a-z]+\.[a-z-]+)'/g;

/** Every name that src and jobs pass to `boundary`, in order: read from the sources, so that none can be forgotten. */
export function readBoundaryNames(): string[] {
  const root = repositoryFolder();
  const names = ['src', 'jobs'].flatMap((folder) => listSources(join(root, folder))).flatMap(namesIn);
  return [...new Set(names)].sort();
}

/** Compiled or not, package.json lies above this file. */
function repositoryFolder(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) {
    if (dirname(folder) === folder) throw new Error('the sources are not above this file');
    folder = dirname(folder);
  }
  return folder;
}

function listSources(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .map((path) => join(folder, path));
}

function namesIn(path: string): string[] {
  return [...readFileSync(path, 'utf8').matchAll(BOUNDARY_CALL)].map(([, name = '']) => name);
}
