import { type AnyBulkWriteOperation, type Collection, type Db, Decimal128, type Filter } from 'mongodb';
import { canonicalQuantity } from '../platform/quantity.ts';
import type { UnbilledUnknown } from './unbilled-usage.ts';
import { bySlices } from '../platform/mongo/slices.ts';
import { hasOnlyDuplicateKeys, toStorageError, translated } from '../platform/mongo/errors.ts';
import type { UnbilledPart, UnbilledReason } from '../customers/unbilled-reason.ts';

interface StoredPart {
  reason: UnbilledReason;
  from: Date;
  to: Date;
  quantity: Decimal128;
}

/** Usage of a customer's meter that is at Stripe and on no invoice, as of the last look. */
export interface UnbilledUsageDocument {
  _id: { customerId: string; meter: string };
  unit: string;
  stripeCustomerId: string;
  /** In time order. */
  parts: StoredPart[];
  /** Why that is meant, as a person said; absent where nobody did. */
  accepted?: string;
  checkedAt: Date;
  /** Which look found it. */
  look: string;
}

interface CheckDocument {
  _id: 'last';
  at: Date;
  elapsedMs: number;
  mirroredTo?: Date;
  unknown?: UnbilledUnknown;
}

/** As it is found, and as it is shown. */
export interface UnbilledUsageFigure {
  readonly customerId: string;
  readonly meter: string;
  readonly unit: string;
  readonly stripeCustomerId: string;
  readonly parts: readonly UnbilledPart[];
  readonly accepted?: string;
}

export const UNBILLED_USAGE = 'unbilled_usage';
const UNBILLED_CHECKS = 'unbilled_checks';

/** After every key of a meter. */
const AFTER_KEYS = '\u007f';

/** What the last look at unbilled usage found; replaced by every look. */
export class UnbilledUsageList {
  readonly #collection: Collection<UnbilledUsageDocument>;
  readonly #checks: Collection<CheckDocument>;

  constructor(db: Db) {
    this.#collection = db.collection<UnbilledUsageDocument>(UNBILLED_USAGE);
    this.#checks = db.collection<CheckDocument>(UNBILLED_CHECKS);
  }

  async save(found: readonly UnbilledUsageFigure[], look: { id: string; at: Date }): Promise<void> {
    if (found.length === 0) return;
    const writes = found.map((usage) => {
      const replacement = toDocument(usage, look);
      return { replaceOne: { filter: { _id: replacement._id }, replacement, upsert: true } };
    });
    await bySlices(writes, (slice) => this.#replaceAll(slice));
  }

  async #replaceAll(slice: AnyBulkWriteOperation<UnbilledUsageDocument>[]): Promise<void> {
    try {
      await this.#collection.bulkWrite(slice, { ordered: false });
    } catch (error) {
      // Two looks at once: what the other one has just inserted was found moments ago.
      if (!hasOnlyDuplicateKeys(error)) throw toStorageError(error);
    }
  }

  /** Forgets what this look did not find, and no later one: of everybody, or of one customer. */
  async prune(look: { id: string; at: Date }, customerId?: string): Promise<void> {
    const filter = {
      checkedAt: { $lte: look.at },
      look: { $ne: look.id },
      ...(customerId !== undefined && { _id: rangeOf(customerId, undefined) }),
    };
    await translated(this.#collection.deleteMany(filter));
  }

  async saveCheck(check: Omit<CheckDocument, '_id'>): Promise<void> {
    await translated(this.#checks.replaceOne({ _id: 'last' }, check, { upsert: true }));
  }

  /** The last look at everybody; undefined before the first. */
  async lastCheck(): Promise<Omit<CheckDocument, '_id'> | undefined> {
    return (await translated(this.#checks.findOne({ _id: 'last' }))) ?? undefined;
  }

  /** In order of customer and meter, after one. */
  async list(query: {
    customerId?: string;
    accepted?: boolean;
    after?: { customerId: string; meter: string };
    limit: number;
  }): Promise<(UnbilledUsageFigure & { checkedAt: Date })[]> {
    const { customerId, accepted, after } = query;
    const filter: Filter<UnbilledUsageDocument> = {
      _id: rangeOf(customerId, after),
      ...(accepted !== undefined && { accepted: { $exists: accepted } }),
    };
    return (await translated(this.#collection.find(filter).sort({ _id: 1 }).limit(query.limit).toArray())).map(
      toFigure,
    );
  }

  /** How many customers' meters have unbilled usage that nobody accepted, by reason; one may count under several. */
  async census(): Promise<{ reason: UnbilledReason; count: number }[]> {
    const found = this.#collection.aggregate<{ _id: UnbilledReason; count: number }>([
      { $match: { accepted: { $exists: false } } },
      { $project: { reasons: { $setUnion: ['$parts.reason'] } } },
      { $unwind: '$reasons' },
      { $group: { _id: '$reasons', count: { $sum: 1 } } },
      { $sort: { _id: 1 } },
    ]);
    return (await translated(found.toArray())).map(({ _id, count }) => ({ reason: _id, count }));
  }

  countAccepted(): Promise<number> {
    return translated(this.#collection.countDocuments({ accepted: { $exists: true } }));
  }
}

/** By the index on `_id`: its fields in order, of one customer or of all, after one. */
function rangeOf(
  customerId: string | undefined,
  after: { customerId: string; meter: string } | undefined,
): { $gt: UnbilledUsageDocument['_id']; $lt?: UnbilledUsageDocument['_id'] } {
  const first = { customerId: customerId ?? '', meter: '' };
  return {
    $gt: after === undefined ? first : { customerId: after.customerId, meter: after.meter },
    ...(customerId !== undefined && { $lt: { customerId, meter: AFTER_KEYS } }),
  };
}

function toDocument(usage: UnbilledUsageFigure, look: { id: string; at: Date }): UnbilledUsageDocument {
  const { customerId, meter, parts, ...rest } = usage;
  return {
    _id: { customerId, meter },
    ...rest,
    parts: parts.map(({ reason, fromMs, toMs, quantity }) => ({
      reason,
      from: new Date(fromMs),
      to: new Date(toMs),
      quantity: Decimal128.fromString(quantity),
    })),
    checkedAt: look.at,
    look: look.id,
  };
}

function toFigure({
  _id,
  parts,
  look: _look,
  ...rest
}: UnbilledUsageDocument): UnbilledUsageFigure & { checkedAt: Date } {
  return {
    ..._id,
    ...rest,
    parts: parts.map(({ reason, from, to, quantity }) => ({
      reason,
      fromMs: from.getTime(),
      toMs: to.getTime(),
      quantity: canonicalQuantity(quantity.toString()),
    })),
  };
}
