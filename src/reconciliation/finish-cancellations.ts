import { boundary } from '../platform/boundary.ts';
import { cancellationKey } from '../submissions/resolving/cancellation.ts';
import { CANCEL_SPAN_MS_MAX } from './heal-plan.ts';
import type { LedgerEntry } from '../submissions/ledger-entry.ts';
import type { CorrectionDeps, ReplacedSubmission } from './pair.ts';

/** Longer than a call can take: before, somebody may still be waiting for its answer. */
const CALL_MS_MAX = 60_000;

/** Makes calls again whose answer nobody knows, and gives up those that Stripe would no longer take. */
export async function finishCancellations(deps: CorrectionDeps, entries: readonly LedgerEntry[]): Promise<void> {
  for (const { identifier, cancellation } of entries) {
    if (cancellation?.state !== 'calling') continue;
    const nowMs = deps.clock.now();
    if (nowMs - cancellation.atMs < CALL_MS_MAX) continue;
    const found = await deps.corrections.findReplaced(identifier);
    if (found === undefined || found.cancelAttempts !== cancellation.attempts) continue;
    if (isCancellable(found, nowMs)) await cancelSubmission(deps, found);
    else await giveUp(deps, found);
  }
}

/** Whether Stripe still takes a cancellation. */
export function isCancellable(submission: ReplacedSubmission, nowMs: number): boolean {
  return submission.eventName !== undefined && nowMs - submission.lastAttemptAtMs < CANCEL_SPAN_MS_MAX;
}

/**
 * Takes a submission out of Stripe's total. The call is recorded before it is made; a lost answer leaves it `calling`,
 * and it is made again: cancelling twice has no further effect.
 * @returns whether this call was decided here.
 */
export async function cancelSubmission(deps: CorrectionDeps, submission: ReplacedSubmission): Promise<boolean> {
  const { identifier, eventName = '', cancelAttempts } = submission;
  const attempts = cancelAttempts + 1;
  const at = new Date(deps.clock.now());
  if (!(await deps.corrections.recordCancellation(identifier, cancelAttempts, at))) return false;
  await boundary('correct.cancellation-recorded');
  const idempotencyKey = cancellationKey(identifier, attempts);
  const outcome = await deps.cancel({ identifier, eventName, idempotencyKey });
  await boundary('correct.cancellation-answered');
  if (outcome.kind === 'unanswered') return true;
  const reason = outcome.kind === 'refused' ? { reason: outcome.reason } : {};
  await deps.corrections.settleCancellation(identifier, attempts, { state: outcome.kind, ...reason });
  await boundary('correct.cancellation-settled');
  return true;
}

async function giveUp(deps: CorrectionDeps, { identifier, cancelAttempts }: ReplacedSubmission): Promise<void> {
  const outcome = { state: 'refused', reason: 'too_late' } as const;
  await deps.corrections.settleCancellation(identifier, cancelAttempts, outcome);
}
