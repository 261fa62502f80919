import { type Collection, type Db, Decimal128, type Filter } from 'mongodb';
import { boundary } from '../platform/boundary.ts';
import type { FinalPeriod } from '../mirror/invoice.ts';
import { lateIdentifier, type LateNote } from './late-usage.ts';
import { subtractQuantities } from '../platform/quantity.ts';
import { DELIVERED_STATES, type SubmissionState } from './submission.ts';
import { translated } from '../platform/mongo/errors.ts';
import { LateUsage, type LateUsageDocument } from './late-usage-store.ts';
import {
  METER_SUBMISSIONS,
  type MeterSubmissionDocument,
  MeterSubmissions,
  plannedNow,
} from './meter-submissions-store.ts';
import { bySlices } from '../platform/mongo/slices.ts';

/** Successors that a stopped process left to be made, taken at once. */
const PENDING_MAX = 1_000;

/**
 * Where submissions become late usage and late usage becomes submissions.
 *
 * A submission's `_id` is the one arbiter of what becomes of its value: it is sent, or it is replaced by the late-usage
 * entry that it names. The move names the entry first; a stop before the entry exists leaves `latePending`, which
 * `finish` mends.
 */
export class LateSubmissions {
  readonly #collection: Collection<MeterSubmissionDocument>;
  readonly #submissions: MeterSubmissions;
  readonly #lateUsage: LateUsage;

  constructor(db: Db) {
    this.#collection = db.collection<MeterSubmissionDocument>(METER_SUBMISSIONS);
    this.#submissions = new MeterSubmissions(db);
    this.#lateUsage = new LateUsage(db);
  }

  /**
   * Turns a submission that was not sent into late usage, by compare-and-set on its state and attempts.
   * @returns whether this call made the move.
   */
  async replace(
    submission: { readonly identifier: string; readonly state: SubmissionState; readonly attempts: number },
    note: LateNote,
    at: Date,
  ): Promise<boolean> {
    const { identifier, state, attempts } = submission;
    const moved = await this.#submissions.move({
      id: identifier,
      from: state,
      attempts,
      change: 'replace',
      at,
      reason: note.reason,
      set: { reason: note.reason, replacedBy: lateIdentifier(identifier), latePending: note },
      unset: ['dueAt', 'message'],
    });
    if (moved === null) return false;
    await boundary('late.submission-replaced');
    await this.makeEntries([moved], at);
    return true;
  }

  /** Makes the entries of submissions that became late usage; those that exist are left as they are. */
  async makeEntries(submissions: readonly MeterSubmissionDocument[], at: Date): Promise<number> {
    if (submissions.length === 0) return 0;
    const entries = submissions.flatMap((submission) =>
      submission.latePending === undefined ? [] : [toEntry(submission, submission.latePending, at)],
    );
    const made = await this.#lateUsage.insertAll(entries);
    await boundary('late.entries-made');
    const ids = submissions.map(({ _id }) => _id);
    await bySlices(ids, (slice) =>
      translated(this.#collection.updateMany({ _id: { $in: slice } }, { $unset: { latePending: 1 } })),
    );
    return made;
  }

  /** Makes entries that a stopped process named and did not make; returns how many it looked at. */
  async finish(at: Date): Promise<number> {
    const pending = await translated(
      this.#collection
        .find({ latePending: { $exists: true } })
        .limit(PENDING_MAX)
        .toArray(),
    );
    await this.makeEntries(pending, at);
    return pending.length;
  }

  /** Lists a delivered submission that no invoice will bill; returns whether it was not listed yet. */
  async noteUnbilled(identifier: string, note: LateNote, at: Date): Promise<boolean> {
    const submission = await translated(this.#submissions.find(identifier));
    return submission !== null && (await this.#lateUsage.insertAll([toEntry(submission, note, at)])) === 1;
  }

  /** Makes the submission that bills a decided entry with the open period; one that exists is left as it is. */
  async submit(id: string, at: Date): Promise<void> {
    const entry = await this.#lateUsage.find(id);
    if (entry?.decision?.timestamp === undefined) return;
    const { customerId, meter, subjectStart, sequence, fromQuantity, toQuantity, quantity } = entry;
    await this.#submissions.insertAll([
      {
        _id: id,
        customerId,
        meter,
        subject: 'late',
        subjectStart,
        sequence,
        fromQuantity,
        toQuantity,
        value: quantity,
        timestamp: entry.decision.timestamp,
        ...plannedNow(at),
      },
    ]);
  }

  /**
   * What was stamped in a final period and is not known to have been counted before it was final: delivered with a last
   * attempt or answer after it, or with no answer yet.
   */
  afterFinal(period: FinalPeriod & { readonly stripeCustomerId: string }): Promise<MeterSubmissionDocument[]> {
    const { stripeCustomerId, stripeMeterId, fromMs, toMs } = period;
    const after = { $gt: new Date(period.finalizedAtMs) };
    const filter: Filter<MeterSubmissionDocument> = {
      stripeCustomerId,
      stripeMeterId,
      timestamp: { $gte: new Date(fromMs), $lt: new Date(toMs) },
      $or: [
        { state: { $in: [...DELIVERED_STATES] }, acceptedAt: after },
        { state: { $in: [...DELIVERED_STATES] }, acceptedAt: { $exists: false }, lastAttemptAt: after },
        { state: { $in: ['sending', 'in_doubt'] } },
      ],
    };
    return translated(this.#collection.find(filter).toArray());
  }

  /** Whether an entry was named and not made. */
  async hasPending(): Promise<boolean> {
    const found = this.#collection.findOne({ latePending: { $exists: true } }, { projection: { _id: 1 } });
    return (await translated(found)) !== null;
  }
}

function toEntry(submission: MeterSubmissionDocument, note: LateNote, at: Date): LateUsageDocument {
  const { _id, customerId, meter, subject, subjectStart, sequence, fromQuantity, toQuantity } = submission;
  // Not the submission's value: in the mode `period_total` that is the whole running figure.
  const quantity = subtractQuantities(toQuantity.toString(), fromQuantity.toString());
  return {
    _id: lateIdentifier(_id),
    customerId,
    meter,
    subject,
    subjectStart,
    sequence,
    fromQuantity,
    toQuantity,
    quantity: Decimal128.fromString(quantity),
    timestamp: submission.timestamp,
    ...(submission.mode !== undefined && { mode: submission.mode }),
    identifier: _id,
    ...note,
    state: 'waiting',
    ...(note.policy === 'next_period' && submission.mode !== 'period_total' && { dueAt: at }),
    createdAt: at,
  };
}
