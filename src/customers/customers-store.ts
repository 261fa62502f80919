import type { ClientSession, Collection, Db, Filter } from 'mongodb';
import { type BillingCustomer, isStripeCustomerId, unknownCustomer } from './calendar/billing-customer.ts';
import { mirrorCalendar, type StatedInterval } from './customer.ts';
import { type CalendarChange, calendarsOf, type MirroredCalendar } from './calendar/customer-calendar.ts';
import { DaemonError } from '../platform/errors.ts';
import { REPLY_DOCUMENTS_MAX } from '../platform/mongo/cursor.ts';
import { isDuplicateKey, toStorageError, translated } from '../platform/mongo/errors.ts';
import { bySlices, findBySlices } from '../platform/mongo/slices.ts';

/** A customer as the team told us. Customers nobody told us about have no document and still have usage. */
export interface CustomerDocument {
  _id: string;
  stripeCustomerId?: string;
  name?: string;
  email?: string;
  timeZone?: string;
  currency?: string;
  billingAnchor?: Date;
  billingInterval?: StatedInterval;
  submitFrom?: Date;
  unbilledReason?: string;
  /** Every change of the calendar, oldest first; the last is in force. */
  calendars: readonly CalendarChange[];
  /** Set with a change that alters how usage is derived or planned; unset once the hours concerned are queued. */
  requeueFrom?: Date;
  /** Rises with every change, for compare-and-set. */
  revision: number;
  createdAt: Date;
  updatedAt: Date;
}

export const CUSTOMERS = 'customers';
/** How often a change is decided again because someone else changed the customer meanwhile. */
const ATTEMPTS_MAX = 10;

export class Customers {
  readonly #collection: Collection<CustomerDocument>;

  constructor(db: Db) {
    this.#collection = db.collection<CustomerDocument>(CUSTOMERS);
  }

  find(customerId: string, session?: ClientSession): Promise<CustomerDocument | null> {
    return translated(this.#collection.findOne({ _id: customerId }, { ...(session && { session }) }));
  }

  /** Our customers by the Stripe customers they are mapped to; Stripe customers that nobody is mapped to are left out. */
  async mappedTo(stripeCustomerIds: readonly string[]): Promise<Map<string, string>> {
    const options = { projection: { stripeCustomerId: 1 } };
    const found = await findBySlices(stripeCustomerIds, (slice) =>
      translated(this.#collection.find({ stripeCustomerId: { $in: slice } }, options).toArray()),
    );
    return new Map(found.map(({ _id, stripeCustomerId }) => [stripeCustomerId ?? '', _id]));
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

  /**
   * Puts the billing calendar of a customer's subscriptions in force, or what the team stated if there are none, by
   * compare-and-set. The change and the mark that its hours are to be queued are one write; no change, no write.
   * @param mirrored undefined when no subscription of the customer bills usage.
   * @returns whether the customer changed.
   * @throws DaemonError `calendar_changes_too_many`, `write_contended`.
   */
  async setMirroredCalendar(customerId: string, mirrored: MirroredCalendar | undefined, at: Date): Promise<boolean> {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
      const before = (await this.find(customerId)) ?? undefined;
      const after = mirrorCalendar(before, { customerId, mirrored, nowMs: at.getTime() });
      if (after === before || after === undefined) return false;
      if ((await this.save(after, before?.revision)) === 'saved') return true;
    }
    throw new DaemonError({
      kind: 'transient',
      code: 'write_contended',
      message: 'The customer was changed by others all the time. Try again.',
      context: { customerId },
    });
  }

  /** Of these customers those whose usage nothing is to bill, and why. */
  async unbilledReasons(customerIds: readonly string[]): Promise<Map<string, string>> {
    const options = { projection: { unbilledReason: 1 } };
    const found = await findBySlices(customerIds, (slice) => {
      const filter = { _id: { $in: slice }, unbilledReason: { $exists: true } };
      return translated(this.#collection.find(filter, options).toArray());
    });
    return new Map(found.map(({ _id, unbilledReason = '' }) => [_id, unbilledReason]));
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
      batchSize: REPLY_DOCUMENTS_MAX,
      ...(session && { session }),
    };
    const known = new Map<string, BillingCustomer>();
    const taken = new Map<string | undefined, string>();
    const read = async (filter: Filter<CustomerDocument>): Promise<void> => {
      for (const document of await translated(this.#collection.find(filter, options).toArray())) {
        known.set(document._id, toBillingCustomer(document));
        taken.set(document.stripeCustomerId, document._id);
      }
    };
    await bySlices(customerIds, (slice) => read({ _id: { $in: slice } }));
    await bySlices(customerIds.filter(isStripeCustomerId), (slice) => read({ stripeCustomerId: { $in: slice } }));
    return new Map(customerIds.map((id) => [id, known.get(id) ?? unknownCustomer(id, taken.get(id))]));
  }

  /** All mapped customers that have a document, in order of id, in batches. */
  async *mapped(batchSize: number): AsyncGenerator<BillingCustomer[]> {
    let after = '';
    for (;;) {
      const page = await translated(
        this.#collection
          .find({ _id: { $gt: after }, stripeCustomerId: { $exists: true } })
          .sort({ _id: 1 })
          .limit(batchSize)
          .toArray(),
      );
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
