import { type ClientSession, type Collection, type Db, ObjectId } from 'mongodb';
import type { EpochHour } from '../customers/calendar/window.ts';
import { inBatches } from '../platform/mongo/cursor.ts';
import { toStorageError, translated } from '../platform/mongo/errors.ts';
import { bySlices } from '../platform/mongo/slices.ts';

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
  /** Pairs that could not be derived, apart from all others. They are tried again in every run; `openedAt` stays. */
  setAside?: SetAsideNote;
}

/** Why pairs were set aside, and how often in a row they could not be derived. */
export interface SetAsideNote {
  readonly attempts: number;
  readonly reason: string;
}

/** A journal entry as a run lists it. */
export interface WaitingEntry {
  readonly id: ObjectId;
  readonly openedAtMs: number;
  readonly closed: boolean;
  readonly setAside?: SetAsideNote;
}

/** What waits in the journal, and since when. */
export interface JournalBacklog {
  readonly entries: number;
  readonly oldestOpenedAt?: Date;
  /** Customer-hours that could not be derived, and the oldest of them. */
  readonly setAside?: { readonly customerHours: number; readonly oldestAt: Date; readonly reason: string };
}

/** A customer's hour that waits to be derived. */
export interface DirtyPair {
  readonly customerId: string;
  readonly hour: EpochHour;
}

export const DIRTY_HOURS = 'dirty_hours';
/** Entries whose pairs are read at once: each may name 5,000. */
const ENTRIES_PER_READ = 4;
/** Pairs an entry may name: bounds the document and the work that a single entry can stand for. */
export const DIRTY_PAIRS_PER_ENTRY_MAX = 5_000;
/** Entries listed at once, without their pairs. */
const ENTRIES_PER_LIST = 1_000;
/** What was set aside, as one document, or none. */
const SET_ASIDE = [
  { $match: { setAside: { $exists: true } } },
  {
    $group: {
      _id: null,
      customerHours: { $sum: { $size: '$pairs' } },
      oldestAt: { $min: '$openedAt' },
      reason: { $first: '$setAside.reason' },
    },
  },
  { $project: { _id: 0 } },
];
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
  record(pairs: readonly string[], at: Date): Promise<void> {
    return this.#record(pairs, { openedAt: at, closedAt: at });
  }

  /** Writes entries of their own for pairs that cannot be derived. @param since when they were first written. */
  setAside(pairs: readonly DirtyPair[], of: { since: Date; at: Date; note: SetAsideNote }): Promise<void> {
    return this.#record(pairs.map(toPairText), { openedAt: of.since, closedAt: of.at, setAside: of.note });
  }

  async #record(pairs: readonly string[], fields: Omit<DirtyHoursDocument, '_id' | 'pairs'>): Promise<void> {
    const documents: DirtyHoursDocument[] = [];
    for (let from = 0; from < pairs.length; from += DIRTY_PAIRS_PER_ENTRY_MAX) {
      const chunk = pairs.slice(from, from + DIRTY_PAIRS_PER_ENTRY_MAX);
      documents.push({ _id: new ObjectId(), ...fields, pairs: chunk });
    }
    await bySlices(documents, (slice) => translated(this.#collection.insertMany(slice)));
  }

  /** Every entry that waits, oldest first, and whether it was closed at this moment. */
  async listWaiting(session: ClientSession): Promise<WaitingEntry[]> {
    const entries = this.#collection
      .find({}, { session, projection: { openedAt: 1, closedAt: 1, setAside: 1 } })
      .sort({ _id: 1 });
    const found: WaitingEntry[] = [];
    for await (const batch of inBatches(entries, ENTRIES_PER_LIST)) {
      for (const { _id: id, openedAt, closedAt, setAside } of batch) {
        const closed = closedAt !== undefined;
        found.push({ id, openedAtMs: openedAt.getTime(), closed, ...(setAside && { setAside }) });
      }
    }
    return found;
  }

  /**
   * The distinct pairs of entries, up to the entry that brings them to `pairsMax`.
   * @returns and of how many of the entries, from the first on, they are: at least one.
   */
  async pairsOf(
    ids: readonly ObjectId[],
    pairsMax: number,
    session: ClientSession,
  ): Promise<{ pairs: DirtyPair[]; entries: number }> {
    const texts = new Set<string>();
    let entries = 0;
    while (entries < ids.length && texts.size < pairsMax) {
      const slice = ids.slice(entries, entries + ENTRIES_PER_READ);
      const found = await translated(this.#collection.find({ _id: { $in: slice } }, { session }).toArray());
      for (const { pairs } of found) for (const pair of pairs) texts.add(pair);
      entries += slice.length;
    }
    return { pairs: [...texts].map(fromPairText), entries };
  }

  /** Gives up entries that stayed open: after this is acknowledged, whoever wrote them will write their pairs anew. */
  async mark(ids: readonly ObjectId[], markedAt: Date, session: ClientSession): Promise<void> {
    await bySlices(ids, (slice) =>
      translated(
        this.#collection.updateMany(
          { _id: { $in: slice }, closedAt: { $exists: false } },
          { $set: { markedAt } },
          { session },
        ),
      ),
    );
  }

  async delete(ids: readonly ObjectId[], session: ClientSession): Promise<void> {
    await bySlices(ids, (slice) => translated(this.#collection.deleteMany({ _id: { $in: slice } }, { session })));
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

  /** Whether any hour of a customer waits: it has sent something lately. */
  async hasWaiting(customerId: string): Promise<boolean> {
    const range = { $gte: `${customerId}${PAIR_SEPARATOR}`, $lt: `${customerId}${AFTER_SEPARATOR}` };
    const query = this.#collection.findOne({ pairs: { $elemMatch: range } }, { projection: { _id: 1 } });
    return (await translated(query)) !== null;
  }

  /** How many entries wait and when the oldest was opened: the pipeline's backlog and lag. */
  async backlog(): Promise<JournalBacklog> {
    const options = { sort: { _id: 1 as const }, projection: { openedAt: 1 } };
    const [entries, oldest, aside] = await translated(
      Promise.all([
        this.#collection.countDocuments({}),
        this.#collection.findOne({ setAside: { $exists: false } }, options),
        this.#collection.aggregate<{ customerHours: number; oldestAt: Date; reason: string }>(SET_ASIDE).toArray(),
      ]),
    );
    const [setAside] = aside;
    const opened = [oldest?.openedAt, setAside?.oldestAt].filter((at) => at !== undefined);
    const oldestMs = Math.min(...opened.map((at) => at.getTime()));
    return {
      entries,
      ...(opened.length > 0 && { oldestOpenedAt: new Date(oldestMs) }),
      ...(setAside !== undefined && { setAside }),
    };
  }
}
