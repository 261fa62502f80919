import { invalidRequest, missingResource } from '../answer.ts';
import type { Parameters } from '../parameters.ts';
import type { Account } from '../route.ts';
import type { Price, Prices } from './prices.ts';
import { recurrenceOf } from './prices.ts';
import type { SubscriptionCycle } from './subscription-cycle.ts';
import { isMetered, newItem, planOf } from './subscription-object.ts';
import type { Subscription, SubscriptionItem } from './subscription-object.ts';

interface PricedItem {
  price: Price;
  quantity: number | undefined;
}

/** What a change of items leaves to be invoiced. */
export interface ItemsChange {
  /** As they were: removed, or given a price of another meter. */
  ended: SubscriptionItem[];
  intervalChanged: boolean;
}

/** Reads and changes the items of a subscription. */
export class SubscriptionItems {
  readonly #account: Account;
  readonly #prices: Prices;
  readonly #cycle: SubscriptionCycle;

  constructor({ account, prices, cycle }: { account: Account; prices: Prices; cycle: SubscriptionCycle }) {
    this.#account = account;
    this.#prices = prices;
    this.#cycle = cycle;
  }

  /** The prices and quantities of a new subscription. */
  readNew(groups: readonly Parameters[]): PricedItem[] {
    if (groups.length === 0) {
      throw invalidRequest('Missing required param: items.', { code: 'parameter_missing', param: 'items' });
    }
    const items = groups.map((group) => this.#read(group));
    const [first] = items;
    if (items.some(({ price }) => price.currency !== first?.price.currency)) {
      throw invalidRequest('All prices on a subscription must have the same currency.', { param: 'items' });
    }
    if (new Set(items.map(({ price }) => price.id)).size < items.length) {
      throw invalidRequest('Cannot add multiple subscription items with the same price.', { param: 'items' });
    }
    return items;
  }

  create(subscription: Subscription, { price, quantity }: PricedItem, start: number): SubscriptionItem {
    const period = this.#cycle.periodFrom(subscription, { price }, start);
    const id = this.#account.random.id('si_');
    const created = Math.floor(this.#account.clock.now() / 1000);
    return newItem({ id, subscription: subscription.id, price, quantity, period, created });
  }

  /** Applies `items[…]` of an update: an `id` names an item to change or remove, without one an item is added. */
  change(subscription: Subscription, groups: readonly Parameters[], now: number): ItemsChange {
    const change: ItemsChange = { ended: [], intervalChanged: false };
    for (const group of groups) {
      const id = group.text('id');
      if (id === undefined) {
        subscription.items.data.push(this.create(subscription, this.#read(group), now));
        continue;
      }
      const item = subscription.items.data.find((candidate) => candidate.id === id);
      if (item === undefined) throw missingResource('subscription item', id);
      if (group.boolean('deleted') === true) {
        change.ended.push(item);
        subscription.items.data = subscription.items.data.filter((other) => other !== item);
      } else this.#changeOne(item, group, change);
    }
    if (subscription.items.data.length === 0) {
      throw invalidRequest('A subscription must have at least one active plan.', { param: 'items' });
    }
    return change;
  }

  #changeOne(item: SubscriptionItem, group: Parameters, change: ItemsChange): void {
    const former = { ...item };
    if (group.has('price')) {
      item.price = this.#price(group.requiredText('price'));
      item.plan = planOf(item.price);
    }
    this.#checkQuantity(item.price, group);
    if (isMetered(item.price)) delete item.quantity;
    else item.quantity = group.integer('quantity') ?? item.quantity ?? 1;
    if (isMetered(former.price) && former.price.recurring?.meter !== item.price.recurring?.meter) {
      change.ended.push(former);
    }
    const [a, b] = [recurrenceOf(former.price), recurrenceOf(item.price)];
    change.intervalChanged ||= a.interval !== b.interval || a.count !== b.count;
  }

  #read(group: Parameters): PricedItem {
    const price = this.#price(group.requiredText('price'));
    this.#checkQuantity(price, group);
    return { price, quantity: isMetered(price) ? undefined : (group.integer('quantity') ?? 1) };
  }

  #price(id: string): Price {
    const price = this.#prices.retrieve(id);
    recurrenceOf(price);
    if (price.active) return price;
    throw invalidRequest('The price specified is inactive. This field only accepts active prices.', { param: 'price' });
  }

  #checkQuantity(price: Price, group: Parameters): void {
    if (!isMetered(price) || !group.has('quantity')) return;
    throw invalidRequest('You cannot set the quantity for metered plans.', { param: 'items' });
  }
}
