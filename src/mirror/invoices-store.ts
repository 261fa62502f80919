import { type Collection, type Db, Decimal128 } from 'mongodb';
import { type FinalPeriod, finalPeriods, type Invoice, type InvoiceLine } from './invoice.ts';
import { groupBy } from '../platform/grouping.ts';
import { canonicalQuantity } from '../platform/quantity.ts';
import { isDuplicateKey, toStorageError, translated } from '../platform/mongo/errors.ts';
import { findBySlices } from '../platform/mongo/slices.ts';

type StoredLine = Omit<InvoiceLine, 'quantityDecimal'> & { quantityDecimal?: Decimal128 };

/** An invoice at Stripe as it was last fetched. */
export interface InvoiceDocument extends Omit<Invoice, 'lines'> {
  lines: StoredLine[];
  /** The latest end of a line that bills usage; absent without one. */
  usageTo?: Date;
  /** Rises with every fetch that was stored, for compare-and-set. */
  mirrorRevision: number;
}

export const INVOICES = 'invoices';

/** Of one customer: more than can be of days for which Stripe still takes usage. */
const BOUNDARY_INVOICES_MAX = 100;

/** The mirror of invoices. */
export class InvoiceMirror {
  readonly #collection: Collection<InvoiceDocument>;

  constructor(db: Db) {
    this.#collection = db.collection<InvoiceDocument>(INVOICES);
  }

  async find(id: string): Promise<(Invoice & { mirrorRevision: number }) | null> {
    const found = await translated(this.#collection.findOne({ _id: id }));
    return found === null ? null : { ...toInvoice(found), mirrorRevision: found.mirrorRevision };
  }

  /**
   * Stores what was fetched after the given revision was read; undefined: after nothing was found.
   * @returns whether nobody stored another fetch meanwhile.
   */
  async save(invoice: Invoice, previousRevision: number | undefined): Promise<boolean> {
    const document = toDocument(invoice, (previousRevision ?? 0) + 1);
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

  /** Removes one that Stripe has no more; returns whether nobody stored another fetch meanwhile. */
  async remove(id: string, previousRevision: number): Promise<boolean> {
    const filter = { _id: id, mirrorRevision: previousRevision };
    return (await translated(this.#collection.deleteOne(filter))).deletedCount === 1;
  }

  /** Drafts that Stripe will finalise, and those that bill usage, in order of id, after one. */
  async drafts(after: string, limit: number): Promise<Invoice[]> {
    const query = this.#collection.find({ status: 'draft', _id: { $gt: after } });
    return (await translated(query.sort({ _id: 1 }).limit(limit).toArray())).map(toInvoice);
  }

  /** Where lines that bill a customer's usage begin and end, on its latest invoices. */
  async usageBoundaries(stripeCustomerId: string): Promise<Date[]> {
    const query = this.#collection.find({ stripeCustomerId, usageTo: { $exists: true } });
    const found = await translated(query.sort({ usageTo: -1 }).limit(BOUNDARY_INVOICES_MAX).toArray());
    const lines = found.flatMap((invoice) => invoice.lines.filter(({ stripeMeterId }) => stripeMeterId !== undefined));
    return lines.flatMap(({ from, to }) => [from, to]);
  }

  /** Invoices of each of these customers at Stripe that bill usage up to an instant or later. */
  async billingUsage(stripeCustomerIds: readonly string[], since: Date): Promise<Map<string, Invoice[]>> {
    const found = await findBySlices(stripeCustomerIds, (slice) => {
      const filter = { stripeCustomerId: { $in: slice }, usageTo: { $gte: since } };
      return translated(this.#collection.find(filter).toArray());
    });
    return groupBy(found.map(toInvoice), ({ stripeCustomerId }) => stripeCustomerId);
  }

  /**
   * Which periods of which Stripe meters are closed, for each of these customers at Stripe; those without have no entry.
   * @param since leaves out periods that ended before it.
   */
  async finalised(stripeCustomerIds: readonly string[], since?: Date): Promise<Map<string, FinalPeriod[]>> {
    const usageTo = since === undefined ? { $exists: true } : { $gte: since };
    const invoices = await findBySlices(stripeCustomerIds, (slice) =>
      translated(this.#collection.find({ stripeCustomerId: { $in: slice }, usageTo }).toArray()),
    );
    const closed = new Map<string, FinalPeriod[]>();
    for (const found of invoices) {
      const periods = finalPeriods(toInvoice(found));
      if (periods.length === 0) continue;
      closed.set(found.stripeCustomerId, [...(closed.get(found.stripeCustomerId) ?? []), ...periods]);
    }
    return closed;
  }
}

function toDocument(invoice: Invoice, mirrorRevision: number): InvoiceDocument {
  const ends = invoice.lines.flatMap(({ stripeMeterId, to }) => (stripeMeterId === undefined ? [] : [to.getTime()]));
  return {
    ...invoice,
    lines: invoice.lines.map(({ quantityDecimal, ...line }) => ({
      ...line,
      ...(quantityDecimal !== undefined && { quantityDecimal: Decimal128.fromString(quantityDecimal) }),
    })),
    ...(ends.length > 0 && { usageTo: new Date(Math.max(...ends)) }),
    mirrorRevision,
  };
}

function toInvoice(document: InvoiceDocument): Invoice {
  const { mirrorRevision: _revision, usageTo: _usageTo, lines, ...invoice } = document;
  return {
    ...invoice,
    lines: lines.map(({ quantityDecimal, ...line }) => ({
      ...line,
      ...(quantityDecimal !== undefined && { quantityDecimal: canonicalQuantity(quantityDecimal.toString()) }),
    })),
  };
}
