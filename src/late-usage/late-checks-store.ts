import type { Collection, Db } from 'mongodb';
import { type FinalPeriod, finalPeriods } from '../mirror/invoice.ts';
import { inBatches } from '../platform/mongo/cursor.ts';
import { translated } from '../platform/mongo/errors.ts';
import { type InvoiceDocument, INVOICES } from '../mirror/invoices-store.ts';
import { findBySlices } from '../platform/mongo/slices.ts';

/** A final invoice whose periods were held against the submissions stamped in them. */
export interface LateCheckDocument {
  /** The invoice's id at Stripe. */
  _id: string;
  checkedAt: Date;
  /** When it is to be checked again: an attempt may have been on its way. */
  dueAt?: Date;
}

/** A final invoice with the periods that it closed. */
export interface FinalInvoice {
  readonly invoiceId: string;
  readonly stripeCustomerId: string;
  readonly periods: readonly FinalPeriod[];
  /** Whether it was checked before. */
  readonly wasChecked: boolean;
}

export const LATE_CHECKS = 'late_checks';
/** Longer than an invoice is searched after the end of its usage: one that was forgotten is not checked once more. */
export const LATE_CHECKS_SECONDS_MAX = 400 * 86_400;
const INVOICES_PER_BATCH = 500;

/** Which final invoices were searched for usage that Stripe took too late. */
export class LateChecks {
  readonly #checks: Collection<LateCheckDocument>;
  readonly #invoices: Collection<InvoiceDocument>;

  constructor(db: Db) {
    this.#checks = db.collection<LateCheckDocument>(LATE_CHECKS);
    this.#invoices = db.collection<InvoiceDocument>(INVOICES);
  }

  /** Final invoices over usage until `since` or later that were never checked, or are to be checked again by now. */
  async *due(since: Date, now: Date): AsyncGenerator<FinalInvoice[]> {
    const filter = { usageTo: { $gte: since }, status: { $ne: 'draft' } };
    const invoices = this.#invoices.find(filter, { projection: { 'lines.quantityDecimal': 0 } });
    for await (const batch of inBatches(invoices, INVOICES_PER_BATCH)) {
      const ids = batch.map(({ _id }) => _id);
      const checks = await findBySlices(ids, (slice) =>
        translated(this.#checks.find({ _id: { $in: slice } }).toArray()),
      );
      const checkOf = new Map(checks.map((check) => [check._id, check]));
      const due = batch.filter(({ _id }) => {
        const check = checkOf.get(_id);
        return check === undefined || (check.dueAt !== undefined && check.dueAt <= now);
      });
      yield due.map((invoice) => ({
        invoiceId: invoice._id,
        stripeCustomerId: invoice.stripeCustomerId,
        periods: finalPeriods(withoutQuantities(invoice)),
        wasChecked: checkOf.has(invoice._id),
      }));
    }
  }

  /** @param dueAt absent when nothing can come any more. */
  async checked(invoiceId: string, checkedAt: Date, dueAt?: Date): Promise<void> {
    const document = { checkedAt, ...(dueAt !== undefined && { dueAt }) };
    await translated(this.#checks.replaceOne({ _id: invoiceId }, document, { upsert: true }));
  }
}

function withoutQuantities(invoice: InvoiceDocument): Parameters<typeof finalPeriods>[0] {
  return { ...invoice, lines: invoice.lines.map(({ quantityDecimal: _quantity, ...line }) => line) };
}
