import type { Collection, Db, Filter } from 'mongodb';
import type { MappedIdDecision, MappedIdRecord } from './mapped-id.ts';
import { isDuplicateKey, toStorageError, translated } from '../../platform/mongo/errors.ts';
import { METER_SUBMISSIONS, type MeterSubmissionDocument } from '../meter-submissions-store.ts';
import { findBySlices } from '../../platform/mongo/slices.ts';

interface Decided {
  customerId: string;
  decision: MappedIdDecision;
  actor: string;
  reason: string;
  at: Date;
}

/** What a person decided about usage under a Stripe customer's own id that another customer is mapped to. */
export interface MappedIdDocument extends Decided {
  _id: string;
  pending?: true;
  /** Decisions before this one. */
  earlier: Decided[];
}

const MAPPED_IDS = 'mapped_ids';
/** Of one id: there are two decisions, and a mapping that changes now and then. */
const EARLIER_MAX = 100;

/** Decisions about ids of Stripe's, and their submissions that can never be sent. */
export class MappedIds {
  readonly #collection: Collection<MappedIdDocument>;
  readonly #submissions: Collection<MeterSubmissionDocument>;

  constructor(db: Db) {
    this.#collection = db.collection<MappedIdDocument>(MAPPED_IDS);
    this.#submissions = db.collection<MeterSubmissionDocument>(METER_SUBMISSIONS);
  }

  find(id: string): Promise<MappedIdDocument | null> {
    return translated(this.#collection.findOne({ _id: id }));
  }

  /** Records a decision on top of the one that it was made after; returns whether nobody was quicker. */
  async save(record: MappedIdRecord, before: MappedIdDocument | null): Promise<boolean> {
    const { _id, ...decided } = record;
    if (before === null) {
      try {
        await this.#collection.insertOne({ _id, ...decided, earlier: [] });
        return true;
      } catch (error) {
        if (isDuplicateKey(error)) return false;
        throw toStorageError(error);
      }
    }
    const { customerId, decision, actor, reason, at } = before;
    const made = await translated(
      this.#collection.updateOne(
        { _id, at },
        {
          $set: decided,
          $push: { earlier: { $each: [{ customerId, decision, actor, reason, at }], $slice: -EARLIER_MAX } },
        },
      ),
    );
    return made.matchedCount === 1;
  }

  /** Of these ids those whose usage counts with another customer, and with which. */
  async counting(ids: readonly string[]): Promise<Map<string, string>> {
    const found = await findBySlices(ids, (slice) =>
      translated(this.#collection.find({ _id: { $in: slice }, decision: 'count' }).toArray()),
    );
    return new Map(found.map(({ _id, customerId }) => [_id, customerId]));
  }

  /** Decisions of which something may be left to do; and of ids that count, those for which something is blocked again. */
  async due(): Promise<MappedIdDocument[]> {
    const all = await translated(this.#collection.find({ $or: [{ pending: true }, { decision: 'count' }] }).toArray());
    const counting = all.filter(({ pending }) => pending !== true).map(({ _id }) => _id);
    const blocked = await findBySlices(counting, (slice) =>
      translated(this.#submissions.distinct('customerId', { customerId: { $in: slice }, ...BLOCKED_ELSEWHERE })),
    );
    return all.filter(({ _id, pending }) => pending === true || blocked.includes(_id));
  }

  /** Says that all was done that follows from a decision, unless another was made meanwhile. */
  async finish(id: string, at: Date): Promise<void> {
    await translated(this.#collection.updateOne({ _id: id, at }, { $unset: { pending: 1 } }));
  }

  /** Submissions of an id that are blocked because another customer is mapped to it. */
  blocked(
    id: string,
    bounds: { plannedBy?: Date; limit: number },
  ): Promise<Pick<MeterSubmissionDocument, '_id' | 'state' | 'attempts'>[]> {
    const filter: Filter<MeterSubmissionDocument> = {
      customerId: id,
      ...BLOCKED_ELSEWHERE,
      ...(bounds.plannedBy !== undefined && { plannedAt: { $lte: bounds.plannedBy } }),
    };
    return translated(this.#submissions.find(filter).sort({ _id: 1 }).limit(bounds.limit).toArray());
  }
}

const BLOCKED_ELSEWHERE: Filter<MeterSubmissionDocument> = {
  state: 'blocked',
  reason: { $in: ['customer_mapped_elsewhere', 'customer_not_mapped'] },
};
