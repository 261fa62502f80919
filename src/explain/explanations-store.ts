import type { Collection, Db } from 'mongodb';
import { showCancellation } from '../submissions/resolving/cancellation.ts';
import type { ExplainedLateUsage, ExplainedSubmission } from './explanation.ts';
import { canonicalQuantity } from '../platform/quantity.ts';
import { OPERATION_MS_MAX } from '../platform/mongo/database.ts';
import { translated } from '../platform/mongo/errors.ts';
import { LATE_USAGE, type LateUsageDocument } from '../submissions/late-usage-store.ts';
import { METER_SUBMISSIONS, type MeterSubmissionDocument } from '../submissions/meter-submissions-store.ts';

/** A customer's meter over a half-open range of instants. */
interface OfMeter {
  readonly customerId: string;
  readonly meter: string;
  readonly fromMs: number;
  readonly toMs: number;
}

/** What became of usage after it was derived, for explaining a figure. Reads only. */
export class Explanations {
  readonly #submissions: Collection<MeterSubmissionDocument>;
  readonly #lateUsage: Collection<LateUsageDocument>;

  constructor(db: Db) {
    this.#submissions = db.collection<MeterSubmissionDocument>(METER_SUBMISSIONS);
    this.#lateUsage = db.collection<LateUsageDocument>(LATE_USAGE);
  }

  /** Submissions about windows and periods that begin in a range, and those that are stamped in it. */
  async submissions(of: OfMeter): Promise<ExplainedSubmission[]> {
    const { customerId, meter } = of;
    const filter = { customerId, meter, $or: [{ subjectStart: rangeOf(of) }, { timestamp: rangeOf(of) }] };
    const found = await translated(this.#submissions.find(filter).maxTimeMS(OPERATION_MS_MAX).toArray());
    return found.map(toExplainedSubmission);
  }

  /**
   * Whose usage, of which meters, was sent to a Stripe meter under a Stripe customer with stamps in a range; where none
   * was, whose was sent last. More than one pair only where a mapping or an event name changed hands.
   */
  async sentTo(of: {
    stripeCustomerId: string;
    stripeMeterId: string;
    fromMs: number;
    toMs: number;
  }): Promise<{ customerId: string; meter: string }[]> {
    const { stripeCustomerId, stripeMeterId } = of;
    const sent = { stripeCustomerId, stripeMeterId };
    const found = await translated(
      this.#submissions
        .aggregate<{ _id: { customerId: string; meter: string } }>(
          [
            { $match: { ...sent, timestamp: rangeOf(of) } },
            { $group: { _id: { customerId: '$customerId', meter: '$meter' } } },
            { $sort: { _id: 1 } },
          ],
          { maxTimeMS: OPERATION_MS_MAX },
        )
        .toArray(),
    );
    if (found.length > 0) return found.map(({ _id }) => _id);
    const last = await translated(
      this.#submissions.findOne(sent, { sort: { timestamp: -1 }, maxTimeMS: OPERATION_MS_MAX }),
    );
    return last === null ? [] : [{ customerId: last.customerId, meter: last.meter }];
  }

  /** Late usage of windows and periods that begin in a range, and what would have been stamped in it. */
  async lateUsage(of: OfMeter): Promise<ExplainedLateUsage[]> {
    const { customerId, meter } = of;
    const filter = { customerId, meter, $or: [{ subjectStart: rangeOf(of) }, { timestamp: rangeOf(of) }] };
    const found = await translated(
      this.#lateUsage.find(filter).sort({ subjectStart: 1, _id: 1 }).maxTimeMS(OPERATION_MS_MAX).toArray(),
    );
    return found.map(({ _id, subject, subjectStart, timestamp, quantity, reason, state }) => ({
      id: _id,
      subject,
      subjectStart: subjectStart.toISOString(),
      timestamp: timestamp.toISOString(),
      quantity: canonicalQuantity(quantity.toString()),
      reason,
      state,
    }));
  }
}

function rangeOf({ fromMs, toMs }: Pick<OfMeter, 'fromMs' | 'toMs'>): { $gte: Date; $lt: Date } {
  return { $gte: new Date(fromMs), $lt: new Date(toMs) };
}

function toExplainedSubmission(found: MeterSubmissionDocument): ExplainedSubmission {
  const { firstAttemptAt, lastAttemptAt, acceptedAt } = found;
  const { reason, message, stripeCustomerId, stripeMeterId, replacedBy, replaces, cancellation, offset } = found;
  return {
    identifier: found._id,
    subject: found.subject,
    subjectStart: found.subjectStart.toISOString(),
    sequence: found.sequence,
    timestamp: found.timestamp.toISOString(),
    mode: found.mode ?? 'delta',
    value: canonicalQuantity(found.value.toString()),
    toQuantity: canonicalQuantity(found.toQuantity.toString()),
    state: found.state,
    attempts: found.attempts,
    ...(reason !== undefined && { reason }),
    ...(message !== undefined && { message }),
    ...(firstAttemptAt && { firstAttemptAt: firstAttemptAt.toISOString() }),
    ...(lastAttemptAt && { lastAttemptAt: lastAttemptAt.toISOString() }),
    ...(acceptedAt && { acceptedAt: acceptedAt.toISOString() }),
    ...(stripeCustomerId !== undefined && { stripeCustomerId }),
    ...(stripeMeterId !== undefined && { stripeMeterId }),
    ...(replacedBy !== undefined && { replacedBy }),
    ...(replaces !== undefined && { replaces }),
    ...(cancellation && { cancellation: showCancellation(found._id, cancellation) }),
    ...(offset && { offsetBy: offset.by }),
  };
}
