import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { newAdminKey } from '../admin-key.ts';
import { newSigningSecrets, type SigningSecrets } from '../local-stack.ts';

/** The keys of a folder's `dev`: the same at every start, so that another terminal need not be told them again. */
export interface DevKeys {
  readonly apiKey: string;
  readonly signingSecrets: SigningSecrets;
}

const FOLDER = '.tallystick';
const FILE = join(FOLDER, 'dev-keys.json');
const OWNER_ONLY = 0o600;

/** Reads the keys of this folder, or makes them. */
export async function readDevKeys(): Promise<DevKeys> {
  const stored = await readFile(FILE, 'utf8').then(parse, (error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  });
  if (stored !== undefined) return stored;
  const keys = { apiKey: newAdminKey(), signingSecrets: newSigningSecrets() };
  await mkdir(FOLDER, { recursive: true });
  // Nobody means to commit what is in here.
  await writeFile(join(FOLDER, '.gitignore'), '*\n');
  await writeFile(FILE, `${JSON.stringify(keys)}\n`, { mode: OWNER_ONLY });
  return keys;
}

/** A file that was spoilt is replaced. */
function parse(text: string): DevKeys | undefined {
  try {
    const { apiKey, signingSecrets } = JSON.parse(text) as Partial<DevKeys>;
    if (typeof apiKey !== 'string' || typeof signingSecrets?.snapshot !== 'string') return undefined;
    return typeof signingSecrets.thin === 'string' ? { apiKey, signingSecrets } : undefined;
  } catch {
    return undefined;
  }
}
