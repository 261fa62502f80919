import { invalidRequest, Refusal } from '../answer.ts';
import type { Account } from '../route.ts';
import type { Invoice } from './invoice-object.ts';
import type { Invoices, InvoiceRecord } from './invoices.ts';

/** What a subscription has to know of the payment of its invoices. */
export interface PaymentListener {
  /** An invoice is paid or was given up as uncollectible. */
  settled(invoice: Invoice, atMs: number): void;
  /** An attempt failed; `isLast` where no retry follows. */
  failed(invoice: Invoice, atMs: number, isLast: boolean): void;
}

/** Attempts payments, and retries them on a schedule. No money moves: the switch `payments` says what is met. */
export class Payments {
  readonly #account: Account;
  readonly #invoices: Invoices;
  #listener: PaymentListener = { settled: () => {}, failed: () => {} };

  constructor(account: Account, invoices: Invoices) {
    this.#account = account;
    this.#invoices = invoices;
  }

  listen(listener: PaymentListener): void {
    this.#listener = listener;
  }

  tellSettled(invoice: Invoice, atMs: number): void {
    this.#listener.settled(invoice, atMs);
  }

  /** One automatic attempt: "any first attempt counts as 1, afterwards only automatic retries" (Stripe API, Invoices). */
  attempt(record: InvoiceRecord, atMs: number): void {
    const { invoice } = record;
    invoice.attempt_count += 1;
    invoice.attempted = true;
    if (this.#meets(invoice, invoice.attempt_count) === 'succeed') this.settle(record, atMs, 'paid');
    else this.#fail(record, atMs);
  }

  /** What a person asks for by `pay`. @throws Refusal 402 where the payment fails. */
  payByHand(record: InvoiceRecord, atMs: number, outOfBand: boolean): void {
    const { invoice } = record;
    if (invoice.status !== 'open' && invoice.status !== 'uncollectible') {
      throw invalidRequest(`This invoice is ${invoice.status ?? 'without a status'} and cannot be paid.`);
    }
    if (outOfBand) return this.settle(record, atMs, 'out-of-band');
    const isFirst = invoice.attempt_count === 0;
    if (isFirst) invoice.attempt_count = 1;
    invoice.attempted = true;
    if (this.#meets(invoice, invoice.attempt_count) === 'succeed') return this.settle(record, atMs, 'paid');
    this.#invoices.tell('invoice.payment_failed', { invoice, atMs });
    throw new Refusal(402, { type: 'card_error', code: 'card_declined', message: 'Your card was declined.' });
  }

  /** Open → paid. Only a payment that was made is told as `invoice.payment_succeeded` too. */
  settle(record: InvoiceRecord, atMs: number, how: 'paid' | 'nothing-owed' | 'out-of-band'): void {
    const { invoice } = record;
    invoice.status = 'paid';
    invoice.attempted = true;
    invoice.auto_advance = false;
    invoice.next_payment_attempt = null;
    invoice.amount_paid = invoice.amount_due;
    invoice.amount_remaining = 0;
    if (how === 'out-of-band') invoice.amount_paid_off_stripe = invoice.amount_due;
    invoice.status_transitions.paid_at = Math.floor(atMs / 1000);
    this.#invoices.tell('invoice.paid', { invoice, atMs });
    if (how === 'paid') this.#invoices.tell('invoice.payment_succeeded', { invoice, atMs });
    this.#listener.settled(invoice, atMs);
  }

  #fail(record: InvoiceRecord, atMs: number): void {
    const { invoice } = record;
    const { nextAttemptIn, paymentRetriesMs } = this.#account.switches;
    const pause = paymentRetriesMs[invoice.attempt_count - 1];
    const next = pause === undefined ? null : Math.floor((atMs + pause) / 1000);
    invoice.next_payment_attempt = nextAttemptIn === 'updated' ? null : next;
    this.#invoices.tell('invoice.payment_failed', { invoice, atMs });
    if (invoice.next_payment_attempt !== next) {
      invoice.next_payment_attempt = next;
      this.#invoices.tell('invoice.updated', { invoice, atMs, previous: { next_payment_attempt: null } });
    }
    if (next !== null) {
      this.#account.agenda.add(next * 1000, (dueMs) => {
        if (invoice.status === 'open' && invoice.next_payment_attempt === next) this.attempt(record, dueMs);
      });
    }
    this.#listener.failed(invoice, atMs, next === null);
  }

  #meets({ id, customer }: Invoice, attempt: number): 'succeed' | 'fail' {
    const { payments } = this.#account.switches;
    return typeof payments === 'function' ? payments({ invoice: id, customer, attempt }) : payments;
  }
}
