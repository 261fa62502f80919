/** The repository as text, for tests that hold it to its own rules. */
import { readdirSync, readFileSync } from 'node:fs';
import { extname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface SourceFile {
  /** Relative to the repository's top folder, with forward slashes. */
  readonly path: string;
  readonly text: string;
}

/** One import, export-from or dynamic import. */
export interface ImportStatement {
  readonly specifier: string;
  /** `import type`: gone at run time. */
  readonly isTypeOnly: boolean;
}

export const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url));

const GENERATED = new Set(['node_modules', 'dist', 'coverage', '.git', '.tallystick']);
const BINARY = new Set(['.gz', '.png', '.jpg', '.ico', '.woff2', '.zip']);

/** Every text file that belongs to the repository, or to the folders named, in a stable order. */
export function readFiles(...folders: string[]): SourceFile[] {
  const roots = folders.length === 0 ? [REPOSITORY] : folders.map((folder) => join(REPOSITORY, folder));
  return roots
    .flatMap(listFiles)
    .filter((path) => !BINARY.has(extname(path)))
    .map((path) => ({ path: relative(REPOSITORY, path).split(sep).join('/'), text: readFileSync(path, 'utf8') }));
}

/** The TypeScript files of the folders named. */
export function readTypeScript(...folders: string[]): SourceFile[] {
  return readFiles(...folders).filter(({ path }) => path.endsWith('.ts'));
}

function listFiles(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => !GENERATED.has(entry.name) && entry.name !== '.env' && !entry.name.endsWith('.log'))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) return listFiles(path);
      return entry.isFile() ? [path] : [];
    });
}

/** The code without its comments: rules about what is called are not about what is written about it. */
export function withoutComments(text: string): string {
  return text.replaceAll(/\/\*[\s\S]*?\*\//g, '').replaceAll(/(^|\s)\/\/.*$/gm, '$1');
}

const STATIC_IMPORT = /^\s*(?:import|export)\s+(type\s+)?(?:[\w*{][^;'"]*?\sfrom\s+)?['"]([^'"]+)['"]/gm;
const DYNAMIC_IMPORT = /\bimport\(\s*['"]([^'"]+)['"]/g;

/** Every module that a file names. */
export function importsOf(text: string): ImportStatement[] {
  const code = withoutComments(text);
  const fixed = [...code.matchAll(STATIC_IMPORT)].map(([, type, specifier = '']) => ({
    specifier,
    isTypeOnly: type !== undefined,
  }));
  const dynamic = [...code.matchAll(DYNAMIC_IMPORT)].map(([, specifier = '']) => ({ specifier, isTypeOnly: false }));
  return [...fixed, ...dynamic];
}
