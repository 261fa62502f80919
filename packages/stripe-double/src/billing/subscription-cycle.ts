import type { SnapshotEvents } from '../events/snapshot-events.ts';
import type { Account } from '../route.ts';
import { nextBoundary } from './calendar.ts';
import type { BillingPeriod } from './calendar.ts';
import type { InvoiceCycle } from './invoice-cycle.ts';
import type { BilledItem } from './invoice-lines.ts';
import type { Invoice } from './invoice-object.ts';
import { subscriptionOf } from './invoices.ts';
import type { Invoices } from './invoices.ts';
import type { PaymentListener } from './payments.ts';
import { recurrenceOf } from './prices.ts';
import { isMetered } from './subscription-object.ts';
import { freeOfCharge, isTrialing, noticeMs, trialEndAfter } from './trial.ts';
import type { Subscription, SubscriptionItem } from './subscription-object.ts';

/** An unpaid first invoice expires its subscription after 23 hours (Stripe docs, Subscription lifecycle). */
const expiresAfterMs = 23 * 60 * 60 * 1000;
const over: readonly string[] = ['canceled', 'incomplete_expired'];

interface CycleDeps {
  account: Account;
  events: SnapshotEvents;
  invoices: Invoices;
  invoiceCycle: InvoiceCycle;
}

/** The life of a subscription: periods that end and are invoiced, an anchor that moves, a last invoice. */
export class SubscriptionCycle implements PaymentListener {
  readonly #deps: CycleDeps;
  readonly #subscriptions: ReadonlyMap<string, Subscription>;

  constructor(deps: CycleDeps, subscriptions: ReadonlyMap<string, Subscription>) {
    this.#deps = deps;
    this.#subscriptions = subscriptions;
  }

  /** Tells of a new subscription and makes its first invoice, which is final at once. */
  begin(subscription: Subscription, atMs: number): void {
    this.#deps.events.emit({ type: 'customer.subscription.created', object: subscription }, atMs);
    const at = Math.floor(atMs / 1000);
    const billed: BilledItem[] = [];
    for (const item of subscription.items.data) {
      const period = { start: item.current_period_start, end: item.current_period_end };
      const elapsed = { start: subscription.start_date, end: item.current_period_start };
      if (!isMetered(item.price)) billed.push(this.#charged({ subscription, item, period }));
      else {
        if (elapsed.start < elapsed.end) billed.push({ subscription, item, period: elapsed });
        const { firstInvoiceMeteredLine } = this.#deps.account.switches;
        if (firstInvoiceMeteredLine === 'current-period') billed.push({ subscription, item, period, isEmpty: true });
      }
    }
    const period = { start: at, end: at };
    const record = this.#deps.invoices.create({ subscription, reason: 'subscription_create', billed, period }, atMs);
    this.#deps.invoiceCycle.finalise(record, atMs);
    this.schedule(subscription);
    this.#announceTrialEnd(subscription, atMs);
  }

  /** Enters the next instant at which a period ends or the subscription does. */
  schedule(subscription: Subscription): void {
    const ends = subscription.items.data.map((item) => item.current_period_end);
    if (subscription.cancel_at !== null) ends.push(subscription.cancel_at);
    if (ends.length === 0 || over.includes(subscription.status)) return;
    this.#deps.account.agenda.add(Math.min(...ends) * 1000, (atMs) => this.#turn(subscription, atMs));
  }

  /** The period of an item that begins at `start`. */
  periodFrom(subscription: Subscription, item: Pick<SubscriptionItem, 'price'>, start: number): BillingPeriod {
    const regular = nextBoundary(subscription.billing_cycle_anchor, recurrenceOf(item.price), start);
    return { start, end: trialEndAfter(subscription, start) ?? regular };
  }

  /**
   * Gives the subscription a trial until `end`, or moves the end of the one it has: one period without charge, from whose
   * end on periods are counted. An `end` that has come ends it at once.
   */
  setTrial(subscription: Subscription, end: number, atMs: number): void {
    const at = Math.floor(atMs / 1000);
    const items = subscription.items.data;
    if (end <= at) {
      if (isTrialing(subscription)) this.restart(subscription, items, atMs);
      return;
    }
    if (!isTrialing(subscription)) {
      this.#invoiceNow(subscription, this.#usageUntil(subscription, items, at), atMs);
      subscription.trial_start = at;
      subscription.status = 'trialing';
      for (const item of items) item.current_period_start = at;
    }
    subscription.trial_end = end;
    subscription.billing_cycle_anchor = end;
    for (const item of items) item.current_period_end = end;
    this.#announceTrialEnd(subscription, atMs);
  }

  /** Moves the anchor to `atMs`: the periods of the `former` items end there and are invoiced, and the next begin. */
  restart(subscription: Subscription, former: readonly SubscriptionItem[], atMs: number): void {
    const at = Math.floor(atMs / 1000);
    const billed = this.#usageUntil(subscription, former, at);
    subscription.billing_cycle_anchor = at;
    if (isTrialing(subscription)) {
      subscription.status = 'active';
      subscription.trial_end = at;
    }
    for (const item of subscription.items.data) {
      const next = this.#begin(subscription, item, at);
      if (!isMetered(item.price)) billed.push({ subscription, item, period: next });
    }
    this.#invoiceNow(subscription, billed, atMs);
  }

  /** Ends the subscription at once. Metered usage of the unfinished periods is invoiced only where `invoiced`. */
  end(subscription: Subscription, atMs: number, { reason, invoiced }: { reason: string; invoiced: boolean }): void {
    const at = Math.floor(atMs / 1000);
    if (invoiced) this.invoiceUsage(subscription, subscription.items.data, atMs);
    subscription.status = 'canceled';
    subscription.ended_at = at;
    subscription.canceled_at ??= at;
    subscription.cancellation_details = {
      comment: null,
      feedback: null,
      feedback_option: null,
      ...subscription.cancellation_details,
      reason,
    };
    for (const { invoice } of this.#deps.invoices.ofSubscription(subscription.id)) {
      if (invoice.status !== 'open') continue;
      invoice.auto_advance = false;
      invoice.next_payment_attempt = null;
    }
    this.#deps.events.emit({ type: 'customer.subscription.deleted', object: subscription }, atMs);
  }

  /** Invoices what metered items have used since their period began; their periods are left as they are. */
  invoiceUsage(subscription: Subscription, items: readonly SubscriptionItem[], atMs: number): void {
    this.#invoiceNow(subscription, this.#usageUntil(subscription, items, Math.floor(atMs / 1000)), atMs);
  }

  /** Tells how the subscription differs from `before`, if it does. */
  tellUpdated(subscription: Subscription, before: Subscription, atMs: number): void {
    const previous = Object.fromEntries(
      Object.entries(before).filter(
        ([key, value]) => JSON.stringify(value) !== JSON.stringify(subscription[key as keyof Subscription]),
      ),
    );
    if (Object.keys(previous).length === 0) return;
    this.#deps.events.emit({ type: 'customer.subscription.updated', object: subscription, previous }, atMs);
  }

  settled(invoice: Invoice, atMs: number): void {
    const subscription = this.#subscriptions.get(subscriptionOf(invoice));
    if (subscription === undefined || subscription.latest_invoice !== invoice.id) return;
    if (['past_due', 'unpaid', 'incomplete'].includes(subscription.status)) {
      this.#setStatus(subscription, 'active', atMs);
    }
  }

  failed(invoice: Invoice, atMs: number, isLast: boolean): void {
    const subscription = this.#subscriptions.get(subscriptionOf(invoice));
    if (subscription === undefined || over.includes(subscription.status)) return;
    if (invoice.billing_reason === 'subscription_create') {
      if (subscription.status === 'active') this.#setIncomplete(subscription, invoice, atMs);
      return;
    }
    const { afterLastRetry } = this.#deps.account.switches;
    if (!isLast || afterLastRetry === 'past_due') this.#setStatus(subscription, 'past_due', atMs);
    else if (afterLastRetry === 'unpaid') this.#setStatus(subscription, 'unpaid', atMs);
    else this.end(subscription, atMs, { reason: 'payment_failed', invoiced: false });
  }

  #setIncomplete(subscription: Subscription, invoice: Invoice, atMs: number): void {
    this.#setStatus(subscription, 'incomplete', atMs);
    this.#deps.account.agenda.add(atMs + expiresAfterMs, (dueMs) => {
      if (subscription.status !== 'incomplete') return;
      subscription.ended_at = Math.floor(dueMs / 1000);
      this.#setStatus(subscription, 'incomplete_expired', dueMs);
      this.#deps.invoiceCycle.void(this.#deps.invoices.retrieve(invoice.id), dueMs);
    });
  }

  #setStatus(subscription: Subscription, status: Subscription['status'], atMs: number): void {
    const before = structuredClone(subscription);
    subscription.status = status;
    this.tellUpdated(subscription, before, atMs);
  }

  /** At the end of one or more periods: they are invoiced, and the next begin. */
  #turn(subscription: Subscription, atMs: number): void {
    const at = atMs / 1000;
    if (over.includes(subscription.status)) return;
    const isLast = subscription.cancel_at !== null && subscription.cancel_at <= at;
    const ended = subscription.items.data.filter((item) => isLast || item.current_period_end <= at);
    // An entry of a period that has been changed since: another entry stands for the new one.
    if (ended.length === 0) return;
    const before = structuredClone(subscription);
    const start = Math.min(...ended.map((item) => item.current_period_start));
    const billed = isLast ? this.#usageUntil(subscription, ended, at) : this.#close(subscription, ended, at);
    if (isTrialing(subscription) && (subscription.trial_end ?? at) <= at) subscription.status = 'active';
    if (billed.length > 0) {
      const period = { start, end: at };
      const record = this.#deps.invoices.create({ subscription, reason: 'subscription_cycle', billed, period }, atMs);
      this.#deps.invoiceCycle.begin(record);
    }
    if (isLast) return this.end(subscription, atMs, { reason: 'cancellation_requested', invoiced: false });
    this.tellUpdated(subscription, before, atMs);
    this.schedule(subscription);
  }

  /** Ends the periods of these items at `at` and begins the next: usage is billed behind, licences ahead. */
  #close(subscription: Subscription, items: readonly SubscriptionItem[], at: number): BilledItem[] {
    return items.map((item) => {
      const ended = { start: item.current_period_start, end: at };
      const next = this.#begin(subscription, item, at);
      return isMetered(item.price)
        ? this.#charged({ subscription, item, period: ended })
        : { subscription, item, period: next };
    });
  }

  /** What metered items have used from the beginning of their periods until `end`. */
  #usageUntil(subscription: Subscription, items: readonly SubscriptionItem[], end: number): BilledItem[] {
    return items
      .filter((item) => isMetered(item.price) && item.current_period_start < end)
      .map((item) => this.#charged({ subscription, item, period: { start: item.current_period_start, end } }));
  }

  /** As it is billed: free of charge while the subscription is on trial. */
  #charged(billed: BilledItem): BilledItem {
    return isTrialing(billed.subscription) ? freeOfCharge(billed, this.#deps.account.switches) : billed;
  }

  #announceTrialEnd(subscription: Subscription, atMs: number): void {
    const { trial_end: end } = subscription;
    if (!isTrialing(subscription) || end === null) return;
    this.#deps.account.agenda.add(Math.max(atMs, end * 1000 - noticeMs), (dueMs) => {
      // Another entry stands for a trial whose end was moved.
      if (!isTrialing(subscription) || subscription.trial_end !== end) return;
      this.#deps.events.emit({ type: 'customer.subscription.trial_will_end', object: subscription }, dueMs);
    });
  }

  #begin(subscription: Subscription, item: SubscriptionItem, at: number): BillingPeriod {
    const next = this.periodFrom(subscription, item, at);
    item.current_period_start = next.start;
    item.current_period_end = next.end;
    return next;
  }

  #invoiceNow(subscription: Subscription, billed: readonly BilledItem[], atMs: number): void {
    if (billed.length === 0) return;
    const at = Math.floor(atMs / 1000);
    const period = { start: at, end: at };
    const record = this.#deps.invoices.create({ subscription, reason: 'subscription_update', billed, period }, atMs);
    this.#deps.invoiceCycle.finalise(record, atMs);
  }
}
