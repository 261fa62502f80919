import { FAILURES_IN_A_ROW } from './late-jobs.ts';
import { HOUR_MS } from '../platform/durations.ts';
import type { JobParts } from './job-parts.ts';
import { limitsOf } from './review-of-jobs.ts';

type AlarmParts = Pick<JobParts, 'stores' | 'config' | 'clock' | 'log'>;

/** While something stands, it is told again after this long. */
const REPEAT_MS = HOUR_MS;

/**
 * Wakes a person when the pipeline stands: one error when trouble begins, one every hour while it lasts, and one line
 * when it is over. What is too long and too often is what `tallystick status` says it is.
 */
export class PipelineAlarms {
  readonly #parts: AlarmParts;
  readonly #jobNames: readonly string[];
  /** What is wrong, and when it was told last. */
  readonly #toldAtMs = new Map<string, number>();

  constructor(parts: AlarmParts, jobNames: readonly string[]) {
    this.#parts = parts;
    this.#jobNames = jobNames;
  }

  async look(): Promise<void> {
    const { stores, config, clock } = this.#parts;
    const { entries, oldestOpenedAt, setAside } = await stores.dirtyHours.backlog();
    const ageMs = oldestOpenedAt === undefined ? 0 : clock.now() - oldestOpenedAt.getTime();
    this.#set('usage waits too long to be aggregated', ageMs > limitsOf(config).journalMs, { entries, oldestOpenedAt });
    this.#set('customer-hours cannot be derived', setAside !== undefined, { ...setAside });
    for (const job of this.#jobNames) {
      const failures = await stores.runs.failuresInARow(job);
      this.#set(`${job} keeps failing`, failures >= FAILURES_IN_A_ROW, { job, failures });
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
