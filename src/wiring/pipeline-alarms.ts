import { HOUR_MS } from '../durations.ts';
import type { JobParts } from './job-parts.ts';

/** Older than this, a journal entry is not merely waiting for its turn: usage is not aggregated. */
const JOURNAL_AGE_MS_ALARM = 3 * HOUR_MS;
/** A job that failed this often in a row is not unlucky. */
const FAILURES_IN_A_ROW_ALARM = 3;
/** While something stands, it is told again after this long. */
const REPEAT_MS = HOUR_MS;

/**
 * Wakes a person when the pipeline stands: one error when trouble begins, one every hour while it lasts, and one line
 * when it is over.
 */
export class PipelineAlarms {
  readonly #parts: Pick<JobParts, 'stores' | 'clock' | 'log'>;
  readonly #jobNames: readonly string[];
  /** What is wrong, and when it was told last. */
  readonly #toldAtMs = new Map<string, number>();

  constructor(parts: Pick<JobParts, 'stores' | 'clock' | 'log'>, jobNames: readonly string[]) {
    this.#parts = parts;
    this.#jobNames = jobNames;
  }

  async look(): Promise<void> {
    const { stores, clock } = this.#parts;
    const { entries, oldestOpenedAt, setAside } = await stores.dirtyHours.backlog();
    const ageMs = oldestOpenedAt === undefined ? 0 : clock.now() - oldestOpenedAt.getTime();
    this.#set('usage waits too long to be aggregated', ageMs > JOURNAL_AGE_MS_ALARM, { entries, oldestOpenedAt });
    this.#set('customer-hours cannot be derived', setAside !== undefined, { ...setAside });
    for (const job of this.#jobNames) {
      const failures = await stores.runs.failuresInARow(job);
      this.#set(`${job} keeps failing`, failures >= FAILURES_IN_A_ROW_ALARM, { job, failures });
    }
  }

  #set(phrase: string, isOn: boolean, fields: object): void {
    const { log, clock } = this.#parts;
    const toldAtMs = this.#toldAtMs.get(phrase);
    if (!isOn) {
      if (this.#toldAtMs.delete(phrase)) log.info({ alarm: phrase }, 'alarm is over');
      return;
    }
    if (toldAtMs !== undefined && clock.now() - toldAtMs < REPEAT_MS) return;
    this.#toldAtMs.set(phrase, clock.now());
    log.error({ ...fields, alarm: phrase }, phrase);
  }
}
