import type { Collection, Db, Decimal128, Document, Filter } from 'mongodb';
import {
  type BlockedReason,
  statesBefore,
  type SubmissionChange,
  type SubmissionState,
  type SubmissionSubject,
  stateAfter,
} from '../domain/submission.ts';
import { defect } from '../errors.ts';
import { inBatches } from './cursor.ts';
import { hasOnlyDuplicateKeys, toStorageError } from './errors.ts';

/** The outbox: one document for each meter event. Value and timestamp are frozen when it is planned. */
export interface MeterSubmissionDocument {
  /** The Stripe `identifier`. */
  _id: string;
  customerId: string;
  meter: string;
  eventName?: string;
  subject: SubmissionSubject;
  /** Start of the window or period that it reports. */
  subjectStart: Date;
  sequence: number;
  fromQuantity: Decimal128;
  toQuantity: Decimal128;
  value: Decimal128;
  timestamp: Date;
  state: SubmissionState;
  reason?: string;
  message?: string;
  /** The destination, frozen at the first attempt. */
  stripeCustomerId?: string;
  stripeMeterId?: string;
  /** When it may be tried next. Present in the states that wait for an attempt. */
  dueAt?: Date;
  attempts: number;
  /** Attempts with an answer that Stripe keeps under their key (5xx, 400): they decide the next key. */
  storedAnswers: number;
  /** Attempts refused without effect (429, 409). */
  declines: number;
  /** An attempt had no clear answer. */
  doubtful?: true;
  idempotencyKey?: string;
  firstAttemptAt?: Date;
  lastAttemptAt?: Date;
  acceptedAt?: Date;
  replacedBy?: string;
  replaces?: string;
  /** The successor named in `replacedBy` may not have been made yet. */
  replacementPending?: true;
  /** Names the last change that was made in a batch, so that its maker can tell it from another's. */
  lastMove?: string;
  history: { at: Date; change: SubmissionChange; reason?: string }[];
  plannedAt: Date;
}

export const METER_SUBMISSIONS = 'meter_submissions';
/** Entries of `history` that are kept. */
const HISTORY_MAX = 20;

/** What a change records besides the state. */
export interface ChangeFields {
  readonly set?: Partial<MeterSubmissionDocument>;
  readonly unset?: readonly (keyof MeterSubmissionDocument)[];
  readonly increment?: { attempts?: number; storedAnswers?: number; declines?: number };
  readonly reason?: string;
}

/** A change of one submission: applied only if it is still in the state and attempt that the decision was made on. */
export interface SubmissionMove extends ChangeFields {
  readonly id: string;
  readonly from: SubmissionState;
  readonly attempts: number;
  readonly change: SubmissionChange;
  readonly at: Date;
}

export class MeterSubmissions {
  readonly #collection: Collection<MeterSubmissionDocument>;

  constructor(db: Db) {
    this.#collection = db.collection<MeterSubmissionDocument>(METER_SUBMISSIONS);
  }

  /** Inserts those that do not exist yet; returns the ids of those that did. */
  async insertAll(documents: readonly MeterSubmissionDocument[]): Promise<Set<string>> {
    if (documents.length === 0) return new Set();
    try {
      await this.#collection.insertMany(documents, { ordered: false });
      return new Set();
    } catch (error) {
      if (!hasOnlyDuplicateKeys(error)) throw toStorageError(error);
      return new Set(error.result.getWriteErrors().map((writeError) => documents[writeError.index]?._id ?? ''));
    }
  }

  find(id: string): Promise<MeterSubmissionDocument | null> {
    return this.#collection.findOne({ _id: id });
  }

  findAll(ids: readonly string[]): Promise<MeterSubmissionDocument[]> {
    return this.#collection.find({ _id: { $in: [...ids] } }).toArray();
  }

  /** Those that may be tried now, longest due first. `firstAttemptMin`: those first tried before it are past trying. */
  listDue(query: { now: Date; firstAttemptMin: Date; limit: number }): Promise<MeterSubmissionDocument[]> {
    return this.#collection
      .find({
        state: { $in: ['planned', 'in_doubt'] },
        dueAt: { $lte: query.now },
        $or: [{ firstAttemptAt: { $exists: false } }, { firstAttemptAt: { $gt: query.firstAttemptMin } }],
      })
      .sort({ dueAt: 1 })
      .limit(query.limit)
      .toArray();
  }

  /** When the next one becomes due, if any waits for its time. */
  async nextDueAt(firstAttemptMin: Date): Promise<Date | undefined> {
    const next = await this.#collection.findOne(
      {
        state: { $in: ['planned', 'in_doubt'] },
        dueAt: { $exists: true },
        $or: [{ firstAttemptAt: { $exists: false } }, { firstAttemptAt: { $gt: firstAttemptMin } }],
      },
      { sort: { dueAt: 1 }, projection: { dueAt: 1 } },
    );
    return next?.dueAt;
  }

  /** Everything in a state, in batches, in order of `_id`. */
  inState(state: SubmissionState, batchSize: number): AsyncGenerator<MeterSubmissionDocument[]> {
    return inBatches(this.#collection.find({ state }).sort({ _id: 1 }), batchSize);
  }

  /** Makes one change by compare-and-set; returns the changed document, or null when another was quicker. */
  async move(move: SubmissionMove): Promise<MeterSubmissionDocument | null> {
    try {
      return await this.#collection.findOneAndUpdate(
        { _id: move.id, state: move.from, attempts: move.attempts },
        updateFor(move),
        { returnDocument: 'after' },
      );
    } catch (error) {
      throw toStorageError(error);
    }
  }

  /** Makes many changes, each by its own compare-and-set; returns how many took effect. */
  async moveAll(moves: readonly SubmissionMove[]): Promise<number> {
    if (moves.length === 0) return 0;
    try {
      const result = await this.#collection.bulkWrite(
        moves.map((move) => ({
          updateOne: {
            filter: { _id: move.id, state: move.from, attempts: move.attempts },
            update: updateFor(move),
          },
        })),
        { ordered: false },
      );
      return result.modifiedCount;
    } catch (error) {
      throw toStorageError(error);
    }
  }

  /** Attempts whose process is gone: in state `sending` since before an instant. */
  listSendingSince(before: Date, limit: number): Promise<MeterSubmissionDocument[]> {
    return this.#collection
      .find({ state: 'sending', lastAttemptAt: { $lt: before } })
      .limit(limit)
      .toArray();
  }

  /** Submissions for the API, in order of `_id`. */
  list(query: {
    state?: SubmissionState;
    customerId?: string;
    meter?: string;
    after?: string;
    limit: number;
  }): Promise<MeterSubmissionDocument[]> {
    const filter: Filter<MeterSubmissionDocument> = {
      ...(query.state !== undefined && { state: query.state }),
      ...(query.customerId !== undefined && { customerId: query.customerId }),
      ...(query.meter !== undefined && { meter: query.meter }),
      ...(query.after !== undefined && { _id: { $gt: query.after } }),
    };
    return this.#collection.find(filter).sort({ _id: 1 }).limit(query.limit).toArray();
  }

  countInStates(states: readonly SubmissionState[]): Promise<number> {
    return this.#collection.countDocuments({ state: { $in: [...states] } });
  }

  /** How many there are in each state, and the oldest of each. */
  async census(): Promise<{ state: SubmissionState; count: number; oldestPlannedAt: Date }[]> {
    const found = await this.#collection
      .aggregate<{ _id: SubmissionState; count: number; oldestPlannedAt: Date }>([
        { $group: { _id: '$state', count: { $sum: 1 }, oldestPlannedAt: { $min: '$plannedAt' } } },
        { $sort: { _id: 1 } },
      ])
      .toArray();
    return found.map(({ _id, ...rest }) => ({ state: _id, ...rest }));
  }

  /** Why submissions are blocked, and how many for each reason. */
  async blockedReasons(): Promise<{ reason: BlockedReason; count: number }[]> {
    const found = await this.#collection
      .aggregate<{ _id: BlockedReason; count: number }>([
        { $match: { state: 'blocked' } },
        { $group: { _id: '$reason', count: { $sum: 1 } } },
      ])
      .toArray();
    return found.map(({ _id, count }) => ({ reason: _id, count }));
  }
}

function updateFor(move: SubmissionMove): Document {
  const state = stateAfter(move.from, move.change);
  if (state === undefined) {
    throw defect('A submission cannot make this change.', {
      change: move.change,
      from: move.from,
      allowed: statesBefore(move.change),
    });
  }
  const entry = { at: move.at, change: move.change, ...(move.reason !== undefined && { reason: move.reason }) };
  const unset = Object.fromEntries((move.unset ?? []).map((field) => [field, 1]));
  return {
    $set: { state, ...move.set },
    ...(Object.keys(unset).length > 0 && { $unset: unset }),
    ...(move.increment !== undefined && { $inc: move.increment }),
    $push: { history: { $each: [entry], $slice: -HISTORY_MAX } },
  };
}
