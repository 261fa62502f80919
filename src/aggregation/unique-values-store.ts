import { createHash } from 'node:crypto';
import { type ClientSession, type Collection, type Db, Decimal128 } from 'mongodb';
import { canonicalQuantity } from '../platform/quantity.ts';
import { countedValues, type ValueScope } from './counted-values-store.ts';
import { translated } from '../platform/mongo/errors.ts';
import { insertAbsent } from '../platform/mongo/insert-absent.ts';
import { bySlices } from '../platform/mongo/slices.ts';
import { canonicalProperty } from '../meters/property.ts';

/** A distinct value that a `unique` meter saw in a window. The set only grows, like the facts behind it. */
export interface UniqueValueDocument {
  _id: { customerId: string; meter: string; windowStart: Date; value: string };
  layout: number;
}

export const UNIQUE_VALUES = 'unique_values';
/** Longer values are stored by their hash. */
const VALUE_BYTES_MAX = 128;

/** The text that stands for a value: type and canonical form, hashed where it is long. */
export function uniqueValueText(value: string | boolean | Decimal128): string {
  const text = value instanceof Decimal128 ? `n:${canonicalQuantity(value.toString())}` : canonicalProperty(value);
  if (Buffer.byteLength(text) <= VALUE_BYTES_MAX) return text;
  return `h:${createHash('sha256').update(text).digest('base64url')}`;
}

export class UniqueValues {
  readonly #db: Db;
  readonly #collection: Collection<UniqueValueDocument>;

  constructor(db: Db) {
    this.#db = db;
    this.#collection = db.collection<UniqueValueDocument>(UNIQUE_VALUES);
  }

  /** Adds values to their windows; those already there stay, under the higher layout. */
  async add(values: readonly UniqueValueDocument[], session: ClientSession): Promise<void> {
    await bySlices(values, (slice) => this.#addSome(slice, session));
  }

  /** Looks first: a value that is there costs no write, and an insert a quarter of what an upsert would. */
  async #addSome(slice: readonly UniqueValueDocument[], session: ClientSession): Promise<void> {
    const found = await translated(
      this.#collection.find({ _id: { $in: slice.map(({ _id }) => _id) } }, { session }).toArray(),
    );
    const layouts = new Map(found.map(({ _id, layout }) => [keyText(_id), layout]));
    const absent = slice.filter(({ _id }) => !layouts.has(keyText(_id)));
    const taken = await insertAbsent(this.#collection, absent, session);
    const raised = slice.filter(({ _id, layout }) => (layouts.get(keyText(_id)) ?? layout) < layout);
    const writes = [...raised, ...taken.map((index) => absent[index] as UniqueValueDocument)];
    if (writes.length === 0) return;
    await translated(
      this.#collection.bulkWrite(
        writes.map(({ _id, layout }) => ({
          updateOne: { filter: { _id }, update: { $max: { layout } }, upsert: true },
        })),
        { ordered: false, session },
      ),
    );
  }

  /** How the distinct count of a scope grew: per window with new values, in time order, the count so far. */
  async growth(scope: ValueScope): Promise<{ windowStart: Date; count: number }[]> {
    const stages = [
      { $match: await countedValues(this.#db, [scope]) },
      { $group: { _id: '$_id.value', windowStart: { $min: '$_id.windowStart' } } },
      { $group: { _id: '$windowStart', count: { $sum: 1 } } },
      { $sort: { _id: 1 } },
    ];
    const steps = await translated(this.#collection.aggregate<{ _id: Date; count: number }>(stages).toArray());
    let total = 0;
    return steps.map(({ _id, count }) => ({ windowStart: _id, count: (total += count) }));
  }
}

function keyText(key: UniqueValueDocument['_id']): string {
  return `${key.customerId}\u001f${key.meter}\u001f${key.windowStart.getTime()}\u001f${key.value}`;
}
