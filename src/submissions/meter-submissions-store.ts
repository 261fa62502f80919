import type { Collection, Db, Decimal128, Document, Filter } from 'mongodb';
import type { LateNote } from './late-usage.ts';
import {
  type BlockedReason,
  IN_FLIGHT_STATES,
  statesBefore,
  type SubmissionChange,
  type SubmissionState,
  type SubmissionSubject,
  stateAfter,
} from './submission.ts';
import { defect } from '../platform/errors.ts';
import { inBatches } from '../platform/mongo/cursor.ts';
import { insertAbsent } from '../platform/mongo/insert-absent.ts';
import { hasOnlyDuplicateKeys, toStorageError, translated } from '../platform/mongo/errors.ts';
import { bySlices, findBySlices, SLICE_UPDATES_MAX, slicesOf } from '../platform/mongo/slices.ts';
import type { SubmissionMode } from '../meters/stripe-meter.ts';

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
  /** Absent: `delta`. */
  mode?: SubmissionMode;
  state: SubmissionState;
  reason?: string;
  message?: string;
  /** The destination, frozen at the first attempt. */
  stripeCustomerId?: string;
  stripeMeterId?: string;
  /** When it may be tried next; blocked or rejected: when its cause is looked at again. */
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
  /** Its value became late usage, and the entry named in `replacedBy` may not have been made yet. */
  latePending?: LateNote;
  /** It was replaced and counted all the same: what came of cancelling it at Stripe. Recorded before the call. */
  cancellation?: { state: 'calling' | 'done' | 'refused'; at: Date; attempts: number; reason?: string };
  /** The same, where it can no longer be cancelled: the negative delta that takes it back, its hour and heal number. */
  offset?: { by: string; hour: Date; number: number };
  /** The negative delta named in `offset` may not have been made yet. */
  offsetPending?: true;
  /** Names the last change that was made in a batch, so that its maker can tell it from another's. */
  lastMove?: string;
  history: { at: Date; change: SubmissionChange; reason?: string; actor?: string }[];
  plannedAt: Date;
}

export const METER_SUBMISSIONS = 'meter_submissions';
/** Entries of `history` that are kept. */
export const HISTORY_MAX = 20;
const OPEN_STATES: readonly SubmissionState[] = [...IN_FLIGHT_STATES, 'blocked', 'rejected'];
/** Changes that only say when to look again. */
const UNRECORDED: ReadonlySet<SubmissionChange> = new Set(['postpone', 'keep-rejected']);

/** The counters of a submission that nobody has tried to send. */
export function untried(at: Date) {
  return { attempts: 0, storedAnswers: 0, declines: 0, plannedAt: at };
}

/** How a submission begins that is to be sent as soon as possible. */
export function plannedNow(at: Date) {
  return { ...untried(at), state: 'planned' as const, dueAt: at, history: [] };
}

/** What a change records besides the state. */
export interface ChangeFields {
  readonly set?: Partial<MeterSubmissionDocument>;
  readonly unset?: readonly (keyof MeterSubmissionDocument)[];
  readonly increment?: { attempts?: number; storedAnswers?: number; declines?: number };
  readonly reason?: string;
  /** Who decided the change, where a person did. */
  readonly actor?: string;
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
    const taken = await insertAbsent(this.#collection, documents);
    return new Set(taken.flatMap((index) => documents[index]?._id ?? []));
  }

  /** Inserts them one after the other, and none after one that exists; returns the ids of those not inserted. */
  async insertInOrder(documents: readonly MeterSubmissionDocument[]): Promise<Set<string>> {
    let inserted = 0;
    for (const slice of slicesOf(documents)) {
      try {
        await this.#collection.insertMany(slice, { ordered: true });
        inserted += slice.length;
      } catch (error) {
        if (!hasOnlyDuplicateKeys(error)) throw toStorageError(error);
        const [taken] = error.result.getWriteErrors();
        return new Set(documents.slice(inserted + (taken?.index ?? 0)).map(({ _id }) => _id));
      }
    }
    return new Set();
  }

  find(id: string): Promise<MeterSubmissionDocument | null> {
    return translated(this.#collection.findOne({ _id: id }));
  }

  async findAll(ids: readonly string[]): Promise<MeterSubmissionDocument[]> {
    return findBySlices(ids, (slice) => translated(this.#collection.find({ _id: { $in: slice } }).toArray()));
  }

  /**
   * Those that may be tried now: first those in doubt, so that an outage puts no others there; then longest due first.
   */
  listDue(query: DueQuery & { limit: number }): Promise<MeterSubmissionDocument[]> {
    const sorted = this.#collection.find(dueFilter(query)).sort({ state: 1, dueAt: 1 });
    return translated(sorted.limit(query.limit).toArray());
  }

  /** Those of these that may be tried now. */
  findDue(ids: readonly string[], query: DueQuery): Promise<MeterSubmissionDocument[]> {
    return findBySlices(ids, (slice) =>
      translated(this.#collection.find({ _id: { $in: slice }, ...dueFilter(query) }).toArray()),
    );
  }

  /** When the next one becomes due, if any waits for its time. `firstAttemptMin` as in `DueQuery`. */
  async nextDueAt(firstAttemptMin: Date, customerId?: string): Promise<Date | undefined> {
    const waiting: Filter<MeterSubmissionDocument> = {
      state: { $in: ['planned', 'in_doubt'] },
      dueAt: { $exists: true },
      ...(customerId !== undefined && { customerId }),
      ...triableSince(firstAttemptMin),
    };
    const next = await translated(this.#collection.findOne(waiting, { sort: { dueAt: 1 }, projection: { dueAt: 1 } }));
    return next?.dueAt;
  }

  /** Everything in a state, of one customer or all, in batches, in order of `_id`. */
  inState(state: SubmissionState, batchSize: number, customerId?: string): AsyncGenerator<MeterSubmissionDocument[]> {
    const filter = { state, ...(customerId !== undefined && { customerId }) };
    return inBatches(this.#collection.find(filter).sort({ _id: 1 }), batchSize);
  }

  /** Makes one change by compare-and-set; returns the changed document, or null when another was quicker. */
  async move(move: SubmissionMove): Promise<MeterSubmissionDocument | null> {
    const expected = { _id: move.id, state: move.from, attempts: move.attempts };
    return translated(this.#collection.findOneAndUpdate(expected, updateFor(move), { returnDocument: 'after' }));
  }

  /** Makes many changes, each by its own compare-and-set; returns how many took effect. */
  async moveAll(moves: readonly SubmissionMove[]): Promise<number> {
    const updates = moves.map((move) => ({
      updateOne: {
        filter: { _id: move.id, state: move.from, attempts: move.attempts },
        update: updateFor(move),
      },
    }));
    const write = (slice: typeof updates) => translated(this.#collection.bulkWrite(slice, { ordered: false }));
    const done = await bySlices(updates, write, SLICE_UPDATES_MAX);
    return done.reduce((sum, { modifiedCount }) => sum + modifiedCount, 0);
  }

  /** Attempts whose process is gone: in state `sending` since before an instant. */
  listSendingSince(before: Date, limit: number): Promise<MeterSubmissionDocument[]> {
    const lost = { state: 'sending' as const, lastAttemptAt: { $lt: before } };
    return translated(this.#collection.find(lost).limit(limit).toArray());
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
    return translated(this.#collection.find(filter).sort({ _id: 1 }).limit(query.limit).toArray());
  }

  countInStates(states: readonly SubmissionState[]): Promise<number> {
    return translated(this.#collection.countDocuments({ state: { $in: [...states] } }));
  }

  /** How many there are in each state. Read from the index alone: nearly all of them are settled for ever. */
  async census(): Promise<{ state: SubmissionState; count: number }[]> {
    const stages = [{ $group: { _id: '$state', count: { $sum: 1 } } }, { $sort: { _id: 1 } }];
    const options = { hint: { state: 1, dueAt: 1 } };
    const found = await translated(
      this.#collection.aggregate<{ _id: SubmissionState; count: number }>(stages, options).toArray(),
    );
    return found.map(({ _id, count }) => ({ state: _id, count }));
  }

  /** When the oldest was planned, in each state in which something is still to happen. */
  async oldestOpen(): Promise<Map<SubmissionState, Date>> {
    const stages = [
      { $match: { state: { $in: OPEN_STATES } } },
      { $group: { _id: '$state', plannedAt: { $min: '$plannedAt' } } },
    ];
    const found = await translated(
      this.#collection.aggregate<{ _id: SubmissionState; plannedAt: Date }>(stages).toArray(),
    );
    return new Map(found.map(({ _id, plannedAt }) => [_id, plannedAt]));
  }

  /** Why submissions are blocked, and how many for each reason. */
  async blockedReasons(): Promise<{ reason: BlockedReason; count: number }[]> {
    const stages = [{ $match: { state: 'blocked' } }, { $group: { _id: '$reason', count: { $sum: 1 } } }];
    const found = await translated(this.#collection.aggregate<{ _id: BlockedReason; count: number }>(stages).toArray());
    return found.map(({ _id, count }) => ({ reason: _id, count }));
  }
}

/** What may be tried. */
export interface DueQuery {
  readonly now: Date;
  /** Those first tried before it are past trying. */
  readonly firstAttemptMin: Date;
  readonly customerId?: string;
  /** Those that were never tried do not wait for their time. */
  readonly flush?: boolean;
}

function dueFilter({ now, firstAttemptMin, customerId, flush }: DueQuery): Filter<MeterSubmissionDocument> {
  const due: Filter<MeterSubmissionDocument> = {
    state: { $in: ['planned', 'in_doubt'] },
    dueAt: { $lte: now },
    ...triableSince(firstAttemptMin),
  };
  const scope = { ...(customerId !== undefined && { customerId }) };
  if (flush !== true) return { ...scope, ...due };
  return { ...scope, $or: [{ state: 'planned', attempts: 0 }, due] };
}

function triableSince(firstAttemptMin: Date): Filter<MeterSubmissionDocument> {
  return { $or: [{ firstAttemptAt: { $exists: false } }, { firstAttemptAt: { $gt: firstAttemptMin } }] };
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
  const { at, change, reason, actor } = move;
  const entry = { at, change, ...(reason !== undefined && { reason }), ...(actor !== undefined && { actor }) };
  const isRecorded = !UNRECORDED.has(change) && (change !== 'block' || move.from !== 'blocked');
  const unset = Object.fromEntries((move.unset ?? []).map((field) => [field, 1]));
  return {
    $set: { state, ...move.set },
    ...(Object.keys(unset).length > 0 && { $unset: unset }),
    ...(move.increment !== undefined && { $inc: move.increment }),
    ...(isRecorded && { $push: { history: { $each: [entry], $slice: -HISTORY_MAX } } }),
  };
}
