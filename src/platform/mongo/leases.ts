import type { Collection, Db, Document } from 'mongodb';
import { translated } from './errors.ts';
import { bySlices, findBySlices, SLICE_UPDATES_MAX } from './slices.ts';

/**
 * Leases save work; correctness never rests on one. The server's clock decides expiry, so that no two holders have to
 * agree on the time.
 */
export interface LeaseDocument {
  _id: string;
  holder: string;
  /** Rises whenever the holder changes. */
  epoch: number;
  expiresAt: Date;
}

export const LEASES = 'leases';

export class Leases {
  readonly #collection: Collection<LeaseDocument>;
  readonly #holder: string;

  /** @param holder names this process, uniquely. */
  constructor(db: Db, holder: string) {
    this.#collection = db.collection<LeaseDocument>(LEASES);
    this.#holder = holder;
  }

  /** Takes or prolongs leases; returns the names of those that this process holds now. */
  async acquire(names: readonly string[], durationMs: number): Promise<Set<string>> {
    const update = acquisition(this.#holder, durationMs);
    const updates = names.map((name) => ({ updateOne: { filter: { _id: name }, update, upsert: true } }));
    await bySlices(
      updates,
      (slice) => translated(this.#collection.bulkWrite(slice, { ordered: false })),
      SLICE_UPDATES_MAX,
    );
    const held = await findBySlices(names, (slice) =>
      translated(
        this.#collection.find({ _id: { $in: slice }, holder: this.#holder }, { projection: { _id: 1 } }).toArray(),
      ),
    );
    return new Set(held.map(({ _id }) => _id));
  }

  /** Gives leases back at once. */
  async release(names: readonly string[]): Promise<void> {
    await bySlices(names, (slice) =>
      translated(
        this.#collection.updateMany(
          { _id: { $in: slice }, holder: this.#holder },
          { $set: { expiresAt: new Date(0) } },
        ),
      ),
    );
  }
}

function acquisition(holder: string, durationMs: number): Document[] {
  const isFree = {
    $or: [{ $eq: [{ $type: '$holder' }, 'missing'] }, { $eq: ['$holder', holder] }, { $lte: ['$expiresAt', '$$NOW'] }],
  };
  return [
    { $set: { isFree } },
    {
      $set: {
        epoch: {
          $cond: [
            { $and: ['$isFree', { $ne: ['$holder', holder] }] },
            { $add: [{ $ifNull: ['$epoch', 0] }, 1] },
            '$epoch',
          ],
        },
        expiresAt: { $cond: ['$isFree', { $add: ['$$NOW', durationMs] }, '$expiresAt'] },
      },
    },
    { $set: { holder: { $cond: ['$isFree', holder, '$holder'] } } },
    { $unset: 'isFree' },
  ];
}
