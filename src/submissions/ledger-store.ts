import type { Collection, Db, Decimal128, Filter } from 'mongodb';
import { boundary } from '../platform/boundary.ts';
import { isLateIdentifier, LATE_IDENTIFIER } from './late-usage.ts';
import type { LedgerEntry } from './ledger-entry.ts';
import { addQuantities, canonicalQuantity, type Quantity, subtractQuantities } from '../platform/quantity.ts';
import { DELIVERED_STATES, IN_FLIGHT_STATES, replacementIdentifier, type SubmissionState } from './submission.ts';
import { Corrections } from './resolving/corrections-store.ts';
import { OPERATION_MS_MAX } from '../platform/mongo/database.ts';
import { translated } from '../platform/mongo/errors.ts';
import {
  HISTORY_MAX,
  METER_SUBMISSIONS,
  type MeterSubmissionDocument,
  MeterSubmissions,
  plannedNow,
} from './meter-submissions-store.ts';
import type { SubmittedFigures } from './submitted-figures.ts';

/** A customer's meter over a range of timestamps `[fromMs, toMs)`. */
export interface LedgerScope {
  readonly customerId: string;
  readonly meter: string;
  readonly fromMs: number;
  readonly toMs: number;
}

export interface LedgerSums extends SubmittedFigures {
  /** Late usage that is billed with these stamps, whatever became of its submissions but for those replaced. */
  readonly lateSubmitted: Quantity;
  /** Cancellations whose answer is not known. */
  readonly calling: number;
  readonly submissions: number;
}

interface StateSum {
  _id: { state: SubmissionState; subject: string; isLate: boolean };
  value: Decimal128;
  count: number;
  attempts: number;
  cancelAttempts: number;
  calling: number;
  last: Date | null;
}

/** What a ledger entry is made from. */
const ENTRY_FIELDS = {
  state: 1,
  subject: 1,
  value: 1,
  timestamp: 1,
  attempts: 1,
  firstAttemptAt: 1,
  lastAttemptAt: 1,
  cancellation: 1,
  offset: 1,
  replacedBy: 1,
} as const;

const IS_LATE = { $regexMatch: { input: { $ifNull: ['$replacedBy', ''] }, regex: LATE_IDENTIFIER } };

/** Our submissions as a ledger: sums by state, the entries of a range, and the moves that mend it. */
export class Ledger {
  readonly #collection: Collection<MeterSubmissionDocument>;
  readonly #submissions: MeterSubmissions;
  readonly #corrections: Corrections;

  constructor(db: Db) {
    this.#collection = db.collection<MeterSubmissionDocument>(METER_SUBMISSIONS);
    this.#submissions = new MeterSubmissions(db);
    this.#corrections = new Corrections(db);
  }

  /** Every customer that has submissions, in order. */
  async customerIds(): Promise<string[]> {
    const found = this.#collection.aggregate<{ _id: string }>(
      [{ $sort: { customerId: 1, _id: 1 } }, { $group: { _id: '$customerId' } }, { $sort: { _id: 1 } }],
      { maxTimeMS: OPERATION_MS_MAX, allowDiskUse: true },
    );
    return (await translated(found.toArray())).map(({ _id }) => _id);
  }

  /** The meters of which a customer has submissions: read from the index alone. */
  submittedMeters(customerId: string): Promise<string[]> {
    return translated(this.#collection.distinct('meter', { customerId }, { maxTimeMS: OPERATION_MS_MAX }));
  }

  /** Sums over a scope. Heals make up for values that Stripe lost, so they do not count as delivered once more. */
  async sums(scope: LedgerScope): Promise<LedgerSums> {
    const found = this.#collection.aggregate<StateSum>(
      [
        { $match: filterOf(scope) },
        {
          $group: {
            _id: { state: '$state', subject: '$subject', isLate: IS_LATE },
            value: { $sum: '$value' },
            count: { $sum: 1 },
            attempts: { $sum: '$attempts' },
            cancelAttempts: { $sum: '$cancellation.attempts' },
            calling: { $sum: { $cond: [{ $eq: ['$cancellation.state', 'calling'] }, 1, 0] } },
            last: { $max: { $ifNull: ['$cancellation.at', '$lastAttemptAt'] } },
          },
        },
      ],
      { maxTimeMS: OPERATION_MS_MAX },
    );
    return toSums(await translated(found.toArray()));
  }

  /** The submissions of a scope, in no order: to ask for one would tempt the server away from the index on the range. */
  async entries(scope: LedgerScope): Promise<LedgerEntry[]> {
    const found = this.#collection
      .find(filterOf(scope), { maxTimeMS: OPERATION_MS_MAX })
      .project<MeterSubmissionDocument>(ENTRY_FIELDS);
    return (await translated(found.toArray())).map(toLedgerEntry);
  }

  /** Confirms what a matching total was seen to contain. `readAt`: what Stripe took later was not in it. */
  async confirm(scope: LedgerScope, readAt: Date): Promise<void> {
    await translated(
      this.#collection.updateMany(
        { ...filterOf(scope), state: { $in: ['accepted', 'duplicate'] }, acceptedAt: { $lte: readAt } },
        {
          $set: { state: 'confirmed' },
          $push: { history: { $each: [{ at: readAt, change: 'confirm' }], $slice: -HISTORY_MAX } },
        },
      ),
    );
  }

  /** Confirms a submission in doubt that Stripe was seen to have counted; false when it is no longer in doubt. */
  async confirmDoubt(identifier: string, reason: string, at: Date): Promise<boolean> {
    const found = await this.#submissions.find(identifier);
    if (found?.state !== 'in_doubt') return false;
    const { attempts } = found;
    const unset = ['dueAt', 'reason', 'message'] as const;
    const move = { id: identifier, from: 'in_doubt', attempts, change: 'confirm', at, reason, unset } as const;
    return (await this.#submissions.move(move)) !== null;
  }

  /**
   * Replaces a submission that Stripe did not count: first the move (by compare-and-set, naming the successor), then
   * the successor. A stop in between leaves `replacementPending`, which `finishReplacements` mends; so a submission
   * never has two successors, and never none for long.
   * @param decided `from`: nothing is done in another state than these; `actor`: who decided it.
   * @returns whether this call made the move.
   */
  async replace(
    identifier: string,
    decided: { reason: string; at: Date; from?: readonly SubmissionState[]; actor?: string },
  ): Promise<boolean> {
    const { reason, at, from, actor } = decided;
    const original = await this.#submissions.find(identifier);
    if (original === null || original.state === 'replaced') return false;
    if (from?.includes(original.state) === false) return false;
    const replacedBy = replacementIdentifier(identifier);
    const moved = await this.#submissions.move({
      id: identifier,
      from: original.state,
      attempts: original.attempts,
      change: 'replace',
      at,
      reason,
      ...(actor !== undefined && { actor }),
      set: { replacedBy, replacementPending: true },
    });
    if (moved === null) return false;
    await boundary('replace.successor-named');
    await this.#insertReplacement(moved, at);
    return true;
  }

  /** Makes successors and negative deltas that a stopped process named and did not make; returns how many. */
  async finishReplacements(at: Date): Promise<number> {
    const pending = await translated(this.#collection.find({ replacementPending: true }).toArray());
    for (const original of pending) await this.#insertReplacement(original, at);
    return pending.length + (await this.#corrections.finishOffsets(at));
  }

  async #insertReplacement(original: MeterSubmissionDocument, at: Date): Promise<void> {
    await this.#submissions.insertAll([successorOf(original, at)]);
    await translated(this.#collection.updateOne({ _id: original._id }, { $unset: { replacementPending: 1 } }));
  }
}

function filterOf(scope: LedgerScope): Filter<MeterSubmissionDocument> {
  return {
    customerId: scope.customerId,
    meter: scope.meter,
    timestamp: { $gte: new Date(scope.fromMs), $lt: new Date(scope.toMs) },
  };
}

function toSums(found: readonly StateSum[]): LedgerSums {
  const sum = (states: readonly SubmissionState[], isCounted: (subject: string) => boolean): Quantity =>
    addQuantities(
      '0',
      ...found
        .filter(({ _id }) => states.includes(_id.state) && isCounted(_id.subject))
        .map(({ value }) => canonicalQuantity(value.toString())),
    );
  const isUsage = (subject: string): boolean => subject !== 'heal';
  const lateHeals = found.filter(({ _id }) => _id.subject === 'heal' && _id.isLate);
  const tooLate = addQuantities('0', ...lateHeals.map(({ value }) => canonicalQuantity(value.toString())));
  const lastAttemptAtMs = Math.max(...found.map(({ last }) => last?.getTime() ?? 0), 0);
  const present = found.flatMap(({ _id }) => (_id.state === 'replaced' ? [] : [_id.state]));
  const figures = {
    // See `HourLedger.delivered`.
    delivered: subtractQuantities(sum(DELIVERED_STATES, isUsage), tooLate),
    inFlight: sum(IN_FLIGHT_STATES, () => true),
    blocked: sum(['blocked'], isUsage),
    // A rejected heal, too, waits to be sent again or decided.
    rejected: sum(['rejected'], () => true),
  };
  const total = (field: 'count' | 'attempts' | 'cancelAttempts'): number =>
    found.reduce((all, entry) => all + entry[field], 0);
  const counts = [total('count'), total('attempts'), total('cancelAttempts'), lastAttemptAtMs];
  return {
    ...figures,
    lateSubmitted: sum(present, (subject) => subject === 'late'),
    calling: found.reduce((all, { calling }) => all + calling, 0),
    submissions: total('count'),
    fingerprint: [...Object.values(figures), ...counts].join(' '),
    ...(lastAttemptAtMs > 0 && { lastAttemptAtMs }),
  };
}

/** A stored submission as reconciliation looks at it. */
export function toLedgerEntry(document: MeterSubmissionDocument): LedgerEntry {
  const { cancellation, firstAttemptAt, lastAttemptAt } = document;
  return {
    identifier: document._id,
    state: document.state,
    subject: document.subject,
    value: canonicalQuantity(document.value.toString()),
    timestampMs: document.timestamp.getTime(),
    attempts: document.attempts,
    isOffset: document.offset !== undefined,
    isLate: isLateIdentifier(document.replacedBy ?? ''),
    ...(firstAttemptAt && { firstAttemptAtMs: firstAttemptAt.getTime() }),
    ...(lastAttemptAt && { lastAttemptAtMs: lastAttemptAt.getTime() }),
    ...(cancellation && {
      cancellation: {
        state: cancellation.state,
        atMs: cancellation.at.getTime(),
        attempts: cancellation.attempts,
      },
    }),
  };
}

function successorOf(original: MeterSubmissionDocument, at: Date): MeterSubmissionDocument {
  const { customerId, meter, subject, subjectStart, sequence, fromQuantity, toQuantity, value, timestamp } = original;
  const { mode } = original;
  return {
    _id: original.replacedBy ?? replacementIdentifier(original._id),
    customerId,
    meter,
    subject,
    subjectStart,
    sequence,
    fromQuantity,
    toQuantity,
    value,
    timestamp,
    ...(mode !== undefined && { mode }),
    replaces: original._id,
    ...plannedNow(at),
  };
}
