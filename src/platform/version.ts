import { readFileSync } from 'node:fs';

/** From `src/platform/` in development and from `dist/src/platform/` in the image, package.json lies above. */
const PLACES = ['../../package.json', '../../../package.json'];

/** The version of this program, as package.json has it; `unknown` without one. */
export function packageVersion(): string {
  for (const path of PLACES) {
    const text = readIfThere(new URL(path, import.meta.url));
    if (text !== undefined) return (JSON.parse(text) as { version: string }).version;
  }
  return 'unknown';
}

function readIfThere(path: URL): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
