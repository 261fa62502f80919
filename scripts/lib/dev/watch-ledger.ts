import type { Database } from '../../../src/platform/mongo/database.ts';
import { type LedgerChange, tellChange, TOLD_COLLECTIONS } from './happening.ts';

/** Lines a second; what is beyond them is counted. */
const LINES_PER_SECOND_MAX = 20;
const SECOND_MS = 1_000;

/** Writes lines as they come, and says how many it left out where they come too fast to be read. */
class Pace {
  readonly #write: (line: string) => void;
  #secondAtMs = Number.NEGATIVE_INFINITY;
  #written = 0;
  #left = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(write: (line: string) => void) {
    this.#write = write;
  }

  add(line: string): void {
    const nowMs = performance.now();
    if (nowMs - this.#secondAtMs >= SECOND_MS) {
      this.#secondAtMs = nowMs;
      this.#written = 0;
    }
    if (this.#written < LINES_PER_SECOND_MAX) {
      this.#flush();
      this.#written += 1;
      this.#write(line);
      return;
    }
    this.#left += 1;
    this.#timer ??= setTimeout(() => this.#flush(), SECOND_MS);
  }

  close(): void {
    this.#flush();
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#left > 0) this.#write(`… and ${this.#left} more`);
    this.#left = 0;
  }
}

/**
 * Tells of each event, meter event, webhook and run of a ledger as it happens. It looks from outside, at what is stored:
 * a line is never ahead of the truth. Where the stream ends, that is said, and nothing else is harmed.
 * @returns how to stop.
 */
export function watchLedger({ db }: Database, write: (line: string) => void): () => Promise<void> {
  const pace = new Pace(write);
  const match = { $match: { 'ns.coll': { $in: TOLD_COLLECTIONS } } };
  const stream = db.watch<Record<string, unknown>>([match], { fullDocument: 'updateLookup' });
  let isStopping = false;
  stream.on('change', (change) => {
    const line = tellChange(change as LedgerChange);
    if (line !== undefined) pace.add(line);
  });
  stream.on('error', (error: Error) => {
    if (!isStopping) write(`what happens is shown no longer: ${error.message}`);
  });
  return async () => {
    isStopping = true;
    pace.close();
    await stream.close();
  };
}
