import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

const FOLDER = join('.tallystick', 'imports');
const SAVE_MS = 2_000;

/**
 * How far an import came, so that the same command goes on where it stopped. It only saves time: events that are sent
 * again are duplicates. One small file for each content, destination and shift; it is removed at the end.
 */
export class ImportState {
  readonly #path: string;
  #savedAt = 0;

  private constructor(path: string) {
    this.#path = path;
  }

  /** @param parts what else the events depend on. */
  static async of(file: string, parts: readonly string[]): Promise<ImportState> {
    const hash = createHash('sha256');
    for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
    for (const part of parts) hash.update(`\u001f${part}`);
    return new ImportState(join(FOLDER, `${hash.digest('hex').slice(0, 32)}.json`));
  }

  /** How many events from the start were answered in an earlier run. */
  async load(): Promise<number> {
    try {
      const { events } = JSON.parse(await readFile(this.#path, 'utf8')) as { events: unknown };
      return typeof events === 'number' && Number.isSafeInteger(events) && events > 0 ? events : 0;
    } catch {
      // Absent or unreadable: the import begins at the beginning, which is always right.
      return 0;
    }
  }

  /** Saves, but not more often than every few seconds unless it is the `last` time. */
  async save(events: number, last = false): Promise<void> {
    const now = performance.now();
    if (!last && now - this.#savedAt < SAVE_MS) return;
    this.#savedAt = now;
    await mkdir(dirname(this.#path), { recursive: true });
    await writeFile(`${this.#path}.new`, JSON.stringify({ events }));
    await rename(`${this.#path}.new`, this.#path);
  }

  async remove(): Promise<void> {
    await rm(this.#path, { force: true });
  }
}
