import { createHash } from 'node:crypto';
import type { Collection, Db } from 'mongodb';
import { translated } from './errors.ts';
import { bySlices } from './slices.ts';

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

export class RejectedEvents {
  readonly #collection: Collection<RejectedEventDocument>;

  constructor(db: Db) {
    this.#collection = db.collection<RejectedEventDocument>(REJECTED_EVENTS);
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
    await bySlices(updates, (slice) => translated(this.#collection.bulkWrite(slice, { ordered: false })));
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
