import { boundary } from '../../platform/boundary.ts';
import type { Clock } from '../../platform/clock.ts';
import type { EntryMove, OutboxEntry } from '../outbox-entry.ts';
import { ATTEMPT_SPAN_MS_MAX, type SubmissionState } from '../submission.ts';
import { DaemonError } from '../../platform/errors.ts';

export interface DecideSubmissionDeps {
  readonly entries: {
    find(identifier: string): Promise<OutboxEntry | undefined>;
    move(move: EntryMove): Promise<OutboxEntry | undefined>;
  };
  replace(
    identifier: string,
    decided: { reason: string; at: Date; from: readonly SubmissionState[]; actor?: string },
  ): Promise<boolean>;
  readonly clock: Clock;
}

export interface DecideSubmissionInput {
  readonly identifier: string;
  /** Whether Stripe counted it. */
  readonly counted: boolean;
  /** Who decides, and why: both are kept. */
  readonly actor: string;
  readonly reason: string;
  /** Looks whether it may be decided, and decides nothing. */
  readonly dryRun?: boolean;
}

/**
 * Settles a submission in doubt as a person says: it counted, or it did not and goes out under a new identifier. Only
 * when it is no longer tried under the old one.
 * @throws DaemonError `submission_not_found`, `submission_not_decidable`.
 */
export async function decideSubmission(deps: DecideSubmissionDeps, input: DecideSubmissionInput): Promise<void> {
  const { identifier, counted, actor, reason } = input;
  const entry = await findSubmission(deps, identifier);
  const atMs = deps.clock.now();
  const isTried = atMs - (entry.firstAttemptAtMs ?? atMs) < ATTEMPT_SPAN_MS_MAX && entry.reason !== 'undecided';
  if (entry.state !== 'in_doubt' || isTried) throw notDecidable(entry);
  if (input.dryRun === true) return;
  const isDone = counted
    ? (await deps.entries.move({ entry, change: 'confirm', atMs, reason, actor })) !== undefined
    : await deps.replace(identifier, { reason, at: new Date(atMs), from: ['in_doubt'], actor });
  await boundary('decide.submission-settled');
  if (!isDone) throw notDecidable(await findSubmission(deps, identifier));
}

/** @throws DaemonError `submission_not_found` */
export async function findSubmission(
  deps: { entries: { find(identifier: string): Promise<OutboxEntry | undefined> } },
  identifier: string,
): Promise<OutboxEntry> {
  const entry = await deps.entries.find(identifier);
  if (entry !== undefined) return entry;
  throw new DaemonError({
    kind: 'not-found',
    code: 'submission_not_found',
    message: 'No submission has this identifier.',
  });
}

function notDecidable({ state }: OutboxEntry): DaemonError {
  return new DaemonError({
    kind: 'conflict',
    code: 'submission_not_decidable',
    message: `The submission is ${state}: only one in doubt, and no longer tried, can be decided.`,
    context: { state },
  });
}
