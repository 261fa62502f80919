import { createHash } from 'node:crypto';
import type { Clock } from './clock.ts';
import { invalidRequest, Refusal } from './answer.ts';
import type { Answer } from './answer.ts';
import { canonicalForm } from './form.ts';

/** "Keys may be removed from the system after they're at least 24 hours old" (Stripe docs, Idempotent requests). */
const keptMs = 24 * 60 * 60 * 1000;
const keyCharactersMax = 255;

interface Entry {
  fingerprint: string;
  begunAt: number;
  /** Absent while the first request is in flight. */
  answer: Answer | undefined;
}

/** The fingerprint of a request: what a key may be used again for. */
export function fingerprintOf(method: string, path: string, body: string): string {
  return createHash('md5')
    .update(`${method} ${path}\n${canonicalForm(body)}`)
    .digest()
    .toString('latin1');
}

/** Answers kept by idempotency key, 500s included, so that a request sent again has its effect once. */
export class IdempotencyStore {
  readonly #clock: Clock;
  readonly #entries = new Map<string, Entry>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The stored answer of this key; or `undefined`, and the key is taken until `finish` or `abandon`. */
  begin(key: string, fingerprint: string): Answer | undefined {
    if (key.length > keyCharactersMax) {
      throw invalidRequest(`The idempotency key can be at most ${keyCharactersMax} characters long.`);
    }
    this.#forgetOld();
    const entry = this.#entries.get(key);
    if (entry === undefined) {
      this.#entries.set(key, { fingerprint, begunAt: this.#clock.now(), answer: undefined });
      return undefined;
    }
    if (entry.fingerprint !== fingerprint) throw otherParameters(key);
    if (entry.answer === undefined) throw keyInUse(key);
    return entry.answer;
  }

  /** Keeps the answer of an endpoint whose execution had begun. */
  finish(key: string, answer: Answer): void {
    const entry = this.#entries.get(key);
    if (entry !== undefined) entry.answer = answer;
  }

  /** Frees the key: nothing had begun, so sending again is a new request. */
  abandon(key: string): void {
    this.#entries.delete(key);
  }

  #forgetOld(): void {
    const oldest = this.#clock.now() - keptMs;
    for (const [key, entry] of this.#entries) {
      if (entry.begunAt > oldest) return;
      this.#entries.delete(key);
    }
  }
}

function otherParameters(key: string): Refusal {
  return new Refusal(400, {
    type: 'idempotency_error',
    message:
      'Keys for idempotent requests can only be used with the same parameters they were first used with. ' +
      `Try using a key other than '${key}' if you meant to execute a different request.`,
  });
}

function keyInUse(key: string): Refusal {
  return new Refusal(409, {
    type: 'idempotency_error',
    code: 'idempotency_key_in_use',
    message: `There is currently another in-progress request using this Idempotent Key: ${key}.`,
  });
}
