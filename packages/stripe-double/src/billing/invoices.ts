import type { Stripe } from 'stripe';
import { invalidRequest, missingResource } from '../answer.ts';
import type { Customers } from '../customers.ts';
import type { SnapshotEvents } from '../events/snapshot-events.ts';
import { mergeMetadata } from '../metadata.ts';
import { paginate } from '../pagination.ts';
import type { Parameters } from '../parameters.ts';
import type { Account } from '../route.ts';
import type { Deliveries } from '../webhooks/deliveries.ts';
import { newInvoice, setLines } from './invoice-object.ts';
import type { BillingReason, Invoice, InvoiceLine } from './invoice-object.ts';
import type { BilledItem, InvoiceLines } from './invoice-lines.ts';
import type { Subscription } from './subscription-object.ts';

const url = '/v1/invoices';

/** An invoice and what the account knows about it besides. */
export interface InvoiceRecord {
  readonly invoice: Invoice;
  readonly lines: readonly { line: InvoiceLine; billed: BilledItem }[];
  /** When it finalises by itself unless it is held; UTC milliseconds. */
  finalizesAt: number;
  /** The `invoice.created` that has to be taken first. */
  awaitedEvent: string | undefined;
}

export interface NewInvoiceOptions {
  subscription: Subscription;
  reason: BillingReason;
  billed: readonly BilledItem[];
  period: { start: number; end: number };
}

export interface InvoicesDeps {
  account: Account;
  customers: Customers;
  events: SnapshotEvents;
  deliveries: Deliveries;
  lines: InvoiceLines;
}

/** The invoices of the account, as they are kept and changed; `InvoiceCycle` says when they become final. */
export class Invoices {
  readonly #deps: InvoicesDeps;
  readonly #records = new Map<string, InvoiceRecord>();

  constructor(deps: InvoicesDeps) {
    this.#deps = deps;
  }

  /** A draft with its lines, told as `invoice.created`. */
  create({ subscription, reason, billed, period }: NewInvoiceOptions, atMs: number): InvoiceRecord {
    const { account, deliveries, events, lines } = this.#deps;
    const id = account.random.id('in_', 24);
    const created = Math.floor(atMs / 1000);
    const invoice = newInvoice({ id, subscription, reason, created, period });
    const record: InvoiceRecord = {
      invoice,
      lines: billed.map((one) => {
        const kept = { ...one, item: { ...one.item } };
        return { line: lines.create(id, kept, atMs), billed: kept };
      }),
      finalizesAt: atMs,
      awaitedEvent: undefined,
    };
    this.#sum(record);
    if (reason === 'subscription_cycle') {
      record.finalizesAt = atMs + account.switches.invoiceGraceMs;
      invoice.auto_advance = subscription.status !== 'unpaid';
      invoice.automatically_finalizes_at = invoice.auto_advance ? Math.floor(record.finalizesAt / 1000) : null;
    }
    this.#records.set(id, record);
    subscription.latest_invoice = id;
    const event = events.emit({ type: 'invoice.created', object: invoice }, atMs);
    if (deliveries.awaited(event) > 0) record.awaitedEvent = event;
    else invoice.webhooks_delivered_at = created;
    return record;
  }

  /** Takes the usage of every line as it is at this moment. */
  recount(record: InvoiceRecord, atMs: number): void {
    for (const { line, billed } of record.lines) this.#deps.lines.count(line, billed, atMs);
    this.#sum(record);
  }

  retrieve(id: string): InvoiceRecord {
    const record = this.#records.get(id);
    if (record === undefined) throw missingResource('invoice', id);
    return record;
  }

  /** Those of one subscription, oldest first. */
  ofSubscription(id: string): InvoiceRecord[] {
    return [...this.#records.values()].filter(({ invoice }) => subscriptionOf(invoice) === id);
  }

  /** Every invoice, oldest first. */
  all(): Invoice[] {
    return [...this.#records.values()].map(({ invoice }) => invoice);
  }

  /** Changes metadata or description; `auto_advance` is the cycle's. */
  describe({ invoice }: InvoiceRecord, parameters: Parameters): void {
    invoice.metadata = mergeMetadata(invoice.metadata ?? {}, parameters);
    if (!parameters.has('description')) return;
    if (invoice.status !== 'draft') {
      throw invalidRequest('A finalized invoice cannot be changed.', { code: 'invoice_not_editable' });
    }
    invoice.description = parameters.text('description') ?? null;
  }

  /** Newest first. */
  list(parameters: Parameters): Stripe.ApiList<Invoice> {
    const wanted: [string | undefined, (invoice: Invoice) => unknown][] = [
      [parameters.text('customer'), (invoice) => invoice.customer],
      [parameters.text('subscription'), subscriptionOf],
      [parameters.text('status'), (invoice) => invoice.status],
      [parameters.text('collection_method'), (invoice) => invoice.collection_method],
    ];
    const rows = this.all().filter(
      (invoice) =>
        parameters.rangeHas('created', invoice.created) &&
        wanted.every(([value, read]) => value === undefined || read(invoice) === value),
    );
    return paginate(rows.toReversed(), parameters, url);
  }

  listLines(id: string, parameters: Parameters): Stripe.ApiList<InvoiceLine> {
    const { lines } = this.retrieve(id);
    return paginate(
      lines.map(({ line }) => line),
      parameters,
      `${url}/${id}/lines`,
    );
  }

  /** Tells an event about the invoice as it is now. */
  tell(type: string, { invoice, atMs, previous }: { invoice: Invoice; atMs: number; previous?: object }): void {
    this.#deps.events.emit({ type, object: invoice, previous }, atMs);
  }

  /** The number that an invoice gets when it is finalised: the customer's prefix and sequence. */
  takeNumber(customerId: string): string {
    const customer = this.#deps.customers.retrieve(customerId);
    if (customer.deleted === true) return `${customerId.slice(-8).toUpperCase()}-0000`;
    const sequence = customer.next_invoice_sequence ?? 1;
    customer.next_invoice_sequence = sequence + 1;
    return `${customer.invoice_prefix}-${String(sequence).padStart(4, '0')}`;
  }

  #sum({ invoice, lines }: InvoiceRecord): void {
    setLines(
      invoice,
      lines.map(({ line }) => line),
    );
  }
}

export function subscriptionOf(invoice: Invoice): string {
  return invoice.parent.subscription_details.subscription;
}
