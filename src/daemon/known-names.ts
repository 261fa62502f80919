import type { Clock } from '../platform/clock.ts';
import { within } from '../platform/time-limit.ts';

export interface KnownNamesParts {
  /** Those of the names that are known, from the store. */
  find(names: readonly string[]): Promise<ReadonlySet<string>>;
  readonly clock: Pick<Clock, 'now'>;
  /** Told when the store did not answer. */
  readonly onError: (error: unknown) => void;
}

/** How long it is remembered that a name is known, and that it is not. */
const KNOWN_MS = 60_000;
const UNKNOWN_MS = 2_000;
/** Names that are remembered; a name has at most 255 bytes. */
const NAMES_MAX = 50_000;
/** A warning is not worth a slow answer. */
const LOOKUP_MS_MAX = 500;

interface Memory {
  readonly isKnown: boolean;
  readonly untilMs: number;
}

/**
 * Tells which names nobody has made known, for warnings: asked for every request, so most answers come from memory. It never
 * fails and never takes long: what could not be looked up is not warned of.
 */
export class KnownNames {
  readonly #parts: KnownNamesParts;
  readonly #memory = new Map<string, Memory>();

  constructor(parts: KnownNamesParts) {
    this.#parts = parts;
  }

  /** Forgets what is said to be unknown: something was made known. */
  forget(): void {
    for (const [name, { isKnown }] of this.#memory) if (!isKnown) this.#memory.delete(name);
  }

  /** Those of the names that are not known, in their order. */
  async unknownOf(names: ReadonlySet<string>): Promise<string[]> {
    const nowMs = this.#parts.clock.now();
    const remembered = (name: string): Memory | undefined => {
      const memory = this.#memory.get(name);
      return memory !== undefined && memory.untilMs > nowMs ? memory : undefined;
    };
    const missing = [...names].filter((name) => remembered(name) === undefined);
    const found = missing.length === 0 ? new Set<string>() : await this.#lookUp(missing);
    if (found !== undefined) this.#remember(missing, found, nowMs);
    return [...names].filter((name) => remembered(name)?.isKnown === false);
  }

  #remember(names: readonly string[], found: ReadonlySet<string>, nowMs: number): void {
    if (this.#memory.size + names.length > NAMES_MAX) this.#memory.clear();
    for (const name of names) {
      const isKnown = found.has(name);
      this.#memory.set(name, { isKnown, untilMs: nowMs + (isKnown ? KNOWN_MS : UNKNOWN_MS) });
    }
  }

  async #lookUp(names: readonly string[]): Promise<ReadonlySet<string> | undefined> {
    try {
      return await within(LOOKUP_MS_MAX, this.#parts.find(names), () => undefined);
    } catch (error) {
      this.#parts.onError(error);
      return undefined;
    }
  }
}
