import { boundary } from '../../platform/boundary.ts';
import type { Clock } from '../../platform/clock.ts';
import { firstLookAtMs } from './mending.ts';
import type { EntryMove, OutboxEntry } from '../outbox-entry.ts';
import { stateAfter } from '../submission.ts';
import { DaemonError } from '../../platform/errors.ts';
import { identifierOfKey } from '../../stripe/idempotency-key.ts';

/** A meter event that Stripe took and then refused. */
export interface RejectedSample {
  /** The meter event's identifier, or the idempotency key of its call. */
  readonly identifier: string;
  readonly code: string;
  readonly message: string;
}

export interface RejectSubmissionsDeps {
  readonly entries: {
    findAll(identifiers: readonly string[]): Promise<OutboxEntry[]>;
    move(move: EntryMove): Promise<OutboxEntry | undefined>;
  };
  readonly clock: Clock;
  readonly log: { warn(fields: object, phrase: string): void };
}

export interface RejectSubmissionsResult {
  readonly rejected: number;
  /** Rejected or replaced before. */
  readonly settled: number;
  /** Not ours: another producer feeds the meter, too. */
  readonly unknown: number;
}

/**
 * Takes note of what Stripe rejected after it had answered 200. Only samples are named; reconciliation finds the rest.
 * May be done any number of times.
 * @throws DaemonError `submission_in_flight`, to be tried again: a submission is being sent at this moment.
 */
export async function rejectSubmissions(
  deps: RejectSubmissionsDeps,
  input: { eventId: string; samples: readonly RejectedSample[] },
): Promise<RejectSubmissionsResult> {
  const samples = new Map(input.samples.map((sample) => [identifierOfKey(sample.identifier), sample]));
  const entries = await deps.entries.findAll([...samples.keys()]);
  const result = { rejected: 0, settled: 0, unknown: samples.size - entries.length };
  const inFlight: string[] = [];
  for (const entry of entries) {
    const sample = samples.get(entry.identifier);
    if (sample === undefined) continue;
    const outcome = await reject(deps, entry, sample);
    if (outcome === 'in-flight') inFlight.push(entry.identifier);
    else result[outcome] += 1;
  }
  const { eventId } = input;
  if (result.unknown > 0) {
    deps.log.warn({ event: eventId, unknown: result.unknown }, 'stripe rejected meter events that are not ours');
  }
  if (inFlight.length === 0) return result;
  throw new DaemonError({
    kind: 'transient',
    code: 'submission_in_flight',
    message: 'A rejected submission is being sent at this moment.',
    context: { event: eventId, submissions: inFlight },
  });
}

async function reject(
  deps: RejectSubmissionsDeps,
  entry: OutboxEntry,
  { code, message }: RejectedSample,
): Promise<'rejected' | 'settled' | 'in-flight'> {
  const { identifier, state, customerId, meter } = entry;
  // While it is being sent, the attempt decides its state: its answer may be from after the rejection.
  if (state === 'sending') return 'in-flight';
  if (stateAfter(state, 'reject') === undefined) return 'settled';
  const atMs = deps.clock.now();
  const dueAtMs = firstLookAtMs({ identifier, reason: code, rejectedAtMs: atMs });
  const move = { entry, change: 'reject', atMs, reason: code, message, ...(dueAtMs !== undefined && { dueAtMs }) };
  const moved = await deps.entries.move(move as EntryMove);
  await boundary('reject.submission-moved');
  if (moved === undefined) return 'in-flight';
  deps.log.warn({ submission: identifier, customerId, meter, reason: code }, 'stripe rejected a meter event later');
  return 'rejected';
}
