import { createHash } from 'node:crypto';
import type { Collection, Db } from 'mongodb';
import { translated } from '../platform/mongo/errors.ts';
import { bySlices, SLICE_UPDATES_MAX } from '../platform/mongo/slices.ts';

/** Input that was refused, kept for a person: the dead letters. */
export interface RejectedEventDocument {
  /** Hash of key, customer, text and reason: the same refusal again only raises `count`. */
  _id: string;
  /** The input as JSON text (BSON cannot hold every refused input), cut to `TEXT_BYTES_MAX`. */
  text: string;
  truncated?: boolean;
  idempotencyKey?: string;
  customerId?: string;
  code: string;
  detail: string;
  pointer: string;
  count: number;
  firstAt: Date;
  lastAt: Date;
}

export interface Rejection {
  readonly text: string;
  readonly truncated: boolean;
  readonly idempotencyKey?: string;
  readonly customerId?: string;
  readonly code: string;
  readonly detail: string;
  readonly pointer: string;
}

export const REJECTED_EVENTS = 'rejected_events';
/** Rejected events that are kept: with 16 KiB of text each, some 1.6 GB before compression. */
export const REJECTED_EVENTS_MAX = 100_000;
/** Refusals of one process after which it looks whether there are too many, besides the sweep of each minute. */
const LOOK_AFTER_MAX = 10_000;
/** Each is read with its text: enough to tell a person that there are some, and of which kinds. */
const CENSUS_MAX = 500;
/** How many were removed because there were too many. */
export const PRUNED_REJECTIONS = 'pruned_rejections';

interface PrunedDocument {
  _id: 'all';
  count: number;
  lastAt: Date;
}

export class RejectedEvents {
  readonly #collection: Collection<RejectedEventDocument>;
  readonly #pruned: Collection<PrunedDocument>;
  readonly #keptMax: number;
  #untilLook: number;

  constructor(db: Db, keptMax = REJECTED_EVENTS_MAX) {
    this.#collection = db.collection<RejectedEventDocument>(REJECTED_EVENTS);
    this.#pruned = db.collection<PrunedDocument>(PRUNED_REJECTIONS);
    this.#keptMax = keptMax;
    this.#untilLook = Math.min(LOOK_AFTER_MAX, keptMax);
  }

  /** Keeps refusals, durable when this returns. */
  async keep(rejections: readonly Rejection[], at: Date): Promise<void> {
    const updates = rejections.map(({ text, truncated, idempotencyKey, customerId, code, detail, pointer }) => ({
      updateOne: {
        filter: { _id: idOf({ text, idempotencyKey, customerId, code }) },
        update: {
          $setOnInsert: {
            text,
            ...(truncated && { truncated }),
            ...(idempotencyKey !== undefined && { idempotencyKey }),
            ...(customerId !== undefined && { customerId }),
            code,
            detail,
            pointer,
            firstAt: at,
          },
          $set: { lastAt: at },
          $inc: { count: 1 },
        },
        upsert: true,
      },
    }));
    await bySlices(
      updates,
      (slice) => translated(this.#collection.bulkWrite(slice, { ordered: false })),
      SLICE_UPDATES_MAX,
    );
    this.#untilLook -= rejections.length;
    if (this.#untilLook > 0) return;
    this.#untilLook = Math.min(LOOK_AFTER_MAX, this.#keptMax);
    await this.pruneExcess(at);
  }

  /** Newest first. `before` is the last entry of the page before. */
  list(query: {
    before?: { lastAt: Date; id: string };
    code?: string;
    limit: number;
  }): Promise<RejectedEventDocument[]> {
    const found = this.#collection
      .find({
        ...(query.code !== undefined && { code: query.code }),
        ...(query.before !== undefined && {
          $or: [
            { lastAt: { $lt: query.before.lastAt } },
            { lastAt: query.before.lastAt, _id: { $lt: query.before.id } },
          ],
        }),
      })
      .sort({ lastAt: -1, _id: -1 })
      .limit(query.limit)
      .toArray();
    return translated(found);
  }

  find(id: string): Promise<RejectedEventDocument | null> {
    return translated(this.#collection.findOne({ _id: id }));
  }

  /** Returns whether the entry was there. */
  async delete(id: string): Promise<boolean> {
    return (await translated(this.#collection.deleteOne({ _id: id }))).deletedCount === 1;
  }

  count(): Promise<number> {
    return translated(this.#collection.countDocuments({}));
  }

  /** How many of the newest `CENSUS_MAX` were refused after an instant, by code, the most frequent first. */
  async census(after: Date): Promise<{ code: string; count: number }[]> {
    const stages = [
      { $match: { lastAt: { $gt: after } } },
      { $sort: { lastAt: -1, _id: -1 } },
      { $limit: CENSUS_MAX },
      { $group: { _id: '$code', count: { $sum: 1 } } },
      { $sort: { count: -1, _id: 1 } },
    ];
    const found = this.#collection.aggregate<{ _id: string; count: number }>(stages);
    return (await translated(found.toArray())).map(({ _id, count }) => ({ code: _id, count }));
  }

  /** Removes those that were refused longest ago, until there are not too many; returns how many. */
  async pruneExcess(at: Date): Promise<number> {
    const excess = (await this.count()) - this.#keptMax;
    if (excess <= 0) return 0;
    const oldest = this.#collection.find({}, { projection: { lastAt: 1 } }).sort({ lastAt: 1, _id: 1 });
    const [last] = await translated(
      oldest
        .skip(excess - 1)
        .limit(1)
        .toArray(),
    );
    if (last === undefined) return 0;
    const { lastAt, _id } = last;
    const upTo = { $or: [{ lastAt: { $lt: lastAt } }, { lastAt, _id: { $lte: _id } }] };
    const { deletedCount } = await translated(this.#collection.deleteMany(upTo));
    const told = { $inc: { count: deletedCount }, $set: { lastAt: at } };
    await translated(this.#pruned.updateOne({ _id: 'all' }, told, { upsert: true }));
    return deletedCount;
  }

  /** How many were removed because there were too many, and when the last of them. */
  async pruned(): Promise<{ count: number; lastAt: Date } | undefined> {
    const found = await translated(this.#pruned.findOne({ _id: 'all' }, { projection: { _id: 0 } }));
    return found ?? undefined;
  }

  /** Removes entries that were last refused before an instant; returns how many. */
  async prune(before: Date): Promise<number> {
    return (await translated(this.#collection.deleteMany({ lastAt: { $lt: before } }))).deletedCount;
  }
}

/** Hexadecimal: an id that begins with a hyphen would be an option on a command line. */
function idOf(parts: {
  text: string;
  idempotencyKey: string | undefined;
  customerId: string | undefined;
  code: string;
}): string {
  return createHash('sha256')
    .update(JSON.stringify([parts.idempotencyKey ?? null, parts.customerId ?? null, parts.text, parts.code]))
    .digest('hex')
    .slice(0, 32);
}
