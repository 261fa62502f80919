import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

const FOLDER = join('.tallystick', 'imports');
const SAVE_MS = 2_000;

/**
 * How far an import came, so that the same command goes on where it stopped. It only saves time: events that are sent
 * again are duplicates. One small file for each content, destination and way of reading; it is removed at the end.
 * Writing and removing happen one after the other, in the order of the calls: a write that is still under way when the
 * import ends must not bring the file back.
 */
export class ImportState {
  readonly #path: string;
  readonly #onFault: (error: unknown) => void;
  #savedAt = Number.NEGATIVE_INFINITY;
  #work: Promise<void> = Promise.resolve();

  private constructor(path: string, onFault: (error: unknown) => void) {
    this.#path = path;
    this.#onFault = onFault;
  }

  /**
   * @param parts what else the events depend on.
   * @param onFault told when progress cannot be kept; the import itself can go on.
   */
  static async of(file: string, parts: readonly string[], onFault: (error: unknown) => void): Promise<ImportState> {
    const hash = createHash('sha256');
    for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
    for (const part of parts) hash.update(`\u001f${part}`);
    return new ImportState(join(FOLDER, `${hash.digest('hex').slice(0, 32)}.json`), onFault);
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
  save(events: number, last = false): Promise<void> {
    const now = performance.now();
    if (!last && now - this.#savedAt < SAVE_MS) return this.#work;
    this.#savedAt = now;
    return this.#enqueue(async () => {
      await mkdir(dirname(this.#path), { recursive: true });
      await writeFile(`${this.#path}.new`, JSON.stringify({ events }));
      await rename(`${this.#path}.new`, this.#path);
    });
  }

  /** Forgets all progress. */
  remove(): Promise<void> {
    return this.#enqueue(() => rm(this.#path, { force: true }));
  }

  #enqueue(work: () => Promise<void>): Promise<void> {
    this.#work = this.#work.then(work).catch((error: unknown) => this.#onFault(error));
    return this.#work;
  }
}
