import { type ClientSession, type Collection, type Db, Decimal128, type Document, type Filter } from 'mongodb';
import type { Aggregation } from '../meters/meter.ts';
import { countedValues, type ValueScope } from './counted-values-store.ts';
import { inBatches, REPLY_DOCUMENTS_MAX } from '../platform/mongo/cursor.ts';
import { OPERATION_MS_MAX } from '../platform/mongo/database.ts';
import { toStorageError, translated } from '../platform/mongo/errors.ts';
import { mergeDocuments } from '../platform/mongo/fenced-merge.ts';
import { bySlices, findBySlices } from '../platform/mongo/slices.ts';
import { UNIQUE_VALUES } from './unique-values-store.ts';
import { movePlannedIn, type Planned, type PlannedMove, USAGE_AGGREGATES } from './usage-aggregates-store.ts';
import { rowKey } from './usage-derivation-store.ts';

/** The running figure of a billing period, for the meters whose windows do not add up: max, last and unique. */
export interface UsagePeriodDocument {
  _id: PeriodKey;
  periodEnd: Date;
  layout: number;
  eventCount: number;
  quantity: Decimal128;
  last?: { at: Date; id: string; value: Decimal128 };
  /** A changed calendar gave the period up: others hold its usage. */
  former?: true;
  /** It was there before the calendar changed, and planning has not looked at it since. */
  relaid?: true;
  revision: number;
  planDue?: true;
  planned?: Planned;
}

export interface PeriodKey {
  customerId: string;
  meter: string;
  periodStart: Date;
}

export type DerivedPeriod = Pick<
  UsagePeriodDocument,
  '_id' | 'periodEnd' | 'layout' | 'eventCount' | 'quantity' | 'last' | 'former'
>;

export const USAGE_PERIODS = 'usage_periods';
const ZERO = Decimal128.fromString('0');

export function periodKey(customerId: string, meter: string, periodStart: Date): PeriodKey {
  return { customerId, meter, periodStart };
}

/** A customer's period of one meter, to be derived from its windows. */
export interface PeriodScope extends ValueScope {
  readonly layout: number;
}

export class UsagePeriods {
  readonly #db: Db;
  readonly #collection: Collection<UsagePeriodDocument>;

  constructor(db: Db) {
    this.#db = db;
    this.#collection = db.collection<UsagePeriodDocument>(USAGE_PERIODS);
  }

  /**
   * Derives the periods of one aggregation from their windows.
   * @param scopes at most one for each customer and meter.
   */
  async derive(
    aggregation: Aggregation,
    scopes: readonly PeriodScope[],
    session: ClientSession,
  ): Promise<DerivedPeriod[]> {
    const windows = await this.#read(USAGE_AGGREGATES, windowStages(aggregation, scopes), session);
    // Values are written before the rows that count them, so counting them after reading the rows misses none.
    const distinct =
      aggregation === 'unique'
        ? await this.#read(UNIQUE_VALUES, distinctStages(await countedValues(this.#db, scopes, session)), session)
        : undefined;
    const byKey = new Map(windows.map((found) => [keyText(found._id), found]));
    const distinctByKey = new Map(distinct?.map((found) => [keyText(found._id), found]));
    return scopes.map((scope) => {
      const found = byKey.get(keyText(scope));
      const quantity = distinct === undefined ? quantityOf(found) : distinctByKey.get(keyText(scope))?.quantity;
      return {
        _id: periodKey(scope.customerId, scope.meter, new Date(scope.period.fromMs)),
        periodEnd: new Date(scope.period.toMs),
        layout: scope.layout,
        eventCount: found?.eventCount ?? 0,
        quantity: quantity ?? ZERO,
        ...(found?.last && { last: found.last }),
      };
    });
  }

  async #read(collection: string, stages: Document[], session: ClientSession): Promise<PeriodFigure[]> {
    try {
      return await this.#db
        .collection(collection)
        .aggregate<PeriodFigure>(stages, {
          session,
          maxTimeMS: OPERATION_MS_MAX,
          allowDiskUse: true,
          batchSize: REPLY_DOCUMENTS_MAX,
        })
        .toArray();
    } catch (error) {
      throw toStorageError(error);
    }
  }

  /**
   * Stores derived periods under the fence. Under a new layout planning looks at each of them once, even where the figure
   * is what it was: what is stamped inside may be of another period.
   */
  mergeRows(rows: readonly DerivedPeriod[], session: ClientSession): Promise<void> {
    return this.#merge(rows, { isDueUnderNewLayout: true }, session);
  }

  /** Writes periods that a changed calendar gave up as empty rows. */
  giveUp(rows: readonly Omit<DerivedPeriod, 'former'>[], session: ClientSession): Promise<void> {
    return this.#merge(
      rows.map((row) => ({ ...row, former: true as const })),
      { isDueUnderNewLayout: false },
      session,
    );
  }

  #merge(
    rows: readonly DerivedPeriod[],
    options: { isDueUnderNewLayout: boolean },
    session: ClientSession,
  ): Promise<void> {
    const due = rows.map((row) => ({ ...row, planDue: true }));
    return mergeDocuments({ db: this.#db, into: USAGE_PERIODS, rows: due, ...options }, session);
  }

  /** Makes planning look again at periods, if they are there. */
  async setDue(keys: readonly PeriodKey[]): Promise<void> {
    await bySlices(keys, (slice) => {
      const present = { _id: { $in: slice }, former: { $exists: false } } as Filter<UsagePeriodDocument>;
      return translated(this.#collection.updateMany(present, { $set: { planDue: true }, $inc: { revision: 1 } }));
    });
  }

  /** Rows that planning is to look at, in batches. */
  planDue(query: {
    meters: readonly string[];
    customerId?: string;
    batchSize: number;
  }): AsyncGenerator<UsagePeriodDocument[]> {
    const { meters, customerId } = query;
    const cursor = this.#collection
      .find({
        planDue: true,
        '_id.meter': { $in: [...meters] },
        ...(customerId !== undefined && { '_id.customerId': customerId }),
      })
      .sort({ periodEnd: 1 });
    return inBatches(cursor, query.batchSize);
  }

  /** Periods that a changed calendar gave up and that planning has not ended yet. */
  formerDue(query: { meters: readonly string[]; customerId?: string }): Promise<UsagePeriodDocument[]> {
    const { meters, customerId } = query;
    const filter = { planDue: true as const, former: true as const, '_id.meter': { $in: [...meters] } };
    const own = customerId === undefined ? {} : { '_id.customerId': customerId };
    return translated(this.#collection.find({ ...filter, ...own }).toArray());
  }

  /** The rows with these keys that planning is to look at. */
  dueAmong(keys: readonly PeriodKey[]): Promise<UsagePeriodDocument[]> {
    return findBySlices(keys, (slice) =>
      translated(this.#collection.find({ _id: { $in: slice }, planDue: true }).toArray()),
    );
  }

  async movePlanned(moves: readonly PlannedMove[]): Promise<void> {
    await movePlannedIn(this.#collection, moves);
  }

  async find(key: PeriodKey): Promise<UsagePeriodDocument | null> {
    return translated(this.#collection.findOne({ _id: key }));
  }

  async setPlanDue(query: { customerId: string; meter: string; from: Date }): Promise<void> {
    await translated(
      this.#collection.updateMany(
        {
          _id: {
            $gte: periodKey(query.customerId, query.meter, query.from),
            $lt: periodKey(query.customerId, query.meter, new Date(8.64e15)),
          },
          quantity: { $ne: ZERO },
        },
        { $set: { planDue: true }, $inc: { revision: 1 } },
      ),
    );
  }

  async countPlanDue(): Promise<number> {
    return translated(this.#collection.countDocuments({ planDue: true }));
  }
}

interface PeriodFigure extends Document {
  _id: { customerId: string; meter: string };
  eventCount: number;
  quantity?: Decimal128;
  last?: { at: Date; id: string; value: Decimal128 } | null;
}

function keyText(key: { customerId: string; meter: string }): string {
  return `${key.customerId}\u001f${key.meter}`;
}

function quantityOf(figure: PeriodFigure | undefined): Decimal128 {
  return figure?.last?.value ?? figure?.quantity ?? ZERO;
}

function windowStages(aggregation: Aggregation, scopes: readonly PeriodScope[]): Document[] {
  return [
    { $match: { $or: scopes.map(windowsOf), eventCount: { $gt: 0 } } },
    {
      $group: {
        _id: { customerId: '$_id.customerId', meter: '$_id.meter' },
        eventCount: { $sum: '$eventCount' },
        ...(aggregation === 'max' && { quantity: { $max: '$quantity' } }),
        ...(aggregation === 'last' && { last: { $max: '$last' } }),
      },
    },
  ];
}

/**
 * The windows that lie wholly in a period. One that reaches out of it is of a former calendar and about to be cut: facts
 * counted of it that belong to the next period would make every later derivation look older, since it counts fewer.
 */
function windowsOf({ customerId, meter, period }: PeriodScope): Document {
  const [from, to] = [new Date(period.fromMs), new Date(period.toMs)];
  const _id = { $gte: rowKey(customerId, meter, from), $lt: rowKey(customerId, meter, to) };
  return { _id, windowEnd: { $lte: to } };
}

function distinctStages(counted: Document): Document[] {
  return [
    { $match: counted },
    { $group: { _id: { customerId: '$_id.customerId', meter: '$_id.meter', value: '$_id.value' } } },
    { $group: { _id: { customerId: '$_id.customerId', meter: '$_id.meter' }, count: { $sum: 1 } } },
    { $project: { quantity: { $toDecimal: '$count' } } },
  ];
}
