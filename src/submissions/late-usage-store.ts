import type { Collection, Db, Decimal128, Filter } from 'mongodb';
import {
  type LateNote,
  type LateReason,
  type LateUsageDecision,
  type LateUsageState,
  stateAfterDecision,
} from './late-usage.ts';
import { canonicalQuantity, type Quantity } from '../platform/quantity.ts';
import type { SubmissionSubject } from './submission.ts';
import { inBatches } from '../platform/mongo/cursor.ts';
import { translated } from '../platform/mongo/errors.ts';
import { insertAbsent } from '../platform/mongo/insert-absent.ts';
import type { SubmissionMode } from '../meters/stripe-meter.ts';

/** Usage that Stripe would not bill: listed until someone, or the meter's policy, decides what becomes of it. */
export interface LateUsageDocument extends LateNote {
  /** Also the identifier of the submission that it may become. */
  _id: string;
  customerId: string;
  meter: string;
  subject: SubmissionSubject;
  subjectStart: Date;
  sequence: number;
  fromQuantity: Decimal128;
  toQuantity: Decimal128;
  /** What would not be billed: `toQuantity` − `fromQuantity`, negative after a correction downwards. */
  quantity: Decimal128;
  /** The stamp that the usage would have had: the start of the window that it was used in. */
  timestamp: Date;
  mode?: SubmissionMode;
  /** The submission whose value this is. */
  identifier: string;
  state: LateUsageState;
  decision?: LateUsageDecisionRecord;
  /** When the policy `next_period` is to be applied, or tried again. */
  dueAt?: Date;
  /** Decided, and what follows from it may not have been done yet. */
  decisionPending?: true;
  createdAt: Date;
}

/** Who decided, when and why; kept for ever. */
export interface LateUsageDecisionRecord {
  policy: LateUsageDecision;
  actor: string;
  reason?: string;
  at: Date;
  /** The stamp of the submission that bills it, frozen with the decision. */
  timestamp?: Date;
}

export const LATE_USAGE = 'late_usage';
/**
 * Usage that Stripe did take is in the ledger already, and a late submission is not usage of its own. A heal that came
 * too late counts: the drift that it was to close is listed with it, and nowhere else.
 */
const UNDELIVERED_USAGE: Filter<LateUsageDocument> = {
  reason: { $ne: 'accepted_after_finalization' },
  subject: { $ne: 'late' },
};

export class LateUsage {
  readonly #collection: Collection<LateUsageDocument>;

  constructor(db: Db) {
    this.#collection = db.collection<LateUsageDocument>(LATE_USAGE);
  }

  find(id: string): Promise<LateUsageDocument | null> {
    return translated(this.#collection.findOne({ _id: id }));
  }

  /** For the API, in order of `_id`. */
  list(query: {
    state?: LateUsageState;
    customerId?: string;
    meter?: string;
    after?: string;
    limit: number;
  }): Promise<LateUsageDocument[]> {
    const filter: Filter<LateUsageDocument> = {
      ...(query.state !== undefined && { state: query.state }),
      ...(query.customerId !== undefined && { customerId: query.customerId }),
      ...(query.meter !== undefined && { meter: query.meter }),
      ...(query.after !== undefined && { _id: { $gt: query.after } }),
    };
    return translated(this.#collection.find(filter).sort({ _id: 1 }).limit(query.limit).toArray());
  }

  /**
   * The usage of a customer and meter, stamped in `[fromMs, toMs)`, that is late instead of delivered, whatever was
   * decided about it. Aggregates are what was delivered plus this.
   */
  async sumOf(scope: { customerId: string; meter: string; fromMs: number; toMs: number }): Promise<Quantity> {
    const { customerId, meter, fromMs, toMs } = scope;
    const timestamp = { $gte: new Date(fromMs), $lt: new Date(toMs) };
    const found = this.#collection.aggregate<{ quantity: Decimal128 | number }>([
      { $match: { customerId, meter, timestamp, ...UNDELIVERED_USAGE } },
      { $group: { _id: null, quantity: { $sum: '$quantity' } } },
    ]);
    const [sum] = await translated(found.toArray());
    return canonicalQuantity((sum?.quantity ?? 0).toString());
  }

  /** How much waits for a decision, by reason. */
  async waiting(): Promise<{ reason: LateReason; count: number; oldestAt: Date }[]> {
    const found = this.#collection.aggregate<{ _id: LateReason; count: number; oldestAt: Date }>([
      { $match: { state: 'waiting' } },
      { $group: { _id: '$reason', count: { $sum: 1 }, oldestAt: { $min: '$createdAt' } } },
      { $sort: { _id: 1 } },
    ]);
    return (await translated(found.toArray())).map(({ _id, ...rest }) => ({ reason: _id, ...rest }));
  }

  /**
   * Inserts entries that do not exist yet; returns how many it made. One that exists because Stripe had taken the usage
   * after its invoice was final now stands for usage that Stripe did not take after all: it stays as decided, once.
   */
  async insertAll(documents: readonly LateUsageDocument[]): Promise<number> {
    const taken = await insertAbsent(this.#collection, documents);
    for (const { _id, reason } of taken.flatMap((index) => documents[index] ?? [])) {
      if (reason === 'accepted_after_finalization') continue;
      await translated(
        this.#collection.updateOne({ _id, reason: 'accepted_after_finalization' }, { $set: { reason } }),
      );
    }
    return documents.length - taken.length;
  }

  /** Makes a decision by compare-and-set; returns the entry as it is then, or null when it no longer waits. */
  decide(id: string, decision: LateUsageDecisionRecord): Promise<LateUsageDocument | null> {
    return translated(
      this.#collection.findOneAndUpdate(
        { _id: id, state: 'waiting' },
        { $set: { state: stateAfterDecision(decision.policy), decision, decisionPending: true }, $unset: { dueAt: 1 } },
        { returnDocument: 'after' },
      ),
    );
  }

  /** Says that what follows from a decision has been done. */
  async finishDecision(id: string): Promise<void> {
    await translated(this.#collection.updateOne({ _id: id }, { $unset: { decisionPending: 1 } }));
  }

  /** Decided entries, of which not everything that follows may have been done. */
  pendingDecisions(limit: number): Promise<LateUsageDocument[]> {
    return translated(this.#collection.find({ decisionPending: true }).limit(limit).toArray());
  }

  /** All entries of a unit. */
  ofUnit(unit: string): Promise<LateUsageDocument[]> {
    return translated(this.#collection.find({ unit }).sort({ _id: 1 }).toArray());
  }

  /** Waiting entries that belong to a unit, in batches. */
  waitingInUnits(batchSize: number): AsyncGenerator<LateUsageDocument[]> {
    return inBatches(this.#collection.find({ unit: { $exists: true }, state: 'waiting' }), batchSize);
  }

  /** Entries to which the policy `next_period` is to be applied by an instant, in batches. */
  dueByPolicy(at: Date, batchSize: number): AsyncGenerator<LateUsageDocument[]> {
    return inBatches(this.#collection.find({ dueAt: { $lte: at } }).sort({ dueAt: 1 }), batchSize);
  }

  /** Looks again later at an entry whose policy cannot be applied now. */
  async postpone(id: string, dueAt: Date): Promise<void> {
    await translated(this.#collection.updateOne({ _id: id, state: 'waiting' }, { $set: { dueAt } }));
  }

  /** Whether something is due at an instant or was left half done. */
  async hasWork(at: Date): Promise<boolean> {
    const projection = { _id: 1 };
    const due = await translated(this.#collection.findOne({ dueAt: { $lte: at } }, { projection }));
    return (
      due !== null || (await translated(this.#collection.findOne({ decisionPending: true }, { projection }))) !== null
    );
  }
}
