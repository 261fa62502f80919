import type { Clock } from './clock.ts';
import type { Logger } from './logger.ts';

/** A trouble that was not reported for this long is over, when nobody says so. */
const QUIET_MS = 30_000;

interface Trouble {
  readonly sinceMs: number;
  readonly fields: object;
  /** What it is like; another kind of the same trouble is told again. */
  readonly kind: string;
  times: number;
  timer: NodeJS.Timeout | undefined;
}

export interface TroubleReport {
  /** A fixed phrase: the log line's, and what tells one trouble from another. */
  readonly phrase: string;
  /** What it is like, such as an error's code: a change is a line of its own. */
  readonly kind?: string;
  readonly fields?: object;
}

/**
 * One line when a trouble begins and one when it is over, however often it is met in between: hundreds of equal warnings
 * say no more than the first, and hide all others.
 */
export class TroubleLog {
  readonly #log: Pick<Logger, 'info' | 'warn'>;
  readonly #clock: Clock;
  readonly #troubles = new Map<string, Trouble>();

  constructor(log: Pick<Logger, 'info' | 'warn'>, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  /** Tells of a trouble unless it is known already. It is over when `clear` says so, or after 30 s without a report. */
  report({ phrase, kind = '', fields = {} }: TroubleReport): void {
    const known = this.#troubles.get(phrase);
    if (known?.kind === kind) {
      known.times += 1;
      known.timer?.refresh();
      return;
    }
    clearTimeout(known?.timer);
    this.#log.warn(fields, phrase);
    const timer = setTimeout(() => this.clear(phrase), QUIET_MS).unref();
    this.#troubles.set(phrase, { sinceMs: this.#clock.now(), fields, kind, times: 1, timer });
  }

  /** The same for a trouble that lasts until `clear`, however long nothing is heard of it. */
  begin(report: TroubleReport): void {
    this.report(report);
    const trouble = this.#troubles.get(report.phrase);
    clearTimeout(trouble?.timer);
    if (trouble !== undefined) trouble.timer = undefined;
  }

  /** Tells that a trouble is over; says nothing when there was none. */
  clear(phrase: string): void {
    const trouble = this.#troubles.get(phrase);
    if (trouble === undefined) return;
    clearTimeout(trouble.timer);
    this.#troubles.delete(phrase);
    const { times, sinceMs } = trouble;
    this.#log.info({ times, durationMs: this.#clock.now() - sinceMs, trouble: phrase }, 'trouble is over');
  }
}
