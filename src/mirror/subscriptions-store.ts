import type { Collection, Db } from 'mongodb';
import { groupBy } from '../platform/grouping.ts';
import type { Subscription, SubscriptionItem } from './subscription.ts';
import { isDuplicateKey, toStorageError, translated } from '../platform/mongo/errors.ts';
import { bySlices, findBySlices, SLICE_UPDATES_MAX } from '../platform/mongo/slices.ts';

/** A subscription at Stripe as it was last fetched. */
export interface SubscriptionDocument {
  /** Stripe's id. */
  _id: string;
  stripeCustomerId: string;
  status: string;
  items: SubscriptionItem[];
  billingCycleAnchor: Date;
  anchorDay?: number;
  startAt: Date;
  trialStart?: Date;
  trialEnd?: Date;
  createdAt?: Date;
  endedAt?: Date;
  cancelAt?: Date;
  /** Rises with every fetch that was stored, for compare-and-set. */
  mirrorRevision: number;
  /** Set with every fetch; unset once the calendar of the customer it belongs to says so. */
  calendarDue?: true;
}

export const SUBSCRIPTIONS = 'subscriptions';

/** Subscriptions of one customer that are looked at, the latest. Stripe allows 500 that have not ended. */
const PER_CUSTOMER_MAX = 1_000;

/** The mirror of subscriptions. */
export class SubscriptionMirror {
  readonly #collection: Collection<SubscriptionDocument>;

  constructor(db: Db) {
    this.#collection = db.collection<SubscriptionDocument>(SUBSCRIPTIONS);
  }

  find(id: string): Promise<SubscriptionDocument | null> {
    return translated(this.#collection.findOne({ _id: id }));
  }

  /**
   * Stores what was fetched after the given revision was read; undefined: after nothing was found.
   * @returns whether nobody stored another fetch meanwhile.
   */
  async save(subscription: Subscription, previousRevision: number | undefined): Promise<boolean> {
    const document: SubscriptionDocument = {
      ...subscription,
      items: [...subscription.items],
      mirrorRevision: (previousRevision ?? 0) + 1,
      calendarDue: true,
    };
    try {
      if (previousRevision === undefined) {
        await this.#collection.insertOne(document);
        return true;
      }
      const filter = { _id: document._id, mirrorRevision: previousRevision };
      return (await this.#collection.replaceOne(filter, document)).matchedCount === 1;
    } catch (error) {
      if (isDuplicateKey(error)) return false;
      throw toStorageError(error);
    }
  }

  /** Every subscription of a customer at Stripe. */
  ofCustomer(stripeCustomerId: string): Promise<SubscriptionDocument[]> {
    const query = this.#collection.find({ stripeCustomerId });
    return translated(query.sort({ startAt: -1, _id: 1 }).limit(PER_CUSTOMER_MAX).toArray());
  }

  /** Every subscription of each of these customers at Stripe; those without have no entry. */
  async ofCustomers(stripeCustomerIds: readonly string[]): Promise<Map<string, SubscriptionDocument[]>> {
    const found = await findBySlices(stripeCustomerIds, (slice) =>
      translated(this.#collection.find({ stripeCustomerId: { $in: slice } }).toArray()),
    );
    return groupBy(found, ({ stripeCustomerId }) => stripeCustomerId);
  }

  /** Customers at Stripe whose calendar is not known to say what their subscriptions say, in order, after one. */
  async waiting(after: string, limit: number): Promise<string[]> {
    const query = this.#collection.find(
      { calendarDue: true, stripeCustomerId: { $gt: after } },
      { projection: { stripeCustomerId: 1 } },
    );
    const found = await translated(query.sort({ stripeCustomerId: 1 }).limit(limit).toArray());
    return [...new Set(found.map(({ stripeCustomerId }) => stripeCustomerId))];
  }

  /** Says that the calendar follows from these, as they were read. */
  async finishCalendar(read: readonly { _id: string; mirrorRevision: number; calendarDue?: true }[]): Promise<void> {
    const due = read.filter(({ calendarDue }) => calendarDue === true);
    const updates = due.map(({ _id, mirrorRevision }) => ({
      updateOne: { filter: { _id, mirrorRevision }, update: { $unset: { calendarDue: 1 as const } } },
    }));
    await bySlices(
      updates,
      (slice) => translated(this.#collection.bulkWrite(slice, { ordered: false })),
      SLICE_UPDATES_MAX,
    );
  }

  /** Whether any subscription that has not ended bills usage. */
  async hasBillingUsage(): Promise<boolean> {
    const filter = { 'items.stripeMeterId': { $exists: true }, endedAt: { $exists: false } };
    return (await translated(this.#collection.findOne(filter, { projection: { _id: 1 } }))) !== null;
  }
}
