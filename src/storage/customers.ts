import type { ClientSession, Collection, Db, Filter } from 'mongodb';
import { type BillingCustomer, isStripeCustomerId, unknownCustomer } from '../domain/billing-customer.ts';
import { calendarsOf } from '../domain/customer.ts';
import type { BillingInterval } from '../domain/period.ts';
import { isDuplicateKey, toStorageError, translated } from './errors.ts';

/** A customer as the team told us. Customers nobody told us about have no document and still have usage. */
export interface CustomerDocument {
  _id: string;
  stripeCustomerId?: string;
  name?: string;
  email?: string;
  timeZone?: string;
  currency?: string;
  billingAnchor?: Date;
  billingInterval?: BillingInterval;
  submitFrom?: Date;
  /** Every change of anchor or interval, oldest first; the last is in force. */
  calendars: { layout: number; anchor?: Date; interval?: BillingInterval }[];
  /** Set with a change that alters how usage is derived or planned; unset once the hours concerned are queued. */
  requeueFrom?: Date;
  /** Rises with every change, for compare-and-set. */
  revision: number;
  createdAt: Date;
  updatedAt: Date;
}

export const CUSTOMERS = 'customers';

export class Customers {
  readonly #collection: Collection<CustomerDocument>;

  constructor(db: Db) {
    this.#collection = db.collection<CustomerDocument>(CUSTOMERS);
  }

  find(customerId: string, session?: ClientSession): Promise<CustomerDocument | null> {
    return translated(this.#collection.findOne({ _id: customerId }, { ...(session && { session }) }));
  }

  /** Inserts a new document, or replaces the one of the given revision unless someone else was quicker. */
  async save(
    document: CustomerDocument,
    previousRevision: number | undefined,
  ): Promise<'saved' | 'changed' | 'mapping-taken'> {
    try {
      if (previousRevision === undefined) {
        await this.#collection.insertOne(document);
        return 'saved';
      }
      const result = await this.#collection.replaceOne({ _id: document._id, revision: previousRevision }, document);
      return result.matchedCount === 1 ? 'saved' : 'changed';
    } catch (error) {
      if (!isDuplicateKey(error)) throw toStorageError(error);
      return isMappingTaken(error) ? 'mapping-taken' : 'changed';
    }
  }

  list(query: { after?: string; unmapped?: boolean; limit: number }): Promise<CustomerDocument[]> {
    const filter: Filter<CustomerDocument> = {
      ...(query.after !== undefined && { _id: { $gt: query.after } }),
      ...(query.unmapped === true && { stripeCustomerId: { $exists: false } }),
    };
    return translated(this.#collection.find(filter).sort({ _id: 1 }).limit(query.limit).toArray());
  }

  /** Those whose hours are still to be queued after a change. */
  listToRequeue(limit: number): Promise<CustomerDocument[]> {
    return translated(
      this.#collection
        .find({ requeueFrom: { $exists: true } })
        .limit(limit)
        .toArray(),
    );
  }

  /** Says that the hours were queued for the change that this revision made. */
  async finishRequeue(customerId: string, revision: number): Promise<void> {
    await translated(this.#collection.updateOne({ _id: customerId, revision }, { $unset: { requeueFrom: 1 } }));
  }

  /**
   * What derivation and planning need of each of these customers, known or not. An id of Stripe's that nobody told us
   * about maps to itself, unless another customer is mapped to it: then its usage has no destination.
   */
  async billingOf(customerIds: readonly string[], session?: ClientSession): Promise<Map<string, BillingCustomer>> {
    const options = {
      projection: { stripeCustomerId: 1, submitFrom: 1, calendars: 1 },
      ...(session && { session }),
    };
    const stripeIds = customerIds.filter(isStripeCustomerId);
    const found = await translated(
      this.#collection
        .find(
          stripeIds.length === 0
            ? { _id: { $in: [...customerIds] } }
            : { $or: [{ _id: { $in: [...customerIds] } }, { stripeCustomerId: { $in: stripeIds } }] },
          options,
        )
        .toArray(),
    );
    const known = new Map(found.map((document) => [document._id, toBillingCustomer(document)]));
    const taken = new Set(found.map((document) => document.stripeCustomerId));
    return new Map(customerIds.map((id) => [id, known.get(id) ?? unknownCustomer(id, taken.has(id))]));
  }

  /** All mapped customers that have a document, in order of id, in batches. */
  async *mapped(batchSize: number): AsyncGenerator<BillingCustomer[]> {
    let after = '';
    for (;;) {
      const page = await this.#collection
        .find({ _id: { $gt: after }, stripeCustomerId: { $exists: true } })
        .sort({ _id: 1 })
        .limit(batchSize)
        .toArray();
      if (page.length === 0) return;
      yield page.map(toBillingCustomer);
      after = page.at(-1)?._id ?? after;
    }
  }
}

/** Whether a violated unique index was the one on `stripeCustomerId`. */
function isMappingTaken(error: unknown): boolean {
  return (
    isDuplicateKey(error) &&
    JSON.stringify((error as { keyPattern?: unknown }).keyPattern ?? {}).includes('stripeCustomerId')
  );
}

export function toBillingCustomer(document: CustomerDocument): BillingCustomer {
  const stripeCustomerId = document.stripeCustomerId ?? (isStripeCustomerId(document._id) ? document._id : undefined);
  return {
    customerId: document._id,
    ...(stripeCustomerId !== undefined && { stripeCustomerId }),
    ...(document.submitFrom !== undefined && { submitFromMs: document.submitFrom.getTime() }),
    calendars: calendarsOf(document.calendars ?? []),
  };
}
