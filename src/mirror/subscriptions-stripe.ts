import type { Stripe } from 'stripe';
import type { Subscription, SubscriptionItem } from './subscription.ts';
import { isMissing, toStripeError } from '../stripe/errors.ts';
import { idOf, type OnRefused, type Pace, PAGE, paced, toDate } from '../stripe/paging.ts';

/** Reads subscriptions as they are now. */
export class StripeSubscriptions {
  readonly #stripe: Stripe;
  readonly #pace: Pace;

  constructor(stripe: Stripe, pace: Pace) {
    this.#stripe = stripe;
    this.#pace = pace;
  }

  /** One subscription; undefined when Stripe has none of this id. */
  async fetch(id: string): Promise<Subscription | undefined> {
    await this.#pace();
    try {
      return await this.#toSubscription(await this.#stripe.subscriptions.retrieve(id));
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw toStripeError(error);
    }
  }

  /**
   * Every subscription of the account, ended ones too. One whose items Stripe refuses is told to `onRefused`, and the list
   * goes on.
   */
  async *list(onRefused: OnRefused): AsyncGenerator<Subscription> {
    const list = (): AsyncIterable<Stripe.Subscription> =>
      this.#stripe.subscriptions.list({ status: 'all', limit: PAGE });
    try {
      for await (const found of paced(list, this.#pace)) {
        const subscription = await this.#toSubscription(found).catch((error: unknown) => {
          onRefused(found.id, toStripeError(error));
          return undefined;
        });
        if (subscription !== undefined) yield subscription;
      }
    } catch (error) {
      throw toStripeError(error);
    }
  }

  async #toSubscription(found: Stripe.Subscription): Promise<Subscription> {
    const { ended_at: endedAt, cancel_at: cancelAt, billing_cycle_anchor_config: config } = found;
    const { trial_start: trialStart, trial_end: trialEnd } = found;
    return {
      _id: found.id,
      stripeCustomerId: idOf(found.customer),
      status: found.status,
      items: await this.#itemsOf(found),
      billingCycleAnchor: toDate(found.billing_cycle_anchor),
      ...(config && { anchorDay: config.day_of_month }),
      startAt: toDate(found.start_date),
      ...(typeof trialStart === 'number' && { trialStart: toDate(trialStart) }),
      ...(typeof trialEnd === 'number' && { trialEnd: toDate(trialEnd) }),
      createdAt: toDate(found.created),
      ...(typeof endedAt === 'number' && { endedAt: toDate(endedAt) }),
      ...(typeof cancelAt === 'number' && { cancelAt: toDate(cancelAt) }),
    };
  }

  async #itemsOf({ id, items }: Stripe.Subscription): Promise<SubscriptionItem[]> {
    if (!items.has_more) return items.data.map(toItem);
    const all: SubscriptionItem[] = [];
    const list = (): AsyncIterable<Stripe.SubscriptionItem> =>
      this.#stripe.subscriptionItems.list({ subscription: id, limit: PAGE });
    for await (const item of paced(list, this.#pace)) all.push(toItem(item));
    return all;
  }
}

function toItem(item: Stripe.SubscriptionItem): SubscriptionItem {
  const { recurring } = item.price;
  return {
    id: item.id,
    priceId: item.price.id,
    ...(typeof recurring?.meter === 'string' && { stripeMeterId: recurring.meter }),
    interval: recurring?.interval ?? 'unknown',
    intervalCount: recurring?.interval_count ?? 1,
    currentPeriodStart: toDate(item.current_period_start),
    currentPeriodEnd: toDate(item.current_period_end),
    createdAt: toDate(item.created),
  };
}
