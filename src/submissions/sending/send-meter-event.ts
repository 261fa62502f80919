import { boundary } from '../../platform/boundary.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Destination } from './destination.ts';
import type { MeterEventCall } from './meter-events-stripe.ts';
import { firstLookAtMs } from '../resolving/mending.ts';
import type { EntryMove, OutboxEntry } from '../outbox-entry.ts';
import { changeFor, isAnswerStored, retryDelayMs, type SendOutcome, type SubmissionChange } from '../submission.ts';
import { idempotencyKeyFor } from '../../stripe/idempotency-key.ts';

export interface SendMeterEventDeps {
  readonly entries: { move(move: EntryMove): Promise<OutboxEntry | undefined> };
  send(call: MeterEventCall): Promise<SendOutcome>;
  random(): number;
  readonly clock: Clock;
}

/**
 * Makes one attempt: records it, calls Stripe, records the outcome, each record a compare-and-set. A stop at any point
 * leaves a submission that is tried again under the same identifier.
 * @returns undefined when another was quicker to make it.
 */
export async function sendMeterEvent(
  deps: SendMeterEventDeps,
  entry: OutboxEntry,
  destination: Destination,
): Promise<SendOutcome | undefined> {
  const idempotencyKey = idempotencyKeyFor(entry.identifier, entry.storedAnswers);
  const attempt = { destination, idempotencyKey };
  const claimed = await deps.entries.move({ entry, change: 'attempt', atMs: deps.clock.now(), attempt });
  if (claimed === undefined) return undefined;
  await boundary('submit.attempt-recorded');
  const { stripeCustomerId, meter } = destination;
  const outcome = await deps.send({
    identifier: entry.identifier,
    idempotencyKey,
    eventName: meter.eventName,
    stripeCustomerId,
    value: entry.value,
    timestampMs: entry.timestampMs,
    customerKey: meter.customerKey,
    valueKey: meter.valueKey,
  });
  await boundary('submit.answered');
  await settle(deps, claimed, outcome);
  await boundary('submit.settled');
  return outcome;
}

async function settle(deps: SendMeterEventDeps, entry: OutboxEntry, outcome: SendOutcome): Promise<void> {
  const atMs = deps.clock.now();
  const change = changeFor(outcome, entry);
  const dueAtMs = nextLookMs(entry, { outcome, change, atMs, random: deps.random() });
  await deps.entries.move({
    entry,
    change,
    atMs,
    isAnswerStored: isAnswerStored(outcome),
    ...('reason' in outcome && { reason: outcome.reason }),
    ...('message' in outcome && { message: outcome.message }),
    ...(dueAtMs !== undefined && { dueAtMs }),
  });
}

/** When the next attempt may be made or, rejected or blocked, the cause is looked at again. */
function nextLookMs(
  entry: OutboxEntry,
  result: { outcome: SendOutcome; change: SubmissionChange; atMs: number; random: number },
): number | undefined {
  const { outcome, change, atMs } = result;
  if (change === 'accept' || change === 'find-duplicate') return undefined;
  if (change === 'reject' && outcome.kind === 'rejected') {
    return firstLookAtMs({ identifier: entry.identifier, reason: outcome.reason, rejectedAtMs: atMs });
  }
  const tries = outcome.kind === 'declined' ? entry.declines + 1 : entry.attempts;
  return atMs + retryDelayMs(outcome, tries, result.random);
}
