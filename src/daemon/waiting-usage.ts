import { SPREAD_MS_MAX } from '../submissions/sending/pacing.ts';
import { ATTEMPT_SPAN_MS_MAX } from '../submissions/submission.ts';
import type { JobParts } from './job-parts.ts';

/** Why nothing was sent, and when something will be. What does not wait is left out. */
export interface WaitingUsage {
  readonly journalEntries?: number;
  /** The windows that end or settle next. */
  readonly windows?: { readonly count: number; readonly endsAt: string; readonly goesOutBy: string };
  readonly submissionsDueAt?: string;
  readonly blocked?: number;
}

/** Looks for what is not due yet, and for what keeps it. */
export async function readWaiting({ stores, config, clock }: JobParts): Promise<WaitingUsage> {
  const nowMs = clock.now();
  const { windowSettleMs } = config;
  const [{ entries }, windows, dueAt, blocked] = await Promise.all([
    stores.dirtyHours.backlog(),
    stores.usageAggregates.nextPlanDue(new Date(nowMs - windowSettleMs)),
    stores.submissions.nextDueAt(new Date(nowMs - ATTEMPT_SPAN_MS_MAX)),
    stores.submissions.countInStates(['blocked']),
  ]);
  const spreadMs = windowSettleMs === 0 ? 0 : SPREAD_MS_MAX;
  return {
    ...(entries > 0 && { journalEntries: entries }),
    ...(windows !== undefined && {
      windows: {
        count: windows.count,
        endsAt: windows.windowEnd.toISOString(),
        goesOutBy: new Date(windows.windowEnd.getTime() + windowSettleMs + spreadMs).toISOString(),
      },
    }),
    ...(dueAt !== undefined && { submissionsDueAt: dueAt.toISOString() }),
    ...(blocked > 0 && { blocked }),
  };
}
