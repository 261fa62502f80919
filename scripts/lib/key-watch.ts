import { hash } from 'node:crypto';

/** An idempotency key that a person should look at. */
export interface SuspectKey {
  readonly key: string;
  count: number;
  /** The first lines concerned. */
  readonly lines: number[];
}

export interface SuspectKeys {
  /** Events concerned in all. */
  readonly count: number;
  /** The first keys. */
  readonly keys: readonly SuspectKey[];
}

/** More are not remembered: some 100 MB. */
export const KEYS_REMEMBERED_MAX = 2_000_000;
const KEYS_NAMED_MAX = 20;
const LINES_SHOWN_MAX = 5;
/** What spreadsheets make of a long number: `1.23457E+15`. */
const SHORTENED_NUMBER = /^\d(?:[.,]\d+)?E\+\d+$/i;
/** Exact in a double. */
const FINGERPRINT_BITS = 52;

/**
 * Looks at the keys of a file while it is read: a key that stands in it twice for one customer, of which the second one
 * is never counted, and a key that a spreadsheet has shortened, so that different ones became one. Neither can be seen
 * from the answers: to the daemon the second one may as well be the file that is sent again.
 */
export class KeyWatch {
  readonly #seen = new Set<number>();
  readonly #repeated = new SuspectList();
  readonly #shortened = new SuspectList();
  #isComplete = true;

  /** @param text an event as JSON text; anything else has no key. */
  add(line: number, text: string): void {
    const event = parse(text);
    if (typeof event?.idempotencyKey !== 'string' || typeof event.customerId !== 'string') return;
    const { idempotencyKey: key, customerId } = event;
    if (SHORTENED_NUMBER.test(key)) this.#shortened.add(key, line);
    const fingerprint = fingerprintOf(`${key}\u001f${customerId}`);
    if (this.#seen.has(fingerprint)) this.#repeated.add(key, line);
    else if (this.#seen.size < KEYS_REMEMBERED_MAX) this.#seen.add(fingerprint);
    else this.#isComplete = false;
  }

  /** Keys that came again for the same customer: `count` is without the first ones. */
  get repeated(): SuspectKeys {
    return this.#repeated;
  }

  get shortened(): SuspectKeys {
    return this.#shortened;
  }

  /** Whether every key could be remembered. */
  get isComplete(): boolean {
    return this.#isComplete;
  }
}

class SuspectList implements SuspectKeys {
  count = 0;
  readonly #keys = new Map<string, SuspectKey>();

  get keys(): SuspectKey[] {
    return [...this.#keys.values()];
  }

  add(key: string, line: number): void {
    this.count += 1;
    const known = this.#keys.get(key) ?? { key, count: 0, lines: [] };
    known.count += 1;
    if (known.lines.length < LINES_SHOWN_MAX) known.lines.push(line);
    if (this.#keys.size < KEYS_NAMED_MAX) this.#keys.set(key, known);
  }
}

function fingerprintOf(text: string): number {
  return Number.parseInt(hash('sha256', text, 'hex').slice(0, FINGERPRINT_BITS / 4), 16);
}

function parse(text: string): { idempotencyKey?: unknown; customerId?: unknown } | undefined {
  try {
    const parsed = JSON.parse(text) as unknown;
    return typeof parsed === 'object' && parsed !== null ? parsed : undefined;
  } catch {
    return undefined;
  }
}
