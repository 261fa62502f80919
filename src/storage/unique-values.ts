import { createHash } from 'node:crypto';
import { type ClientSession, type Collection, type Db, Decimal128, type Document } from 'mongodb';
import { canonicalQuantity } from '../domain/quantity.ts';
import { canonicalProperty } from '../domain/usage-event.ts';
import { toStorageError } from './errors.ts';
import type { RowRange } from './usage-aggregates.ts';
import { rowKey } from './usage-derivation.ts';

/** A distinct value that a `unique` meter saw in a window. The set only grows, like the facts behind it. */
export interface UniqueValueDocument {
  _id: { customerId: string; meter: string; windowStart: Date; value: string };
  layout: number;
}

export const UNIQUE_VALUES = 'unique_values';
/** Longer values are stored by their hash. */
const VALUE_BYTES_MAX = 128;
const WRITES_MAX = 1_000;

/** The text that stands for a value: type and canonical form, hashed where it is long. */
export function uniqueValueText(value: string | boolean | Decimal128): string {
  const text = value instanceof Decimal128 ? `n:${canonicalQuantity(value.toString())}` : canonicalProperty(value);
  if (Buffer.byteLength(text) <= VALUE_BYTES_MAX) return text;
  return `h:${createHash('sha256').update(text).digest('base64url')}`;
}

export class UniqueValues {
  readonly #collection: Collection<UniqueValueDocument>;

  constructor(db: Db) {
    this.#collection = db.collection<UniqueValueDocument>(UNIQUE_VALUES);
  }

  /** Adds values to their windows; those already there stay, under the higher layout. */
  async add(values: readonly UniqueValueDocument[], session: ClientSession): Promise<void> {
    for (let from = 0; from < values.length; from += WRITES_MAX) {
      try {
        await this.#collection.bulkWrite(
          values.slice(from, from + WRITES_MAX).map(({ _id, layout }) => ({
            updateOne: { filter: { _id }, update: { $max: { layout } }, upsert: true },
          })),
          { ordered: false, session },
        );
      } catch (error) {
        throw toStorageError(error);
      }
    }
  }

  /** The distinct values of windows that begin in a range. */
  async distinct(range: RowRange, session: ClientSession): Promise<{ value: string; windowStart: Date }[]> {
    return this.#collection
      .aggregate<{ value: string; windowStart: Date }>(
        [...firstSeenStages(range), { $project: { _id: 0, value: '$_id', windowStart: 1 } }],
        {
          session,
        },
      )
      .toArray();
  }

  /**
   * How the distinct count of a range grew: per window with new values, in time order, the count so far.
   */
  async growth(range: RowRange): Promise<{ windowStart: Date; count: number }[]> {
    const steps = await this.#collection
      .aggregate<{ _id: Date; count: number }>([
        ...firstSeenStages(range),
        { $group: { _id: '$windowStart', count: { $sum: 1 } } },
        { $sort: { _id: 1 } },
      ])
      .toArray();
    let total = 0;
    return steps.map(({ _id, count }) => ({ windowStart: _id, count: (total += count) }));
  }
}

function firstSeenStages(range: RowRange): Document[] {
  return [
    {
      $match: {
        _id: {
          $gte: { ...rowKey(range.customerId, range.meter, range.from), value: '' },
          $lt: { ...rowKey(range.customerId, range.meter, range.to), value: '' },
        },
      },
    },
    { $group: { _id: '$_id.value', windowStart: { $min: '$_id.windowStart' } } },
  ];
}
