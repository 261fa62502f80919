import type { ReviewFact } from './needs-review.ts';

/** How long each scheduled job may go without success, and other work may wait, before a human is told. */
export interface ReviewLimits {
  readonly jobs: Readonly<Record<string, number>>;
  readonly journalMs: number;
  readonly submissionsMs: number;
  readonly webhooksMs: number;
}

/** Failures in a row from which a job counts as failing: a single one is retried and is no news. */
export const FAILURES_IN_A_ROW = 3;

/** A run as the history has it. */
export interface RunRecord {
  readonly job: string;
  readonly state: string;
  readonly endedAtMs?: number;
  readonly error?: { readonly code: string; readonly message: string };
}

/**
 * Jobs that failed several times in a row and have not succeeded since.
 * @param runs newest first, as far back as is looked.
 */
export function findFailingJobs(runs: readonly RunRecord[]): ReviewFact[] {
  const streaks = new Map<string, { count: number; reason: string; sinceMs?: number; isOver: boolean }>();
  for (const { job, state, endedAtMs, error } of runs) {
    const streak = streaks.get(job) ?? { count: 0, reason: '', isOver: false };
    streaks.set(job, streak);
    if (streak.isOver || (state !== 'failed' && state !== 'succeeded')) continue;
    if (state === 'succeeded') streak.isOver = true;
    else {
      if (streak.count === 0) streak.reason = error === undefined ? 'unknown' : `${error.code}: ${error.message}`;
      streak.count += 1;
      if (endedAtMs !== undefined) streak.sinceMs = endedAtMs;
    }
  }
  return [...streaks].flatMap(([job, { count, reason, sinceMs }]) =>
    count < FAILURES_IN_A_ROW
      ? []
      : [{ kind: 'job_failing' as const, count, reason, examples: [job], ...(sinceMs !== undefined && { sinceMs }) }],
  );
}

/**
 * Scheduled jobs without a recent success.
 * @param beganMs when the installation was made: before that nothing could succeed.
 */
export function findOverdueJobs(input: {
  readonly lastSuccessMs: ReadonlyMap<string, number>;
  readonly beganMs: number;
  readonly nowMs: number;
  readonly limits: Readonly<Record<string, number>>;
}): ReviewFact[] {
  return Object.entries(input.limits).flatMap(([job, limitMs]) => {
    const sinceMs = input.lastSuccessMs.get(job) ?? input.beganMs;
    if (input.nowMs - sinceMs <= limitMs) return [];
    return [{ kind: 'job_overdue' as const, count: 1, sinceMs, examples: [job] }];
  });
}
