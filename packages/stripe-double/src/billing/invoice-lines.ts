import { Exact, zero } from '../decimal.ts';
import type { Meters } from '../meters.ts';
import type { Account } from '../route.ts';
import type { Usage } from '../usage.ts';
import type { BillingPeriod } from './calendar.ts';
import type { InvoiceLine } from './invoice-object.ts';
import { isMetered } from './subscription-object.ts';
import type { Subscription, SubscriptionItem } from './subscription-object.ts';

/** What a line of an invoice is made from, so that its quantity can be taken again. */
export interface BilledItem {
  subscription: Subscription;
  item: SubscriptionItem;
  period: BillingPeriod;
  /** Nothing of the period is billed: the line of a metered price on a first invoice. */
  isEmpty?: boolean;
  /** Its amount is 0 whatever the quantity: of a trial. */
  isFree?: boolean;
}

interface LinesDeps {
  account: Account;
  meters: Meters;
  usage: Usage;
}

/** Turns items and their periods into lines, and counts usage anew whenever it is asked. */
export class InvoiceLines {
  readonly #deps: LinesDeps;

  constructor(deps: LinesDeps) {
    this.#deps = deps;
  }

  create(invoice: string, billed: BilledItem, atMs: number): InvoiceLine {
    const { subscription, item, period } = billed;
    const { price } = item;
    const line: InvoiceLine = {
      id: this.#deps.account.random.id('il_', 24),
      object: 'line_item',
      amount: 0,
      currency: price.currency,
      description: null,
      discount_amounts: [],
      discountable: true,
      discounts: [],
      invoice,
      livemode: false,
      metadata: subscription.metadata,
      parent: {
        invoice_item_details: null,
        subscription_item_details: {
          invoice_item: null,
          proration: false,
          proration_details: { credited_items: null },
          subscription: subscription.id,
          subscription_item: item.id,
        },
        type: 'subscription_item_details',
      },
      period: { start: period.start, end: period.end },
      pretax_credit_amounts: [],
      pricing: {
        price_details: { price: price.id, product: price.product },
        type: 'price_details',
        unit_amount_decimal: price.unit_amount_decimal,
      },
      quantity: 0,
      quantity_decimal: '0',
      subscription: subscription.id,
      subtotal: 0,
      taxes: [],
    };
    this.count(line, billed, atMs);
    return line;
  }

  /**
   * Sets quantity and amount of a line from the usage with timestamps inside its period. A negative total is billed as
   * 0; `quantity` is truncated, the amount rounded half up (Stripe docs, Record usage).
   */
  count(line: InvoiceLine, billed: BilledItem, atMs: number): void {
    const quantity = this.#quantity(billed, atMs);
    const counted = quantity.isNegative() ? zero : quantity;
    line.quantity = counted.truncated().toNumber();
    line.quantity_decimal = counted.toFixed();
    line.amount = (billed.isFree === true ? zero : counted)
      .times(billed.item.price.unit_amount_decimal)
      .toDecimalPlaces(0, Exact.ROUND_HALF_UP)
      .toNumber();
    line.subtotal = line.amount;
    line.description = `${line.quantity_decimal} × ${billed.item.price.product}`;
  }

  #quantity({ subscription, item, period, isEmpty }: BilledItem, atMs: number): Exact {
    if (isEmpty === true) return zero;
    if (!isMetered(item.price)) return new Exact(item.quantity ?? 1);
    const { account, meters, usage } = this.#deps;
    const meter = meters.find(item.price.recurring?.meter ?? '');
    const pair = meter && usage.pair(subscription.customer, meter);
    if (pair === undefined) return zero;
    const view = { kind: account.switches.invoiceUsage, atMs };
    return usage.aggregate(pair, { from: period.start, to: period.end }, view) ?? zero;
  }
}
