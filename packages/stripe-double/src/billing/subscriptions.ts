import type { Stripe } from 'stripe';
import { invalidRequest, missingResource } from '../answer.ts';
import type { Customers } from '../customers.ts';
import { mergeMetadata } from '../metadata.ts';
import { paginate } from '../pagination.ts';
import type { Parameters } from '../parameters.ts';
import type { Account } from '../route.ts';
import { nextBoundary } from './calendar.ts';
import { recurrenceOf } from './prices.ts';
import type { Prices } from './prices.ts';
import type { SubscriptionCycle } from './subscription-cycle.ts';
import { SubscriptionItems } from './subscription-items.ts';
import { readTrialEnd } from './trial.ts';
import { newSubscription } from './subscription-object.ts';
import type { Subscription } from './subscription-object.ts';

const url = '/v1/subscriptions';

interface SubscriptionsDeps {
  account: Account;
  customers: Customers;
  prices: Prices;
  cycle: SubscriptionCycle;
  /** Shared with the cycle, which only reads it. */
  subscriptions: Map<string, Subscription>;
}

/** The subscriptions of the account, as they are asked for and changed. */
export class Subscriptions {
  readonly #deps: SubscriptionsDeps;
  readonly #items: SubscriptionItems;

  constructor(deps: SubscriptionsDeps) {
    this.#deps = deps;
    this.#items = new SubscriptionItems(deps);
  }

  create(parameters: Parameters): Subscription {
    const { account, customers, cycle, subscriptions } = this.#deps;
    const customer = parameters.requiredText('customer');
    if (!customers.exists(customer)) throw missingResource('customer', customer);
    const atMs = account.clock.now();
    const created = Math.floor(atMs / 1000);
    const prices = this.#items.readNew(parameters.groups('items'));
    const anchor = parameters.integer('billing_cycle_anchor');
    const trialEnd = readTrialEnd(parameters, created) ?? created;
    const startDate = parameters.integer('backdate_start_date') ?? created;
    for (const { price } of prices) {
      const natural = nextBoundary(trialEnd, recurrenceOf(price), trialEnd);
      if (anchor !== undefined) checkAnchor(anchor, trialEnd, natural);
    }
    if (startDate > created) {
      throw invalidRequest('backdate_start_date must be in the past.', { param: 'backdate_start_date' });
    }
    const subscription = newSubscription({
      id: account.random.id('sub_', 24),
      customer,
      currency: prices[0]?.price.currency ?? 'usd',
      created,
      startDate,
      anchor: anchor ?? trialEnd,
    });
    if (trialEnd > created) {
      Object.assign(subscription, { status: 'trialing', trial_start: created, trial_end: trialEnd });
    }
    // With an anchor ahead, the first period reaches back to the start; without, what has passed is billed at once.
    const start = anchor === undefined || trialEnd > created ? created : startDate;
    subscription.items.data = prices.map((one) => this.#items.create(subscription, one, start));
    this.#describe(subscription, parameters);
    this.#setEnd(subscription, parameters);
    subscriptions.set(subscription.id, subscription);
    cycle.begin(subscription, atMs);
    return subscription;
  }

  retrieve(id: string): Subscription {
    const subscription = this.#deps.subscriptions.get(id);
    if (subscription === undefined) throw missingResource('subscription', id);
    return subscription;
  }

  /** Every subscription, oldest first. */
  all(): Subscription[] {
    return [...this.#deps.subscriptions.values()];
  }

  /** Newest first; those that are cancelled only where `status` asks for them (Stripe API, List subscriptions). */
  list(parameters: Parameters): Stripe.ApiList<Subscription> {
    const customer = parameters.text('customer');
    const price = parameters.text('price');
    const status = parameters.text('status');
    const rows = this.all().filter(
      (subscription) =>
        (customer === undefined || subscription.customer === customer) &&
        (price === undefined || subscription.items.data.some((item) => item.price.id === price)) &&
        parameters.rangeHas('created', subscription.created) &&
        hasStatus(subscription.status, status),
    );
    return paginate(rows.toReversed(), parameters, url);
  }

  update(id: string, parameters: Parameters): Subscription {
    const { account, cycle } = this.#deps;
    const subscription = this.#present(id);
    const before = structuredClone(subscription);
    const atMs = account.clock.now();
    this.#describe(subscription, parameters);
    const removed = this.#items.change(subscription, parameters.groups('items'), Math.floor(atMs / 1000));
    const trialEnd = readTrialEnd(parameters, Math.floor(atMs / 1000));
    if (trialEnd !== undefined) cycle.setTrial(subscription, trialEnd, atMs);
    else if (parameters.group('billing_cycle_anchor').text('type') === 'now' || removed.intervalChanged) {
      cycle.restart(subscription, before.items.data, atMs);
    } else if (account.switches.usageOfEndedItem === 'invoiced') {
      cycle.invoiceUsage(subscription, removed.ended, atMs);
    }
    this.#setEnd(subscription, parameters);
    cycle.tellUpdated(subscription, before, atMs);
    cycle.schedule(subscription);
    return subscription;
  }

  /** Ends a subscription at once. */
  cancel(id: string, parameters: Parameters): Subscription {
    const { account, cycle } = this.#deps;
    const subscription = this.#present(id);
    const { comment = null, feedback = null } = Object.fromEntries(parameters.map('cancellation_details'));
    subscription.cancellation_details = { comment, feedback, feedback_option: null, reason: null };
    const invoiced = parameters.boolean('invoice_now') ?? account.switches.usageOfEndedItem === 'invoiced';
    cycle.end(subscription, account.clock.now(), { reason: 'cancellation_requested', invoiced });
    return subscription;
  }

  /** "Deleting a customer cancels its subscriptions immediately" (Stripe API, Delete a customer). */
  endAllOf(customer: string): void {
    const { account, cycle } = this.#deps;
    const reason = 'cancellation_requested';
    for (const subscription of this.all()) {
      if (subscription.customer !== customer || subscription.ended_at !== null) continue;
      cycle.end(subscription, account.clock.now(), { reason, invoiced: false });
    }
  }

  #present(id: string): Subscription {
    const subscription = this.retrieve(id);
    if (subscription.status !== 'canceled' && subscription.status !== 'incomplete_expired') return subscription;
    throw missingResource('subscription', id);
  }

  #describe(subscription: Subscription, parameters: Parameters): void {
    subscription.metadata = mergeMetadata(subscription.metadata, parameters);
    subscription.collection_method = parameters.text('collection_method') ?? subscription.collection_method;
    subscription.days_until_due = parameters.integer('days_until_due') ?? subscription.days_until_due;
    if (parameters.has('description')) subscription.description = parameters.text('description') ?? null;
    if (parameters.has('default_payment_method')) {
      subscription.default_payment_method = parameters.text('default_payment_method') ?? null;
    }
  }

  #setEnd(subscription: Subscription, parameters: Parameters): void {
    const atPeriodEnd = parameters.boolean('cancel_at_period_end');
    if (atPeriodEnd === undefined && !parameters.has('cancel_at')) return;
    const now = Math.floor(this.#deps.account.clock.now() / 1000);
    const cancelAt = atPeriodEnd === true ? 'min_period_end' : parameters.text('cancel_at');
    subscription.cancel_at = cancelAt === undefined ? null : readCancelAt(subscription, cancelAt, now);
    subscription.canceled_at = cancelAt === undefined ? null : now;
    subscription.cancel_at_period_end = atPeriodEnd ?? false;
  }
}

/** A future timestamp, or the end of the first or the last of the items' periods. */
function readCancelAt(subscription: Subscription, text: string, now: number): number {
  const ends = subscription.items.data.map((item) => item.current_period_end);
  if (text === 'min_period_end') return Math.min(...ends);
  if (text === 'max_period_end') return Math.max(...ends);
  const param = 'cancel_at';
  if (!/^\d+$/.test(text)) throw invalidRequest(`Invalid timestamp: ${text}`, { param });
  if (Number(text) <= now) throw invalidRequest('cancel_at must be in the future.', { param });
  return Number(text);
}

/** After the trial if there is one; "a future timestamp" no later than the natural end of the first period (Stripe API, Create a subscription). */
function checkAnchor(anchor: number, now: number, naturalEnd: number): void {
  const param = 'billing_cycle_anchor';
  if (anchor <= now) throw invalidRequest('billing_cycle_anchor must be in the future.', { param });
  if (anchor > naturalEnd) {
    throw invalidRequest('billing_cycle_anchor cannot be later than next natural billing date.', { param });
  }
}

function hasStatus(status: string, wanted: string | undefined): boolean {
  if (wanted === undefined) return status !== 'canceled';
  if (wanted === 'all') return true;
  return wanted === 'ended' ? status === 'canceled' || status === 'incomplete_expired' : status === wanted;
}
