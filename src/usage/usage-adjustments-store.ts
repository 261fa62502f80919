import { Binary, type Collection, type Db, type Decimal128, type Filter } from 'mongodb';
import { type Adjustment, adjustmentFingerprint } from './adjustment.ts';
import { canonicalQuantity } from '../platform/quantity.ts';
import { type EpochHour, epochHourOf } from '../customers/calendar/window.ts';
import { toDecimal128 } from '../platform/mongo/decimal128.ts';
import { isDuplicateKey, toStorageError, translated } from '../platform/mongo/errors.ts';
import { idempotencyKeyOf, usageEventId } from './usage-events-store.ts';

/** Corrections of usage: facts of their own beside the usage events, and as append-only as those. */
export interface UsageAdjustmentDocument {
  /** Made like that of a usage event; the same key may name an event and an adjustment. */
  _id: string;
  customerId: string;
  meter: string;
  occurredAt: Date;
  /** UTC epoch hour of `occurredAt`. */
  hour: EpochHour;
  /** May be negative. */
  quantity: Decimal128;
  reason: string;
  actor: string;
  receivedAt: Date;
  /** 16 bytes over the content: the same key with another fingerprint is a conflict. */
  fingerprint: Binary;
}

export const USAGE_ADJUSTMENTS = 'usage_adjustments';

/** An adjustment as it was stored. */
export interface StoredAdjustment extends Adjustment {
  readonly receivedAtMs: number;
}

/** Where a page of adjustments ended. */
export interface AdjustmentPosition {
  readonly receivedAtMs: number;
  readonly id: string;
}

export class UsageAdjustments {
  readonly #collection: Collection<UsageAdjustmentDocument>;

  constructor(db: Db) {
    this.#collection = db.collection<UsageAdjustmentDocument>(USAGE_ADJUSTMENTS);
  }

  /** Stores an adjustment unless one with this key is stored; durable when it returns. */
  async insert(adjustment: Adjustment, receivedAtMs: number): Promise<'inserted' | 'stored-before'> {
    try {
      await this.#collection.insertOne(toDocument(adjustment, receivedAtMs));
      return 'inserted';
    } catch (error) {
      if (isDuplicateKey(error)) return 'stored-before';
      throw toStorageError(error);
    }
  }

  /** The adjustment with a key of a customer, if it is stored durably. */
  async find(idempotencyKey: string, customerId: string): Promise<StoredAdjustment | undefined> {
    const found = await translated(this.#collection.findOne({ _id: usageEventId(idempotencyKey, customerId) }));
    return found === null ? undefined : toStoredAdjustment(found);
  }

  /** A page of adjustments, those received last first; `next` is where another begins, if there is more. */
  async list(query: {
    customerId?: string;
    meter?: string;
    after?: AdjustmentPosition;
    limit: number;
  }): Promise<{ adjustments: StoredAdjustment[]; next?: AdjustmentPosition }> {
    const { customerId, meter, after, limit } = query;
    const filter: Filter<UsageAdjustmentDocument> = {
      ...(customerId !== undefined && { customerId }),
      ...(meter !== undefined && { meter }),
      ...(after !== undefined && {
        $or: [
          { receivedAt: { $lt: new Date(after.receivedAtMs) } },
          { receivedAt: new Date(after.receivedAtMs), _id: { $lt: after.id } },
        ],
      }),
    };
    const newestFirst = this.#collection.find(filter).sort({ receivedAt: -1, _id: -1 });
    const found = await translated(newestFirst.limit(limit + 1).toArray());
    const shown = found.slice(0, limit);
    const last = shown.at(-1);
    return {
      adjustments: shown.map(toStoredAdjustment),
      ...(last !== undefined &&
        found.length > limit && { next: { receivedAtMs: last.receivedAt.getTime(), id: last._id } }),
    };
  }
}

function toDocument(adjustment: Adjustment, receivedAtMs: number): UsageAdjustmentDocument {
  const { idempotencyKey, customerId, meter, occurredAtMs, quantity, reason, actor } = adjustment;
  return {
    _id: usageEventId(idempotencyKey, customerId),
    customerId,
    meter,
    occurredAt: new Date(occurredAtMs),
    hour: epochHourOf(occurredAtMs),
    quantity: toDecimal128(quantity),
    reason,
    actor,
    receivedAt: new Date(receivedAtMs),
    fingerprint: new Binary(adjustmentFingerprint(adjustment)),
  };
}

export function toStoredAdjustment(document: UsageAdjustmentDocument): StoredAdjustment {
  const { _id, customerId, meter, occurredAt, quantity, reason, actor, receivedAt } = document;
  return {
    idempotencyKey: idempotencyKeyOf(_id),
    customerId,
    meter,
    occurredAtMs: occurredAt.getTime(),
    quantity: canonicalQuantity(quantity.toString()),
    reason,
    actor,
    receivedAtMs: receivedAt.getTime(),
  };
}
