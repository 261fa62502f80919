import { invoicesOf } from './invoice-quantity.ts';
import type { Invoice } from '../mirror/invoice.ts';
import type { Quantity } from '../platform/quantity.ts';
import { DaemonError } from '../platform/errors.ts';

interface CustomerMeter {
  readonly customerId: string;
  readonly meter: string;
}

export interface ReadInvoiceUsageDeps {
  readonly invoices: { find(id: string): Promise<Invoice | null> };
  /** Whose usage was sent to a Stripe meter under a Stripe customer in a range, or where none was, last. */
  sentTo(of: {
    stripeCustomerId: string;
    stripeMeterId: string;
    fromMs: number;
    toMs: number;
  }): Promise<readonly CustomerMeter[]>;
}

/** What an invoice bills of one Stripe meter in one period, and of whose usage that is. */
export interface InvoicedUsage {
  readonly stripeMeterId: string;
  readonly from: string;
  readonly to: string;
  /** Of a draft it is not final. */
  readonly quantity?: Quantity;
  /** Both absent where nothing was ever sent from here to this Stripe meter under the invoice's customer. */
  readonly customerId?: string;
  readonly meter?: string;
}

export interface InvoiceUsage {
  readonly invoiceId: string;
  readonly status: string;
  readonly stripeCustomerId: string;
  readonly usage: readonly InvoicedUsage[];
}

const ANY_TIME = { fromMs: Number.NEGATIVE_INFINITY, toMs: Number.POSITIVE_INFINITY };

/**
 * The usage that a mirrored invoice bills, with customer and meter as the ledger has them: what was sent says that, also
 * after a customer was mapped to another Stripe customer. Lines that bill no usage are left out.
 * @throws DaemonError `invoice_not_found` when the mirror has no such invoice.
 */
export async function readInvoiceUsage(deps: ReadInvoiceUsageDeps, invoiceId: string): Promise<InvoiceUsage> {
  const invoice = await deps.invoices.find(invoiceId);
  if (invoice === null) {
    throw new DaemonError({
      kind: 'not-found',
      code: 'invoice_not_found',
      message: 'No invoice of this id has been mirrored from Stripe.',
      context: { invoiceId },
    });
  }
  const { stripeCustomerId, status } = invoice;
  const stripeMeterIds = [...new Set(invoice.lines.flatMap(({ stripeMeterId }) => stripeMeterId ?? []))];
  const usage: InvoicedUsage[] = [];
  for (const stripeMeterId of stripeMeterIds) {
    for (const { from, to, quantity } of invoicesOf([invoice], { range: ANY_TIME, stripeMeterIds: [stripeMeterId] })) {
      const billed = { stripeMeterId, from, to, ...(quantity !== undefined && { quantity }) };
      const period = { fromMs: Date.parse(from), toMs: Date.parse(to) };
      const senders = await deps.sentTo({ stripeCustomerId, stripeMeterId, ...period });
      usage.push(...(senders.length === 0 ? [billed] : senders.map((sender) => ({ ...billed, ...sender }))));
    }
  }
  return { invoiceId, status, stripeCustomerId, usage };
}
