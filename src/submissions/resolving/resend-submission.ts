import { boundary } from '../../platform/boundary.ts';
import type { Clock } from '../../platform/clock.ts';
import type { OutboxEntry } from '../outbox-entry.ts';
import type { SubmissionState } from '../submission.ts';
import { DaemonError } from '../../platform/errors.ts';
import { findSubmission } from './decide-submission.ts';

export interface ResendSubmissionDeps {
  readonly entries: { find(identifier: string): Promise<OutboxEntry | undefined> };
  replace(
    identifier: string,
    decided: { reason: string; at: Date; from: readonly SubmissionState[]; actor?: string },
  ): Promise<boolean>;
  readonly clock: Clock;
}

export interface ResendSubmissionInput {
  readonly identifier: string;
  /** Who wants it, and why: both are kept. */
  readonly actor: string;
  readonly reason: string;
  /** Looks whether it may be sent again, and sends nothing. */
  readonly dryRun?: boolean;
}

/**
 * Sends the usage of a rejected submission again, under a new identifier.
 * @throws DaemonError `submission_not_found`, `submission_not_rejected`.
 */
export async function resendSubmission(deps: ResendSubmissionDeps, input: ResendSubmissionInput): Promise<void> {
  const { identifier, actor, reason } = input;
  const found = await findSubmission(deps, identifier);
  if (input.dryRun === true && found.state === 'rejected') return;
  const at = new Date(deps.clock.now());
  const isDone = input.dryRun !== true && (await deps.replace(identifier, { reason, at, from: ['rejected'], actor }));
  await boundary('resend.submission-replaced');
  if (isDone) return;
  const { state } = await findSubmission(deps, identifier);
  throw new DaemonError({
    kind: 'conflict',
    code: 'submission_not_rejected',
    message: `The submission is ${state}: only a rejected one can be sent again.`,
    context: { state },
  });
}
