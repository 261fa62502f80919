import type { ExplainedInvoice } from './explanation.ts';
import type { Invoice } from './invoice.ts';
import type { Period } from './period.ts';
import { addQuantities } from './quantity.ts';

/**
 * What invoices bill of meters in periods that touch a range, oldest period first. Lines of one invoice and period are
 * one: Stripe bills each tier of a price on a line of its own.
 */
export function invoicesOf(
  invoices: readonly Invoice[],
  of: { readonly range: Period; readonly stripeMeterIds: readonly string[] },
): ExplainedInvoice[] {
  const found = new Map<string, ExplainedInvoice>();
  for (const { _id: invoiceId, status, lines } of invoices) {
    for (const { stripeMeterId, from, to, quantityDecimal } of lines) {
      if (stripeMeterId === undefined || !of.stripeMeterIds.includes(stripeMeterId)) continue;
      if (from.getTime() >= of.range.toMs || to.getTime() <= of.range.fromMs) continue;
      const key = JSON.stringify([invoiceId, from, to]);
      const told = found.get(key) ?? { invoiceId, status, from: from.toISOString(), to: to.toISOString() };
      const quantity =
        quantityDecimal === undefined ? told.quantity : addQuantities(told.quantity ?? '0', quantityDecimal);
      found.set(key, { ...told, ...(quantity !== undefined && { quantity }) });
    }
  }
  return [...found.values()].sort((a, b) => (a.from < b.from ? -1 : a.from > b.from ? 1 : 0));
}
