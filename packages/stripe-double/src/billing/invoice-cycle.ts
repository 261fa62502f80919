import { invalidRequest } from '../answer.ts';
import type { Account } from '../route.ts';
import type { Deliveries } from '../webhooks/deliveries.ts';
import type { Invoices, InvoiceRecord } from './invoices.ts';
import type { Payments } from './payments.ts';

/** Without a 2xx to `invoice.created`, finalisation is delayed up to 72 hours (Stripe docs, Subscription webhooks). */
const ungatedAfterMs = 72 * 60 * 60 * 1000;

interface CycleDeps {
  account: Account;
  deliveries: Deliveries;
  invoices: Invoices;
  payments: Payments;
}

/** The way of an invoice: draft → open → paid, void or uncollectible. */
export class InvoiceCycle {
  readonly #deps: CycleDeps;
  /** `invoice.created` event → the invoice that waits for its 2xx. */
  readonly #awaiting = new Map<string, InvoiceRecord>();

  constructor(deps: CycleDeps) {
    this.#deps = deps;
    deps.deliveries.onTaken((eventId, atMs) => this.#taken(eventId, atMs));
  }

  /** Lets a draft finalise by itself: after its grace period, and after `invoice.created` was taken by who listens. */
  begin(record: InvoiceRecord): void {
    if (record.awaitedEvent !== undefined) {
      this.#awaiting.set(record.awaitedEvent, record);
      this.#deps.account.agenda.add(record.invoice.created * 1000 + ungatedAfterMs, (atMs) => {
        record.awaitedEvent = undefined;
        this.#finaliseIfDue(record, atMs);
      });
    }
    this.#schedule(record);
  }

  /** Holds a draft or releases it; to an invoice that is open, whether payment is retried. */
  setAutoAdvance(record: InvoiceRecord, autoAdvance: boolean): void {
    const { invoice } = record;
    const { clock, switches } = this.#deps.account;
    if (invoice.auto_advance === autoAdvance) return;
    invoice.auto_advance = autoAdvance;
    if (invoice.status !== 'draft') return;
    invoice.automatically_finalizes_at = null;
    if (!autoAdvance) return;
    const grace = switches.releasedInvoice === 'at-once' ? 0 : switches.invoiceGraceMs;
    record.finalizesAt = Math.max(record.finalizesAt, clock.now() + grace);
    invoice.automatically_finalizes_at = Math.floor(record.finalizesAt / 1000);
    this.#schedule(record);
  }

  /** Sets when a draft finalises by itself; `at` is Unix seconds and lies ahead. */
  postpone(record: InvoiceRecord, at: number): void {
    const { invoice } = record;
    const param = 'automatically_finalizes_at';
    if (invoice.status !== 'draft' || invoice.auto_advance !== true) {
      throw invalidRequest('Only a draft with auto_advance can be scheduled to finalize.', { param });
    }
    if (at * 1000 <= this.#deps.account.clock.now()) {
      throw invalidRequest('automatically_finalizes_at must be in the future.', { param });
    }
    record.finalizesAt = at * 1000;
    invoice.automatically_finalizes_at = at;
    this.#schedule(record);
  }

  /** Draft → open, with the usage as it is now; then paid, where nothing is owed or payment is automatic and succeeds. */
  finalise(record: InvoiceRecord, atMs: number): void {
    const { invoice } = record;
    const { invoices, payments } = this.#deps;
    if (invoice.status !== 'draft') throw wrongStatus(invoice.status, 'finalized');
    const previous = { status: invoice.status, automatically_finalizes_at: invoice.automatically_finalizes_at };
    if (invoice.billing_reason === 'subscription_cycle') invoices.recount(record, atMs);
    const at = Math.floor(atMs / 1000);
    invoice.status = 'open';
    invoice.number = invoices.takeNumber(invoice.customer);
    invoice.effective_at = at;
    invoice.ending_balance = 0;
    invoice.automatically_finalizes_at = null;
    invoice.status_transitions.finalized_at = at;
    record.awaitedEvent = undefined;
    invoices.tell('invoice.updated', { invoice, atMs, previous });
    invoices.tell('invoice.finalized', { invoice, atMs });
    if (invoice.amount_due === 0) payments.settle(record, atMs, 'nothing-owed');
    else if (invoice.auto_advance === true && invoice.collection_method === 'charge_automatically') {
      payments.attempt(record, atMs);
    }
  }

  /** Open or uncollectible → void. */
  void(record: InvoiceRecord, atMs: number): void {
    const { invoice } = record;
    if (invoice.status !== 'open' && invoice.status !== 'uncollectible') throw wrongStatus(invoice.status, 'voided');
    invoice.status = 'void';
    invoice.auto_advance = false;
    invoice.next_payment_attempt = null;
    invoice.status_transitions.voided_at = Math.floor(atMs / 1000);
    this.#deps.invoices.tell('invoice.voided', { invoice, atMs });
  }

  /** Draft or open → uncollectible. A subscription that was past due for it is active again. */
  markUncollectible(record: InvoiceRecord, atMs: number): void {
    const { invoice } = record;
    if (invoice.status === 'draft') this.finalise(record, atMs);
    if (invoice.status !== 'open') throw wrongStatus(invoice.status, 'marked as uncollectible');
    invoice.status = 'uncollectible';
    invoice.auto_advance = false;
    invoice.next_payment_attempt = null;
    invoice.status_transitions.marked_uncollectible_at = Math.floor(atMs / 1000);
    this.#deps.invoices.tell('invoice.marked_uncollectible', { invoice, atMs });
    this.#deps.payments.tellSettled(invoice, atMs);
  }

  #schedule(record: InvoiceRecord): void {
    this.#deps.account.agenda.add(record.finalizesAt, (atMs) => this.#finaliseIfDue(record, atMs));
  }

  #finaliseIfDue(record: InvoiceRecord, atMs: number): void {
    const { invoice, awaitedEvent, finalizesAt } = record;
    if (invoice.status !== 'draft' || invoice.auto_advance !== true) return;
    if (awaitedEvent !== undefined || finalizesAt > atMs) return;
    this.finalise(record, atMs);
  }

  /** "About an hour after a successful answer from all listening endpoints" (Stripe docs, Subscription webhooks). */
  #taken(eventId: string, atMs: number): void {
    const record = this.#awaiting.get(eventId);
    this.#awaiting.delete(eventId);
    if (record?.awaitedEvent === undefined) return;
    const { invoice } = record;
    record.awaitedEvent = undefined;
    invoice.webhooks_delivered_at = Math.floor(atMs / 1000);
    if (invoice.status !== 'draft') return;
    record.finalizesAt = Math.max(record.finalizesAt, atMs + this.#deps.account.switches.invoiceGraceMs);
    if (invoice.auto_advance === true) invoice.automatically_finalizes_at = Math.floor(record.finalizesAt / 1000);
    this.#schedule(record);
  }
}

function wrongStatus(status: string | null, deed: string): Error {
  return invalidRequest(`This invoice is ${status ?? 'without a status'} and cannot be ${deed}.`, {
    code: 'invoice_not_editable',
  });
}
