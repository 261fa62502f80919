import { type ClientSession, type Collection, type Db, ObjectId } from 'mongodb';
import type { EpochHour } from '../domain/window.ts';
import { inBatches } from './cursor.ts';
import { toStorageError, translated } from './errors.ts';

/**
 * The journal of what must be derived again. An entry names (hour, customer) pairs and is written before whatever
 * changes an input of their derivation. It is closed once all that was going to change has changed; only an entry that
 * was closed when a run listed it is deleted by that run.
 */
export interface DirtyHoursDocument {
  _id: ObjectId;
  openedAt: Date;
  /** Absent while inserts that the entry covers may still happen. */
  closedAt?: Date;
  /** Set by a run that gives up waiting for an entry left open by a process that is gone. */
  markedAt?: Date;
  /** `customerId` + U+001F + hour, so that one customer's pairs are one index range. */
  pairs: string[];
}

/** A customer's hour that waits to be derived. */
export interface DirtyPair {
  readonly customerId: string;
  readonly hour: EpochHour;
}

export const DIRTY_HOURS = 'dirty_hours';
/** Entries read at once. */
const ENTRIES_PER_BATCH = 100;
/** Pairs an entry may name: bounds the document and the work that a single entry can stand for. */
export const DIRTY_PAIRS_PER_ENTRY_MAX = 5_000;
const PAIR_SEPARATOR = '\u001f';
const AFTER_SEPARATOR = '\u0020';

export function toPairText(pair: DirtyPair): string {
  return `${pair.customerId}${PAIR_SEPARATOR}${pair.hour}`;
}

function fromPairText(text: string): DirtyPair {
  const at = text.lastIndexOf(PAIR_SEPARATOR);
  return { customerId: text.slice(0, at), hour: Number(text.slice(at + 1)) };
}

export class DirtyHours {
  readonly #collection: Collection<DirtyHoursDocument>;

  constructor(db: Db) {
    this.#collection = db.collection<DirtyHoursDocument>(DIRTY_HOURS);
  }

  /** Writes a new open entry and returns its id once a majority has it. */
  async open(pairs: readonly string[], openedAt: Date): Promise<ObjectId> {
    const _id = new ObjectId();
    try {
      await this.#collection.insertOne({ _id, openedAt, pairs: [...pairs] });
    } catch (error) {
      throw toStorageError(error);
    }
    return _id;
  }

  /** Adds pairs to an open entry. Returns false when the entry is no longer there, or was given up by a run. */
  async add(id: ObjectId, pairs: readonly string[]): Promise<boolean> {
    try {
      const result = await this.#collection.updateOne(
        { _id: id, closedAt: { $exists: false }, markedAt: { $exists: false } },
        { $push: { pairs: { $each: [...pairs] } } },
      );
      return result.matchedCount === 1;
    } catch (error) {
      throw toStorageError(error);
    }
  }

  /** Whether an entry still stands for its pairs: it exists and no run has given it up. */
  async stands(id: ObjectId): Promise<boolean> {
    try {
      const found = await this.#collection.findOne({ _id: id }, { projection: { markedAt: 1 } });
      return found !== null && found.markedAt === undefined;
    } catch (error) {
      throw toStorageError(error);
    }
  }

  /** Closes an entry; where it is gone or was given up, writes its pairs anew as a closed entry. */
  async close(id: ObjectId, pairs: readonly string[], closedAt: Date): Promise<void> {
    try {
      const result = await this.#collection.updateOne(
        { _id: id, markedAt: { $exists: false } },
        { $set: { closedAt } },
      );
      if (result.matchedCount === 0) await this.record(pairs, closedAt);
    } catch (error) {
      throw toStorageError(error);
    }
  }

  /** Like `record`, for pairs that are not texts yet. */
  recordPairs(pairs: readonly DirtyPair[], at: Date): Promise<void> {
    return this.record(pairs.map(toPairText), at);
  }

  /** Writes closed entries for pairs whose inputs have changed already. */
  async record(pairs: readonly string[], at: Date): Promise<void> {
    const documents: DirtyHoursDocument[] = [];
    for (let from = 0; from < pairs.length; from += DIRTY_PAIRS_PER_ENTRY_MAX) {
      const chunk = pairs.slice(from, from + DIRTY_PAIRS_PER_ENTRY_MAX);
      documents.push({ _id: new ObjectId(), openedAt: at, closedAt: at, pairs: chunk });
    }
    if (documents.length === 0) return;
    try {
      await this.#collection.insertMany(documents);
    } catch (error) {
      throw toStorageError(error);
    }
  }

  /** Every entry that waits, oldest first, and whether it was closed at this moment. */
  async listWaiting(session: ClientSession): Promise<{ id: ObjectId; openedAtMs: number; closed: boolean }[]> {
    const found = await translated(
      this.#collection
        .find({}, { session, projection: { openedAt: 1, closedAt: 1 } })
        .sort({ _id: 1 })
        .toArray(),
    );
    return found.map((entry) => ({
      id: entry._id,
      openedAtMs: entry.openedAt.getTime(),
      closed: entry.closedAt !== undefined,
    }));
  }

  /** The distinct pairs of some entries. */
  async pairsOf(ids: readonly ObjectId[], session: ClientSession): Promise<DirtyPair[]> {
    const texts = new Set<string>();
    const entries = this.#collection.find({ _id: { $in: [...ids] } }, { session });
    for await (const batch of inBatches(entries, ENTRIES_PER_BATCH)) {
      for (const { pairs } of batch) for (const pair of pairs) texts.add(pair);
    }
    return [...texts].sort().map(fromPairText);
  }

  /** Gives up entries that stayed open: after this is acknowledged, whoever wrote them will write their pairs anew. */
  async mark(ids: readonly ObjectId[], markedAt: Date, session: ClientSession): Promise<void> {
    await translated(
      this.#collection.updateMany(
        { _id: { $in: [...ids] }, closedAt: { $exists: false } },
        { $set: { markedAt } },
        { session },
      ),
    );
  }

  async delete(ids: readonly ObjectId[], session: ClientSession): Promise<void> {
    await translated(this.#collection.deleteMany({ _id: { $in: [...ids] } }, { session }));
  }

  /** The hours of one customer that wait, within `[fromHour, toHour)`. */
  async waitingHoursOf(
    query: { customerId: string; fromHour: EpochHour; toHour: EpochHour },
    session: ClientSession,
  ): Promise<Set<EpochHour>> {
    const from = `${query.customerId}${PAIR_SEPARATOR}`;
    const to = `${query.customerId}${AFTER_SEPARATOR}`;
    const cursor = this.#collection.aggregate<{ _id: string }>(
      [
        { $match: { pairs: { $elemMatch: { $gte: from, $lt: to } } } },
        {
          $project: {
            pairs: {
              $filter: { input: '$pairs', cond: { $and: [{ $gte: ['$$this', from] }, { $lt: ['$$this', to] }] } },
            },
          },
        },
        { $unwind: '$pairs' },
        { $group: { _id: '$pairs' } },
      ],
      { session },
    );
    const hours = new Set<EpochHour>();
    for (const { _id } of await translated(cursor.toArray())) {
      const { hour } = fromPairText(_id);
      if (hour >= query.fromHour && hour < query.toHour) hours.add(hour);
    }
    return hours;
  }

  /** How many entries wait and when the oldest was opened: the pipeline's backlog and lag. */
  async backlog(): Promise<{ entries: number; oldestOpenedAt?: Date }> {
    const [entries, oldest] = await translated(
      Promise.all([
        this.#collection.countDocuments({}),
        this.#collection.findOne({}, { sort: { _id: 1 }, projection: { openedAt: 1 } }),
      ]),
    );
    return { entries, ...(oldest !== null && { oldestOpenedAt: oldest.openedAt }) };
  }
}
