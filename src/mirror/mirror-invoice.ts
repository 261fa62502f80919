import { boundary } from '../platform/boundary.ts';
import type { Invoice } from './invoice.ts';
import { contended, missing } from './mirror-subscription.ts';

export interface MirrorInvoiceDeps {
  /** The invoice as it is at Stripe now, with all of its lines; undefined when there is none. */
  fetchInvoice(id: string): Promise<Invoice | undefined>;
  readonly invoices: {
    find(id: string): Promise<(Invoice & { readonly mirrorRevision: number }) | null>;
    save(invoice: Invoice, previousRevision: number | undefined): Promise<boolean>;
    remove(id: string, previousRevision: number): Promise<boolean>;
  };
}

/** How often one is fetched again because another fetch was stored meanwhile. */
const ATTEMPTS_MAX = 10;

/**
 * Fetches an invoice and stores it, behind the same fence as subscriptions. A draft that Stripe has no more was deleted
 * there, and is removed here; what was finalised cannot be.
 * @returns the invoice; undefined when there is none.
 * @throws DaemonError `stripe_object_missing`, `write_contended`.
 */
export async function mirrorInvoice(deps: MirrorInvoiceDeps, id: string): Promise<Invoice | undefined> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
    const before = await deps.invoices.find(id);
    const invoice = await deps.fetchInvoice(id);
    if (invoice === undefined && before === null) return undefined;
    if (invoice === undefined && before?.status !== 'draft') throw missing(id);
    const isStored =
      invoice === undefined
        ? await deps.invoices.remove(id, before?.mirrorRevision ?? 0)
        : await deps.invoices.save(invoice, before?.mirrorRevision);
    if (!isStored) continue;
    await boundary('mirror.invoice-stored');
    return invoice;
  }
  throw contended(id);
}
