import type { ExplainedInvoice } from './explanation.ts';
import type { Invoice } from '../mirror/invoice.ts';
import type { Period } from '../customers/calendar/period.ts';
import { addQuantities } from '../platform/quantity.ts';

/**
 * What invoices bill of meters in periods that touch a range, oldest period first. Lines of one invoice and period are
 * one: Stripe bills each tier of a price on a line of its own. A line of 0 over a period that was still open when its invoice
 * became final is left out: the first invoice of a subscription has one, and it says nothing of what the period comes to.
 */
export function invoicesOf(
  invoices: readonly Invoice[],
  of: { readonly range: Period; readonly stripeMeterIds: readonly string[] },
): ExplainedInvoice[] {
  const found = new Map<string, ExplainedInvoice>();
  for (const invoice of invoices) {
    const { _id: invoiceId, status, lines } = invoice;
    for (const { stripeMeterId, from, to, quantityDecimal } of lines) {
      if (stripeMeterId === undefined || !of.stripeMeterIds.includes(stripeMeterId)) continue;
      if (from.getTime() >= of.range.toMs || to.getTime() <= of.range.fromMs) continue;
      if (quantityDecimal === '0' && isBeforeEnd(invoice, to)) continue;
      const key = JSON.stringify([invoiceId, from, to]);
      const told = found.get(key) ?? { invoiceId, status, from: from.toISOString(), to: to.toISOString() };
      const quantity =
        quantityDecimal === undefined ? told.quantity : addQuantities(told.quantity ?? '0', quantityDecimal);
      found.set(key, { ...told, ...(quantity !== undefined && { quantity }) });
    }
  }
  return [...found.values()].sort((a, b) => (a.from < b.from ? -1 : a.from > b.from ? 1 : 0));
}

/** Whether an invoice became final before a period's end. */
function isBeforeEnd({ status, finalizedAt, createdAt }: Invoice, to: Date): boolean {
  return status !== 'draft' && to > (finalizedAt ?? createdAt);
}
