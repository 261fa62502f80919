import { type ClientSession, type Collection, type Db, Decimal128, type Document, type Filter } from 'mongodb';
import { inBatches } from '../platform/mongo/cursor.ts';
import { OPERATION_MS_MAX } from '../platform/mongo/database.ts';
import { translated } from '../platform/mongo/errors.ts';
import { mergeDocuments } from '../platform/mongo/fenced-merge.ts';
import { bySlices, findBySlices, SLICE_UPDATES_MAX, slicesOf } from '../platform/mongo/slices.ts';
import { type DerivedRow, rowKey } from './usage-derivation-store.ts';

/** What planning has made of a row so far; only planning writes it. */
export interface Planned {
  /** How many submissions the row has had; 0 where all that is stamped in it was made for other periods. */
  sequence: number;
  /** The figure they add up to. */
  quantity: Decimal128;
  /** The identifier of the last one. */
  identifier: string;
  /** The timestamp of the last one. */
  at: Date;
  /** How the last one is read by Stripe; absent: `delta`. */
  mode?: 'period_total';
}

/** A window's figure: derived from raw facts and replaced as a whole, except for what planning owns. */
export interface UsageAggregateDocument extends DerivedRow {
  /** Rises when the quantity changes. */
  revision: number;
  /** The quantity may differ from what was planned. */
  planDue?: true;
  planned?: Planned;
}

export const USAGE_AGGREGATES = 'usage_aggregates';

/** Rows that are taken from the server at a time. */
const ROWS_PER_BATCH = 1_000;

/** The figure of a row that holds no usage. */
export const emptyQuantity = Decimal128.fromString('0');

export class UsageAggregates {
  readonly #db: Db;
  readonly #collection: Collection<UsageAggregateDocument>;

  constructor(db: Db) {
    this.#db = db;
    this.#collection = db.collection<UsageAggregateDocument>(USAGE_AGGREGATES);
  }

  /**
   * Stores derived rows under the fence.
   * @param before called with those that differ from the stored rows, before they are written.
   */
  mergeRows(
    rows: readonly DerivedRow[],
    session: ClientSession,
    before?: (differing: readonly DerivedRow[]) => Promise<void>,
  ): Promise<void> {
    return mergeDocuments({ db: this.#db, into: USAGE_AGGREGATES, rows, ...(before && { before }) }, session);
  }

  /** The rows of a customer and meter whose windows begin in a half-open range, in order. */
  async range(query: RowRange, session?: ClientSession): Promise<UsageAggregateDocument[]> {
    return translated(
      this.#collection
        .find({ _id: rangeFilter(query) }, { ...(session && { session }) })
        .sort({ _id: 1 })
        .toArray(),
    );
  }

  /** The rows of several ranges, in no order; in batches, since there may be very many. */
  async *ranges(queries: readonly RowRange[], session?: ClientSession): AsyncGenerator<UsageAggregateDocument[]> {
    for (const slice of slicesOf(queries.map((query) => ({ _id: rangeFilter(query) })))) {
      const rows = this.#collection.find({ $or: slice }, { ...(session && { session }) });
      yield* inBatches(rows.maxTimeMS(OPERATION_MS_MAX), ROWS_PER_BATCH);
    }
  }

  /** The stored rows with these keys. */
  async findAll(keys: readonly DerivedRow['_id'][], session?: ClientSession): Promise<UsageAggregateDocument[]> {
    return findBySlices(keys, (slice) =>
      translated(this.#collection.find({ _id: { $in: slice } }, { ...(session && { session }) }).toArray()),
    );
  }

  /** The first row in a range, in time order, whose figure is above another. */
  firstAbove(query: EndedRange & { than: Decimal128 }): Promise<UsageAggregateDocument | null> {
    const filter = { ...endedRows(query), quantity: { $gt: query.than } };
    return translated(this.#collection.findOne(filter, { sort: { _id: 1 } }));
  }

  /** The first row in a range, in time order, whose figure is another. */
  firstOther(query: EndedRange & { than: Decimal128 }): Promise<UsageAggregateDocument | null> {
    const filter = { ...endedRows(query), quantity: { $ne: query.than } };
    return translated(this.#collection.findOne(filter, { sort: { _id: 1 } }));
  }

  /** The last row of a range that counts facts and ended by an instant. */
  lastOf(query: EndedRange): Promise<UsageAggregateDocument | null> {
    return translated(this.#collection.findOne(endedRows(query), { sort: { _id: -1 } }));
  }

  /** The first of those with the greatest quantity. */
  greatestOf(query: EndedRange): Promise<UsageAggregateDocument | null> {
    return translated(this.#collection.findOne(endedRows(query), { sort: { quantity: -1, _id: 1 } }));
  }

  /** Rows that planning is to look at, oldest first, in batches. */
  planDue(query: {
    windowEndMax: Date;
    meters: readonly string[];
    customerId?: string;
    batchSize: number;
  }): AsyncGenerator<UsageAggregateDocument[]> {
    const { windowEndMax, meters, customerId } = query;
    const cursor = this.#collection
      .find({
        planDue: true,
        windowEnd: { $lte: windowEndMax },
        '_id.meter': { $in: [...meters] },
        ...(customerId !== undefined && { '_id.customerId': customerId }),
      })
      .sort({ windowEnd: 1 });
    return inBatches(cursor, query.batchSize);
  }

  /** Moves `planned` on by compare-and-set on its sequence; returns nothing, since a lost race is planned again. */
  async movePlanned(moves: readonly PlannedMove[]): Promise<void> {
    await movePlannedIn(this.#collection, moves);
  }

  /**
   * Makes planning look again at a customer's rows from an instant on. Raises their revision, so that a planning run
   * that read them before cannot declare them done.
   */
  async setPlanDue(query: RowRange): Promise<void> {
    await translated(
      this.#collection.updateMany(
        { _id: rangeFilter(query), quantity: { $ne: emptyQuantity } },
        { $set: { planDue: true }, $inc: { revision: 1 } },
      ),
    );
  }

  /** Whether any usage was derived for a customer. */
  async hasRows(customerId: string): Promise<boolean> {
    const first = rowKey(customerId, '', new Date(0));
    const found = await translated(
      this.#collection.findOne({ _id: { $gte: first } }, { sort: { _id: 1 }, projection: { _id: 1 } }),
    );
    return found?._id.customerId === customerId;
  }

  /** Whether a window that ended by an instant is due. */
  async hasPlanDue(windowEndMax: Date): Promise<boolean> {
    const due = { planDue: true as const, windowEnd: { $lte: windowEndMax } };
    return (await translated(this.#collection.findOne(due, { projection: { _id: 1 } }))) !== null;
  }

  /** The windows that are due next: those that end first after an instant, and how many. */
  async nextPlanDue(after: Date): Promise<{ windowEnd: Date; count: number } | undefined> {
    const due = { planDue: true as const, windowEnd: { $gt: after } };
    const options = { sort: { windowEnd: 1 as const }, projection: { windowEnd: 1 } };
    const first = await translated(this.#collection.findOne(due, options));
    if (first === null) return undefined;
    const { windowEnd } = first;
    const count = await translated(this.#collection.countDocuments({ planDue: true, windowEnd }));
    return { windowEnd, count };
  }

  async countPlanDue(): Promise<number> {
    return translated(this.#collection.countDocuments({ planDue: true }));
  }

  /** Sums per customer and meter of a set of ranges: figures for reconciliation. */
  async sums(query: RowRange, session?: ClientSession): Promise<{ quantity: Decimal128; eventCount: number }> {
    const stages = [
      { $match: { _id: rangeFilter(query) } },
      { $group: { _id: null, quantity: { $sum: '$quantity' }, eventCount: { $sum: '$eventCount' } } },
    ];
    const [sum] = await translated(
      this.#collection
        .aggregate<{ quantity: Decimal128; eventCount: number }>(stages, { ...(session && { session }) })
        .toArray(),
    );
    return sum === undefined
      ? { quantity: emptyQuantity, eventCount: 0 }
      : { quantity: Decimal128.fromString(sum.quantity.toString()), eventCount: sum.eventCount };
  }

  /** How many facts could not be counted, over all rows. */
  async countUncountable(): Promise<number> {
    const stages = [
      { $match: { uncountable: { $gt: 0 } } },
      { $group: { _id: null, total: { $sum: '$uncountable' } } },
    ];
    const [sum] = await translated(this.#collection.aggregate<{ total: number }>(stages).toArray());
    return sum?.total ?? 0;
  }
}

/** Windows that begin in `[from, to)`. */
export interface RowRange {
  readonly customerId: string;
  readonly meter: string;
  readonly from: Date;
  readonly to: Date;
}

/** Of these, the windows that ended by an instant. */
interface EndedRange extends RowRange {
  readonly windowEndMax: Date;
}

function endedRows(query: EndedRange): Filter<UsageAggregateDocument> {
  return { _id: rangeFilter(query), eventCount: { $gt: 0 }, windowEnd: { $lte: query.windowEndMax } };
}

/** A change of `planned`: from the sequence that was read to the one that was planned. */
export interface PlannedMove {
  readonly key: Document;
  readonly previousSequence: number;
  /** Absent when there was nothing to plan. */
  readonly planned?: Planned;
  /** The row's revision as it was read. */
  readonly revision: number;
  /** Nothing is left to plan in it: planning is then no longer due, unless the row changed since. */
  readonly isDone?: boolean;
  /** Planning took it over after a change of calendar: it is then `relaid` no longer, unless the row changed since. */
  readonly isTakenOver?: boolean;
}

export function rangeFilter(query: RowRange): { $gte: DerivedRow['_id']; $lt: DerivedRow['_id'] } {
  return {
    $gte: rowKey(query.customerId, query.meter, query.from),
    $lt: rowKey(query.customerId, query.meter, query.to),
  };
}

export async function movePlannedIn<T extends Document>(
  collection: Collection<T>,
  moves: readonly PlannedMove[],
): Promise<void> {
  const updates = moves.map(({ key, previousSequence, planned, revision, isDone, isTakenOver }) => ({
    updateOne: {
      filter: {
        _id: key,
        // Without a submission of its own: nothing was planned, or what other periods left in it.
        'planned.sequence': previousSequence === 0 ? { $in: [null, 0] } : previousSequence,
      },
      update: [
        {
          $set: {
            ...(planned !== undefined && { planned: { $literal: planned } }),
            planDue: {
              $cond: [
                { $eq: ['$revision', { $literal: revision }] },
                isDone === true ? '$$REMOVE' : '$planDue',
                // Another run may have found nothing to plan in the row as it is now, before this one's came to be known.
                planned === undefined ? '$planDue' : true,
              ],
            },
            ...(isTakenOver === true && {
              relaid: { $cond: [{ $eq: ['$revision', { $literal: revision }] }, '$$REMOVE', '$relaid'] },
            }),
          },
        },
      ],
    },
  }));
  const documents = collection as unknown as Collection<Document>;
  await bySlices(updates, (slice) => translated(documents.bulkWrite(slice, { ordered: false })), SLICE_UPDATES_MAX);
}
