import { type ClientSession, type Db, Decimal128, type Document } from 'mongodb';
import { isAdditive, type Meter } from '../meters/meter.ts';
import { addQuantities, canonicalQuantity } from '../platform/quantity.ts';
import type { EpochHour } from '../customers/calendar/window.ts';
import { HOUR_MS } from '../platform/durations.ts';
import { type AdjustmentTotal, AdjustmentTotals } from '../usage/adjustment-totals-store.ts';
import { REPLY_DOCUMENTS_MAX } from '../platform/mongo/cursor.ts';
import { OPERATION_MS_MAX } from '../platform/mongo/database.ts';
import { toDecimal128 } from '../platform/mongo/decimal128.ts';
import type { DerivationScope } from '../usage/derivation-scope-store.ts';
import { groupStages, prefixOf, rowStages, uniqueStages } from './derivation-stages-store.ts';
import { toStorageError } from '../platform/mongo/errors.ts';
import { findBySlices } from '../platform/mongo/slices.ts';
import { USAGE_EVENTS } from '../usage/usage-events-store.ts';

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

/** One customer's hour as `$group` returns it: per meter, by its prefix, what its accumulators came to. */
interface GroupedHour {
  _id: { customerId: string; hour: EpochHour };
  [accumulator: string]: unknown;
}

/** A meter's part of a customer's hour. */
interface MeterFigure {
  readonly eventCount: number;
  readonly uncountable: number;
  readonly quantity: Decimal128;
  readonly last?: NonNullable<DerivedRow['last']>;
}

const NO_FACTS: MeterFigure = { eventCount: 0, uncountable: 0, quantity: ZERO };

function figureOf(meter: Meter, grouped: GroupedHour, prefix: string): MeterFigure {
  const eventCount = grouped[`${prefix}Count`] as number;
  /** Null when no fact was counted. */
  const value = grouped[`${prefix}Value`];
  const last = meter.aggregation === 'last' && value !== null ? (value as NonNullable<DerivedRow['last']>) : undefined;
  return {
    eventCount,
    uncountable: (grouped[`${prefix}Uncountable`] as number | undefined) ?? 0,
    quantity: toQuantity(
      meter.aggregation === 'count' ? eventCount : meter.aggregation === 'last' ? last?.value : value,
    ),
    ...(last !== undefined && { last }),
  };
}

/** Adjustments count as facts: the fence compares how many were counted. */
function withTotal<T extends { eventCount: number; quantity: Decimal128 }>(figure: T, total: AdjustmentTotal): T {
  const quantity = addQuantities(canonicalQuantity(figure.quantity.toString()), total.quantity);
  return { ...figure, eventCount: figure.eventCount + total.count, quantity: toDecimal128(quantity) };
}

/**
 * The row of one meter. Made here and not by stages: on the way out of a pipeline they cost mongod more than reading
 * the facts.
 */
function toRow(
  meter: Meter,
  scope: DerivationScope,
  of: { hour: { customerId: string; hour: EpochHour }; figure: MeterFigure },
): DerivedRow {
  const { customerId, hour } = of.hour;
  const { eventCount, uncountable, quantity, last } = of.figure;
  return {
    _id: rowKey(customerId, meter.key, new Date(scope.window?.fromMs ?? hour * HOUR_MS)),
    windowEnd: new Date(scope.window?.toMs ?? (hour + 1) * HOUR_MS),
    layout: scope.layout,
    eventCount,
    ...(uncountable > 0 && { uncountable }),
    quantity,
    ...(last !== undefined && { last }),
    ...(isAdditive(meter.aggregation) && { planDue: true as const }),
  };
}

/** A count is a number, a sum over no decimal the number 0, and a maximum of nothing null. */
function toQuantity(value: unknown): Decimal128 {
  if (value instanceof Decimal128) return value;
  return typeof value === 'number' ? toDecimal128(String(value)) : ZERO;
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

/** Adjustments have none of the fields that a meter groups by: they belong to the group of the facts that lack them. */
function addToGroups(groups: GroupRow[], total: AdjustmentTotal, fields: number): void {
  const { customerId, hour } = total;
  const index = groups.findIndex(
    (group) => group.customerId === customerId && group.hour === hour && group.by.every((value) => value === null),
  );
  const found = groups[index];
  if (found !== undefined) {
    groups[index] = withTotal(found, total);
    return;
  }
  const by = new Array<null>(fields).fill(null);
  groups.push(withTotal({ customerId, hour, by, eventCount: 0, quantity: ZERO }, total));
}

/** The figure with the adjustments of its hour and meter, which are taken out of the map. */
function takeTotal(totals: Map<string, AdjustmentTotal>, text: string, figure: MeterFigure): MeterFigure {
  const total = totals.get(text);
  if (total === undefined) return figure;
  totals.delete(text);
  return withTotal(figure, total);
}

function textOf(hour: { customerId: string; hour: EpochHour }, meter: string): string {
  return `${hour.customerId}\u001f${hour.hour}\u001f${meter}`;
}

/** Reads raw facts and returns what they come to. Writes nothing. */
export class UsageDerivation {
  readonly #db: Db;
  readonly #holdStages: readonly Document[];
  readonly #adjustments: AdjustmentTotals;

  /** @param holdStages stages after reading: a test's way to slow one run down before it merges. */
  constructor(db: Db, holdStages: readonly Document[] = []) {
    this.#db = db;
    this.#holdStages = holdStages;
    this.#adjustments = new AdjustmentTotals(db);
  }

  /** The rows of meters that share an event type, except `unique` ones. */
  async rows(scope: DerivationScope, meters: readonly Meter[], session: ClientSession): Promise<DerivedRow[]> {
    return findBySlices(meters, (slice) => this.#rowsOf(scope, slice, session));
  }

  async #rowsOf(scope: DerivationScope, meters: readonly Meter[], session: ClientSession): Promise<DerivedRow[]> {
    const [first] = meters;
    if (first === undefined) return [];
    const stages = rowStages(scope, first.eventType, meters);
    const readEvents = () => this.#read<GroupedHour>(stages, session);
    const { events, totals } = await this.#adjustments.readBeside({ scope, meters, readEvents }, session);
    const adjusted = new Map(totals.map((total) => [textOf(total, total.meter), total]));
    const rows: DerivedRow[] = [];
    for (const grouped of events) {
      for (const [index, meter] of meters.entries()) {
        let figure = figureOf(meter, grouped, prefixOf(index));
        if (adjusted.size > 0) figure = takeTotal(adjusted, textOf(grouped._id, meter.key), figure);
        if (figure.eventCount + figure.uncountable > 0) rows.push(toRow(meter, scope, { hour: grouped._id, figure }));
      }
    }
    for (const total of adjusted.values()) {
      const meter = meters.find(({ key }) => key === total.meter);
      if (meter !== undefined) rows.push(toRow(meter, scope, { hour: total, figure: withTotal(NO_FACTS, total) }));
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
    const readEvents = () => this.#read<GroupRow>(groupStages(scope, meter), session);
    const { events, totals } = await this.#adjustments.readBeside({ scope, meters: [meter], readEvents }, session);
    for (const total of totals) addToGroups(events, total, meter.groupBy.length);
    return events;
  }

  async #read<T extends Document>(stages: Document[], session: ClientSession): Promise<T[]> {
    try {
      return await this.#db
        .collection(USAGE_EVENTS)
        .aggregate<T>([...stages, ...this.#holdStages], {
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
}
