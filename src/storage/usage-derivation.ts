import { type ClientSession, type Db, Decimal128, type Document } from 'mongodb';
import { isAdditive, type Meter } from '../domain/meter.ts';
import type { Period } from '../domain/period.ts';
import { type EpochHour, HOUR_MS } from '../domain/window.ts';
import { OPERATION_MS_MAX } from './database.ts';
import { toDecimal128 } from './decimal128.ts';
import { toStorageError } from './errors.ts';
import { conditionOf, fieldPath, valueOf } from './fact-expressions.ts';
import { USAGE_EVENTS } from './usage-events.ts';

/** Which raw facts to derive, and under which layout. */
export interface DerivationScope {
  readonly cells: readonly { readonly hour: EpochHour; readonly customerIds: readonly string[] }[];
  /** A part of the hour, when a billing period begins inside it or a range ends inside it; then there is one cell. */
  readonly window?: Period;
  readonly layout: number;
}

/** A derived row: the figure of one meter for one customer's window, from raw facts alone. */
export interface DerivedRow {
  _id: RowKey;
  windowEnd: Date;
  layout: number;
  /** Facts that were counted. Raw facts are only ever added, so of two derivations the greater count is the newer. */
  eventCount: number;
  /** Facts of the meter's event type that it could not count. */
  uncountable?: number;
  quantity: Decimal128;
  /** For `last`: the latest fact. */
  last?: { at: Date; id: string; value: Decimal128 };
  /** Rows that are planned one by one: a change of the quantity makes planning due. */
  planDue?: true;
}

/** One constructor for it: field order decides equality and ranges. */
export interface RowKey {
  customerId: string;
  meter: string;
  windowStart: Date;
}

export function rowKey(customerId: string, meter: string, windowStart: Date): RowKey {
  return { customerId, meter, windowStart };
}

const ZERO = Decimal128.fromString('0');

/**
 * Customer-hours as one condition. They are joined by `$or`, so that a few dirty customer-hours out of many hours cost
 * one pipeline, each a point in the index {hour, customerId}; many hours of one customer are a single list.
 */
function joinCells(cells: DerivationScope['cells']): Document {
  const [first] = cells;
  const owner = first?.customerIds[0];
  if (owner !== undefined && cells.every(({ customerIds }) => customerIds.length === 1 && customerIds[0] === owner)) {
    return { hour: { $in: cells.map(({ hour }) => hour) }, customerId: owner };
  }
  return { $or: cells.map(({ hour, customerIds }) => ({ hour, customerId: { $in: [...customerIds] } })) };
}

/** The facts of a scope and event type. */
function matchFacts(scope: DerivationScope, eventType: string): Document {
  return {
    $match: {
      ...joinCells(scope.cells),
      eventType,
      ...(scope.window !== undefined && {
        occurredAt: { $gte: new Date(scope.window.fromMs), $lt: new Date(scope.window.toMs) },
      }),
    },
  };
}

/** The accumulators of one meter, prefixed so that many meters share one pass over the facts. */
function accumulatorsOf(meter: Meter, prefix: string): Document {
  const condition = conditionOf(meter);
  if (meter.aggregation === 'count') {
    return { [`${prefix}Count`]: { $sum: condition === undefined ? 1 : { $cond: [condition, 1, 0] } } };
  }
  const value =
    condition === undefined ? valueOf(meter.valueFrom) : { $cond: [condition, valueOf(meter.valueFrom), null] };
  const alwaysCounts = condition === undefined && meter.valueFrom.kind === 'quantity';
  const isCounted = { $ne: [value, null] };
  const isUncountable = { $and: [condition ?? true, { $eq: [value, null] }] };
  return {
    [`${prefix}Count`]: { $sum: alwaysCounts ? 1 : { $cond: [isCounted, 1, 0] } },
    ...(!alwaysCounts && { [`${prefix}Uncountable`]: { $sum: { $cond: [isUncountable, 1, 0] } } }),
    [`${prefix}Value`]:
      meter.aggregation === 'sum'
        ? { $sum: value }
        : meter.aggregation === 'max'
          ? { $max: value }
          : {
              // Documents compare field by field: the greatest instant, then the greatest id.
              $max: { $cond: [isCounted, { at: '$occurredAt', id: '$_id', value }, null] },
            },
  };
}

/** One customer's hour as `$group` returns it: per meter, by its prefix, what its accumulators came to. */
interface GroupedHour {
  _id: { customerId: string; hour: EpochHour };
  [accumulator: string]: unknown;
}

/** A meter's part of a grouped hour. */
interface MeterFigure {
  readonly eventCount: number;
  readonly uncountable: number;
  /** Null when no fact was counted. */
  readonly value: unknown;
}

function figureOf(grouped: GroupedHour, prefix: string): MeterFigure {
  return {
    eventCount: grouped[`${prefix}Count`] as number,
    uncountable: (grouped[`${prefix}Uncountable`] as number | undefined) ?? 0,
    value: grouped[`${prefix}Value`],
  };
}

/**
 * The row of one meter. Made here and not by stages: on the way out of a pipeline they cost mongod more than reading
 * the facts.
 */
function toRow(
  meter: Meter,
  scope: DerivationScope,
  of: { hour: GroupedHour['_id']; figure: MeterFigure },
): DerivedRow {
  const { customerId, hour } = of.hour;
  const { eventCount, uncountable, value } = of.figure;
  const last = meter.aggregation === 'last' && value !== null ? (value as NonNullable<DerivedRow['last']>) : undefined;
  const quantity = meter.aggregation === 'count' ? eventCount : meter.aggregation === 'last' ? last?.value : value;
  return {
    _id: rowKey(customerId, meter.key, new Date(scope.window?.fromMs ?? hour * HOUR_MS)),
    windowEnd: new Date(scope.window?.toMs ?? (hour + 1) * HOUR_MS),
    layout: scope.layout,
    eventCount,
    ...(uncountable > 0 && { uncountable }),
    quantity: toQuantity(quantity),
    ...(last !== undefined && { last }),
    ...(isAdditive(meter.aggregation) && { planDue: true as const }),
  };
}

/** A count is a number, a sum over no decimal the number 0, and a maximum of nothing null. */
function toQuantity(value: unknown): Decimal128 {
  if (value instanceof Decimal128) return value;
  return typeof value === 'number' ? toDecimal128(String(value)) : ZERO;
}

/** One pass over the facts of an event type for all aggregations but `unique`, whose values are needed one by one. */
function rowStages(scope: DerivationScope, eventType: string, meters: readonly Meter[]): Document[] {
  return [
    matchFacts(scope, eventType),
    {
      $group: Object.assign(
        { _id: { customerId: '$customerId', hour: '$hour' } },
        ...meters.map((meter, index) => accumulatorsOf(meter, prefixOf(index))),
      ) as Document,
    },
  ];
}

function prefixOf(index: number): string {
  return `m${index}`;
}

/** The distinct values of a `unique` meter per customer and hour, with how many facts had each. */
function uniqueStages(scope: DerivationScope, meter: Meter): Document[] {
  const condition = conditionOf(meter);
  return [
    matchFacts(scope, meter.eventType),
    ...(condition === undefined ? [] : [{ $match: { $expr: condition } }]),
    {
      $group: {
        _id: {
          customerId: '$customerId',
          hour: '$hour',
          value: fieldPath(meter.uniqueBy ?? { kind: 'quantity' }),
          ...(meter.groupBy.length > 0 && {
            by: meter.groupBy.map((field) => ({ $ifNull: [fieldPath(field), null] })),
          }),
        },
        facts: { $sum: 1 },
      },
    },
  ];
}

/** One distinct value of a customer's hour; `value` is undefined where the fact lacks it. */
export interface UniqueValueRow {
  customerId: string;
  hour: EpochHour;
  value: string | boolean | Decimal128 | undefined;
  by?: GroupValue[];
  facts: number;
}

export type GroupValue = string | boolean | Decimal128 | null;

/** The figure of one group of a customer's hour. */
export interface GroupRow {
  customerId: string;
  hour: EpochHour;
  by: GroupValue[];
  eventCount: number;
  quantity: Decimal128;
  last?: { at: Date; id: string; value: Decimal128 };
}

function groupStages(scope: DerivationScope, meter: Meter): Document[] {
  const value = '$mValue';
  const quantity =
    meter.aggregation === 'count' ? { $toDecimal: '$mCount' } : meter.aggregation === 'last' ? `${value}.value` : value;
  return [
    matchFacts(scope, meter.eventType),
    {
      $group: {
        _id: {
          customerId: '$customerId',
          hour: '$hour',
          by: meter.groupBy.map((field) => ({ $ifNull: [fieldPath(field), null] })),
        },
        ...accumulatorsOf(meter, 'm'),
      },
    },
    { $match: { mCount: { $gt: 0 } } },
    {
      $project: {
        _id: 0,
        customerId: '$_id.customerId',
        hour: '$_id.hour',
        by: '$_id.by',
        eventCount: '$mCount',
        quantity: { $ifNull: [{ $toDecimal: quantity }, ZERO] },
        ...(meter.aggregation === 'last' && { last: value }),
      },
    },
  ];
}

/** Reads raw facts and returns what they come to. Writes nothing. */
export class UsageDerivation {
  readonly #db: Db;
  readonly #holdStages: readonly Document[];

  /** @param holdStages stages after reading: a test's way to slow one run down before it merges. */
  constructor(db: Db, holdStages: readonly Document[] = []) {
    this.#db = db;
    this.#holdStages = holdStages;
  }

  /** The rows of meters that share an event type, except `unique` ones. */
  async rows(scope: DerivationScope, meters: readonly Meter[], session: ClientSession): Promise<DerivedRow[]> {
    const [first] = meters;
    if (first === undefined) return [];
    const hours = await this.#read<GroupedHour>(rowStages(scope, first.eventType, meters), session);
    const rows: DerivedRow[] = [];
    for (const grouped of hours) {
      for (const [index, meter] of meters.entries()) {
        const figure = figureOf(grouped, prefixOf(index));
        if (figure.eventCount + figure.uncountable > 0) rows.push(toRow(meter, scope, { hour: grouped._id, figure }));
      }
    }
    return rows;
  }

  /** The distinct values behind a `unique` meter. */
  async uniqueValues(scope: DerivationScope, meter: Meter, session: ClientSession): Promise<UniqueValueRow[]> {
    const found = await this.#read<{ _id: Omit<UniqueValueRow, 'facts'>; facts: number }>(
      uniqueStages(scope, meter),
      session,
    );
    return found.map(({ _id, facts }) => ({ ..._id, facts }));
  }

  /** The figures per group of a meter with `groupBy`, except `unique` ones. */
  async groups(scope: DerivationScope, meter: Meter, session: ClientSession): Promise<GroupRow[]> {
    return this.#read<GroupRow>(groupStages(scope, meter), session);
  }

  async #read<T extends Document>(stages: Document[], session: ClientSession): Promise<T[]> {
    try {
      return await this.#db
        .collection(USAGE_EVENTS)
        .aggregate<T>([...stages, ...this.#holdStages], { session, maxTimeMS: OPERATION_MS_MAX, allowDiskUse: true })
        .toArray();
    } catch (error) {
      throw toStorageError(error);
    }
  }
}
