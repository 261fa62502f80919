import { boundary } from '../../platform/boundary.ts';
import type { Clock } from '../../platform/clock.ts';
import type { AppendOutcome } from '../../usage/ingest-result.ts';
import { lateIdentifier, type LateNote } from '../late-usage.ts';
import { decideMappedId, isSettling, type MappedIdDecision, type MappedIdRecord } from './mapped-id.ts';
import type { SubmissionState } from '../submission.ts';
import { type EpochHour, type CustomerHour } from '../../customers/calendar/window.ts';
import { DaemonError } from '../../platform/errors.ts';

/** `Stored` is a record as it is stored, `Fact` a stored usage event. */
export interface MappedIdDeps<Stored extends MappedIdRecord, Fact> {
  readonly mappedIds: {
    find(id: string): Promise<Stored | null>;
    save(record: MappedIdRecord, before: Stored | null): Promise<boolean>;
    due(): Promise<Stored[]>;
    finish(id: string, at: Date): Promise<void>;
    blocked(
      id: string,
      bounds: { plannedBy?: Date; limit: number },
    ): Promise<{ readonly _id: string; readonly state: SubmissionState; readonly attempts: number }[]>;
  };
  /** The customer that is mapped to a Stripe customer. */
  mappedTo(stripeCustomerId: string): Promise<string | undefined>;
  /** The hours that hold facts of a customer, in batches. */
  hoursOf(customerId: string): AsyncIterable<CustomerHour[]>;
  /** The events of an hour of a customer, in batches. */
  eventsOf(customerId: string, hour: EpochHour): AsyncIterable<Fact[]>;
  /** Stores events once more, for another customer: one that has the same key and content is a duplicate. */
  appendFor(customerId: string, events: readonly Fact[]): Promise<readonly AppendOutcome[]>;
  /** Keeps events that the customer has with other content under the same key. */
  keepConflicts(customerId: string, events: readonly Fact[]): Promise<void>;
  /** The same for adjustments; returns how many were new. */
  copyAdjustments(from: string, to: string): Promise<number>;
  readonly late: {
    /** Lists a submission as late usage instead, by compare-and-set. */
    replace(
      submission: { identifier: string; state: SubmissionState; attempts: number },
      note: LateNote,
      at: Date,
    ): Promise<boolean>;
    /** Entries of a customer that wait for a decision. */
    waiting(customerId: string): Promise<readonly { readonly _id: string }[]>;
    dismiss(id: string, decided: { actor: string; reason: string; at: Date }): Promise<void>;
  };
  readonly clock: Pick<Clock, 'now'>;
}

export interface DecideMappedIdInput {
  readonly customerId: string;
  readonly decision: MappedIdDecision;
  readonly actor: string;
  readonly reason: string;
  /** Only says what would be decided. */
  readonly dryRun?: boolean;
}

const BATCH = 500;

/**
 * Records what a person decides about usage under a Stripe customer's own id that another customer is mapped to. What
 * follows from it is done by `settleMappedIds`.
 * @returns the record, and how many submissions of the id are blocked.
 * @throws DaemonError `customer_not_mapped_elsewhere`, `mapped_id_counted`, `write_contended`.
 */
export async function decideOnMappedId<Stored extends MappedIdRecord, Fact>(
  deps: MappedIdDeps<Stored, Fact>,
  input: DecideMappedIdInput,
): Promise<{ record: MappedIdRecord; blocked: number }> {
  const { customerId: _id, dryRun = false, ...decided } = input;
  const before = await deps.mappedIds.find(_id);
  const mappedTo = await deps.mappedTo(_id);
  const at = new Date(deps.clock.now());
  const record = decideMappedId(before ?? undefined, { _id, ...decided, at, mappedTo });
  const blocked = (await deps.mappedIds.blocked(_id, { limit: BATCH })).length;
  if (dryRun || record === before) return { record, blocked };
  if (await deps.mappedIds.save(record, before)) return { record, blocked };
  throw new DaemonError({
    kind: 'transient',
    code: 'write_contended',
    message: 'Somebody else decided about this id at the same time. Look at it again.',
    context: { customerId: _id },
  });
}

export interface SettleMappedIdsResult extends Readonly<Record<string, unknown>> {
  readonly ids: number;
  /** Events that count with the mapped customer now, and those that it had already. */
  readonly counted: number;
  readonly duplicates: number;
  /** Events whose key the mapped customer has with other content: kept as rejected events. */
  readonly conflicts: number;
  readonly adjustments: number;
  /** Submissions that are never to be sent, listed as dismissed late usage. */
  readonly setAside: number;
}

/**
 * Does what follows from decisions about ids. To count usage with the mapped customer, its raw facts are stored once more,
 * for that customer: under the same key, so that an event which came under both ids, or which is copied again, is stored
 * once. The facts under the id stay as they are. Then what was planned of the id, and could never be sent, is dismissed in
 * the name of whoever decided. Safe to run at any time, twice at once, and to stop anywhere.
 */
export async function settleMappedIds<Stored extends MappedIdRecord, Fact>(
  deps: MappedIdDeps<Stored, Fact>,
): Promise<SettleMappedIdsResult> {
  const sum = { ids: 0, counted: 0, duplicates: 0, conflicts: 0, adjustments: 0, setAside: 0 };
  for (const record of await deps.mappedIds.due()) {
    sum.ids += 1;
    const isMapped = (await deps.mappedTo(record._id)) === record.customerId;
    const isSettled = !isSettling(record, deps.clock.now());
    if (isMapped) {
      if (record.decision === 'count') {
        const copied = await copyFacts(deps, record);
        sum.counted += copied.accepted;
        sum.duplicates += copied.duplicate;
        sum.conflicts += copied.conflict;
        sum.adjustments += await deps.copyAdjustments(record._id, record.customerId);
      }
      sum.setAside += await setAside(deps, record);
    }
    if (isSettled) await deps.mappedIds.finish(record._id, record.at);
    await boundary('mapped-id.settled');
  }
  return sum;
}

async function copyFacts<Stored extends MappedIdRecord, Fact>(
  deps: MappedIdDeps<Stored, Fact>,
  record: MappedIdRecord,
): Promise<Record<AppendOutcome, number>> {
  const sum = { accepted: 0, duplicate: 0, conflict: 0 };
  for await (const hours of deps.hoursOf(record._id)) {
    for (const { hour } of hours) {
      for await (const events of deps.eventsOf(record._id, hour)) {
        const outcomes = await deps.appendFor(record.customerId, events);
        await boundary('mapped-id.events-copied');
        for (const outcome of outcomes) sum[outcome] += 1;
        const conflicts = events.filter((_event, index) => outcomes[index] === 'conflict');
        if (conflicts.length > 0) await deps.keepConflicts(record.customerId, conflicts);
      }
    }
  }
  return sum;
}

/** What was planned of the id by the decision; of an id that counts, also later. */
async function setAside<Stored extends MappedIdRecord, Fact>(
  deps: MappedIdDeps<Stored, Fact>,
  record: MappedIdRecord,
): Promise<number> {
  const { _id, customerId, decision, actor, at } = record;
  const why = decision === 'count' ? `counted with ${customerId}: ${record.reason}` : record.reason;
  const bounds = { limit: BATCH, ...(decision === 'set_aside' && { plannedBy: at }) };
  let count = 0;
  for (;;) {
    const blocked = await deps.mappedIds.blocked(_id, bounds);
    let moved = 0;
    for (const { _id: identifier, state, attempts } of blocked) {
      const note: LateNote = { reason: 'customer_mapped_elsewhere', policy: 'review' };
      if (await deps.late.replace({ identifier, state, attempts }, note, at)) moved += 1;
      await deps.late.dismiss(lateIdentifier(identifier), { actor, reason: why, at });
      await boundary('mapped-id.submission-dismissed');
    }
    count += moved;
    if (blocked.length < BATCH || moved === 0) break;
  }
  for (const { _id: id } of await deps.late.waiting(_id)) await deps.late.dismiss(id, { actor, reason: why, at });
  return count;
}
