import {
  mendRejections,
  type MendRejectionsDeps,
  type MendRejectionsResult,
} from '../submissions/resolving/mend-rejections.ts';
import { resolveDoubts, type ResolveDoubtsDeps, type ResolveDoubtsResult } from './resolve-doubts.ts';

export type ResolveSubmissionsDeps = ResolveDoubtsDeps & MendRejectionsDeps & { prune(now: Date): Promise<void> };

export type ResolveSubmissionsResult = ResolveDoubtsResult & MendRejectionsResult;

/**
 * Settles what sending cannot: submissions in doubt for too long to be tried again, and rejected ones whose cause may be
 * mended. Safe to run at any time, twice at once, and to stop anywhere.
 */
export async function resolveSubmissions(
  deps: ResolveSubmissionsDeps,
  input: { signal?: AbortSignal } = {},
): Promise<ResolveSubmissionsResult> {
  const doubts = await resolveDoubts(deps, input);
  const mended = await mendRejections(deps, input);
  await deps.prune(new Date(deps.clock.now()));
  return { ...doubts, ...mended };
}
