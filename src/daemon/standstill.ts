/** Whether work goes on at all: a store that answers a ping does not prove it. */
import { MINUTE_MS } from '../platform/durations.ts';
import type { ReviewFact, ReviewKind } from './needs-review.ts';

/** What says that work stands still, wherever it is: these make a process that takes requests `degraded`. */
export const STANDSTILL_KINDS: ReadonlySet<ReviewKind> = new Set([
  'no_job_taken',
  'no_sweep',
  'runs_not_begun',
  'job_failing',
  'job_overdue',
  'journal_overdue',
  'submissions_overdue',
  'webhooks_overdue',
]);

/** A heartbeat is put into the queue, and what is due is looked for, each minute; a slow machine misses one. */
const BEAT_MS_MAX = 3 * MINUTE_MS;
/** A run that was asked for waits for the run of the same job that is at work. */
const QUEUED_RUN_MS_MAX = 15 * MINUTE_MS;

/** Whether jobs get from the tick to a worker at all. Instants of the machine's clock; what never happened is left out. */
export function findStillBell(input: {
  readonly nowMs: number;
  readonly workedAtMs?: number | undefined;
  readonly sweptAtMs?: number | undefined;
  readonly queuedRuns: { readonly count: number; readonly oldestMs?: number | undefined };
}): ReviewFact[] {
  const { nowMs, workedAtMs, sweptAtMs, queuedRuns } = input;
  const isLate = (sinceMs: number | undefined, limitMs: number): sinceMs is number =>
    sinceMs !== undefined && nowMs - sinceMs > limitMs;
  return [
    ...(isLate(workedAtMs, BEAT_MS_MAX) ? [{ kind: 'no_job_taken' as const, count: 1, sinceMs: workedAtMs }] : []),
    ...(isLate(sweptAtMs, BEAT_MS_MAX) ? [{ kind: 'no_sweep' as const, count: 1, sinceMs: sweptAtMs }] : []),
    ...(isLate(queuedRuns.oldestMs, QUEUED_RUN_MS_MAX)
      ? [{ kind: 'runs_not_begun' as const, count: queuedRuns.count, sinceMs: queuedRuns.oldestMs }]
      : []),
  ];
}
