import type { Clock } from '../platform/clock.ts';
import type { WebhookKind } from '../webhooks/webhook.ts';
import type { WebhookReception } from '../webhooks/webhook-reception.ts';
import type { Logger } from '../platform/logger.ts';

export interface ReceptionTallyDeps {
  readonly receptions: { add(receptions: readonly WebhookReception[]): Promise<void> };
  readonly clock: Clock;
  readonly log: Pick<Logger, 'warn'>;
}

/** Anybody can deliver something that is refused: the store is written to this seldom, whatever comes. */
const WRITE_EVERY_MS = 5_000;
/** Outcomes are codes of ours; more of them than this are a mistake, and are not kept. */
const OUTCOMES_MAX = 64;

/** Counts deliveries in memory, and writes the counts down every few seconds. */
export class ReceptionTally {
  readonly #deps: ReceptionTallyDeps;
  readonly #waiting = new Map<string, WebhookReception>();
  readonly #stopping = new AbortController();
  #writing: Promise<void> | undefined;

  constructor(deps: ReceptionTallyDeps) {
    this.#deps = deps;
  }

  count(destination: WebhookKind, outcome: string): void {
    const at = new Date(this.#deps.clock.now());
    const key = `${destination} ${outcome}`;
    const before = this.#waiting.get(key);
    if (before === undefined && this.#waiting.size >= OUTCOMES_MAX) return;
    this.#waiting.set(key, {
      destination,
      outcome,
      count: (before?.count ?? 0) + 1,
      firstAt: before?.firstAt ?? at,
      lastAt: at,
    });
    this.#writing ??= this.#writeLater();
  }

  /** Writes what waits, and waits no longer for more. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#writing;
    await this.#write();
  }

  /** The first of a quiet time is written at once, what follows it together. */
  async #writeLater(): Promise<void> {
    await Promise.resolve();
    while (this.#waiting.size > 0) {
      await this.#write();
      await this.#deps.clock.sleep(WRITE_EVERY_MS, this.#stopping.signal);
      if (this.#stopping.signal.aborted) break;
    }
    this.#writing = undefined;
  }

  async #write(): Promise<void> {
    const receptions = [...this.#waiting.values()];
    this.#waiting.clear();
    try {
      await this.#deps.receptions.add(receptions);
    } catch (err) {
      // The log and the metrics have them too; a delivery is not refused because its count cannot be written.
      this.#deps.log.warn({ err, lost: receptions.length }, 'could not write down what became of webhooks');
    }
  }
}
