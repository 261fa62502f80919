import type { Stripe } from 'stripe';
import { answer, invalidRequest, missingResource } from '../answer.ts';
import { Exact } from '../decimal.ts';
import { mergeMetadata } from '../metadata.ts';
import type { Meters } from '../meters.ts';
import { paginate } from '../pagination.ts';
import { expand, pageFields } from '../parameters.ts';
import type { Fields, Parameters } from '../parameters.ts';
import { nowSeconds } from '../route.ts';
import type { Account, Route } from '../route.ts';
import type { Recurrence } from './calendar.ts';
import type { Products } from './products.ts';

/** A price as it goes over the wire: decimals are text there. */
export type Price = Omit<Stripe.Price, 'unit_amount_decimal' | 'product'> & {
  unit_amount_decimal: string;
  product: string;
};

const url = '/v1/prices';
const intervals = ['day', 'week', 'month', 'year'] as const;
const usageTypes = ['licensed', 'metered'];
const changeable: Fields = {
  active: { kind: 'boolean' },
  lookup_key: { kind: 'text', max: 200 },
  metadata: { kind: 'map' },
  nickname: { kind: 'text' },
  ...expand,
};
const createFields: Fields = {
  currency: { kind: 'text', max: 3, required: true },
  product: { kind: 'text' },
  product_data: {
    kind: 'group',
    fields: { name: { kind: 'text', required: true }, unit_label: { kind: 'text' }, metadata: { kind: 'map' } },
  },
  recurring: {
    kind: 'group',
    fields: {
      interval: { kind: 'choice', of: intervals, required: true },
      interval_count: { kind: 'integer', min: 1 },
      meter: { kind: 'text' },
      usage_type: { kind: 'choice', of: usageTypes },
    },
  },
  unit_amount: { kind: 'integer', min: 0 },
  unit_amount_decimal: { kind: 'decimal' },
  ...changeable,
};

/** The prices of the account: per unit, in one currency. */
export class Prices {
  readonly #account: Account;
  readonly #meters: Meters;
  readonly #products: Products;
  readonly #prices = new Map<string, Price>();

  constructor({ account, meters, products }: { account: Account; meters: Meters; products: Products }) {
    this.#account = account;
    this.#meters = meters;
    this.#products = products;
  }

  create(parameters: Parameters): Price {
    const recurring = parameters.has('recurring') ? this.#recurring(parameters.group('recurring')) : null;
    const amount = readAmount(parameters);
    const price: Price = {
      id: this.#account.random.id('price_', 24),
      object: 'price',
      active: parameters.boolean('active') ?? true,
      billing_scheme: 'per_unit',
      created: nowSeconds(this.#account),
      currency: parameters.requiredText('currency').toLowerCase(),
      custom_unit_amount: null,
      livemode: false,
      lookup_key: parameters.text('lookup_key') ?? null,
      metadata: mergeMetadata({}, parameters),
      nickname: parameters.text('nickname') ?? null,
      product: this.#product(parameters),
      recurring,
      tax_behavior: 'unspecified',
      tiers_mode: null,
      transform_quantity: null,
      type: recurring === null ? 'one_time' : 'recurring',
      unit_amount: amount.isInteger() ? amount.toNumber() : null,
      unit_amount_decimal: amount.toFixed(),
    };
    this.#prices.set(price.id, price);
    return price;
  }

  retrieve(id: string): Price {
    const price = this.#prices.get(id);
    if (price === undefined) throw missingResource('price', id);
    return price;
  }

  update(id: string, parameters: Parameters): Price {
    const price = this.retrieve(id);
    price.metadata = mergeMetadata(price.metadata, parameters);
    price.active = parameters.boolean('active') ?? price.active;
    if (parameters.has('nickname')) price.nickname = parameters.text('nickname') ?? null;
    if (parameters.has('lookup_key')) price.lookup_key = parameters.text('lookup_key') ?? null;
    return price;
  }

  list(parameters: Parameters): Stripe.ApiList<Price> {
    const active = parameters.boolean('active');
    const recurring = parameters.group('recurring');
    const wanted: [string | undefined, (price: Price) => unknown][] = [
      [parameters.text('product'), (price) => price.product],
      [parameters.text('currency'), (price) => price.currency],
      [parameters.text('type'), (price) => price.type],
      [recurring.text('interval'), (price) => price.recurring?.interval],
      [recurring.text('meter'), (price) => price.recurring?.meter],
      [recurring.text('usage_type'), (price) => price.recurring?.usage_type],
    ];
    const keys = parameters.list('lookup_keys');
    const rows = [...this.#prices.values()].filter(
      (price) =>
        (active === undefined || price.active === active) &&
        (keys.length === 0 || keys.includes(price.lookup_key ?? '')) &&
        parameters.rangeHas('created', price.created) &&
        wanted.every(([value, read]) => value === undefined || read(price) === value),
    );
    return paginate(rows.toReversed(), parameters, url);
  }

  #recurring(parameters: Parameters): Stripe.Price.Recurring {
    const usageType = parameters.text('usage_type') ?? 'licensed';
    const meter = parameters.text('meter') ?? null;
    const param = 'recurring[meter]';
    if (usageType === 'metered' && meter === null) {
      throw invalidRequest('A metered price must be backed by a meter.', { code: 'parameter_missing', param });
    }
    if (usageType !== 'metered' && meter !== null) {
      throw invalidRequest('A meter may only be given where usage_type is metered.', { param });
    }
    if (meter !== null && this.#meters.retrieve(meter).status !== 'active') {
      throw invalidRequest('A deactivated meter cannot be attached to a price.', { param });
    }
    return {
      interval: parameters.requiredText('interval'),
      interval_count: parameters.integer('interval_count') ?? 1,
      meter,
      trial_period_days: null,
      usage_type: usageType,
    };
  }

  #product(parameters: Parameters): string {
    const id = parameters.text('product');
    if (parameters.has('product_data') === (id !== undefined)) {
      throw invalidRequest('You must give either product or product_data.', { param: 'product' });
    }
    return (id === undefined ? this.#products.create(parameters.group('product_data')) : this.#products.retrieve(id))
      .id;
  }
}

/** What the price's cycle is; throws where it does not recur. */
export function recurrenceOf(price: Price): Recurrence {
  const interval = intervals.find((name) => name === price.recurring?.interval);
  if (interval === undefined || price.recurring === null) {
    throw invalidRequest(`The price ${price.id} does not recur.`, { param: 'items' });
  }
  return { interval, count: price.recurring.interval_count };
}

export function priceRoutes(prices: Prices): Route[] {
  const byId = `${url}/{id}`;
  return [
    { name: `POST ${url}`, parameters: createFields, run: ({ parameters }) => answer(prices.create(parameters)) },
    {
      name: `GET ${url}`,
      parameters: {
        active: { kind: 'boolean' },
        created: { kind: 'range' },
        currency: { kind: 'text' },
        lookup_keys: { kind: 'list' },
        product: { kind: 'text' },
        recurring: {
          kind: 'group',
          fields: {
            interval: { kind: 'choice', of: intervals },
            meter: { kind: 'text' },
            usage_type: { kind: 'choice', of: usageTypes },
          },
        },
        type: { kind: 'choice', of: ['one_time', 'recurring'] },
        ...pageFields,
      },
      run: ({ parameters }) => answer(prices.list(parameters)),
    },
    { name: `GET ${byId}`, parameters: expand, run: ({ pathId }) => answer(prices.retrieve(pathId)) },
    {
      name: `POST ${byId}`,
      parameters: changeable,
      run: ({ pathId, parameters }) => answer(prices.update(pathId, parameters)),
    },
  ];
}

function readAmount(parameters: Parameters): Exact {
  const [whole, decimal] = [parameters.text('unit_amount'), parameters.text('unit_amount_decimal')];
  if ((whole === undefined) === (decimal === undefined)) {
    throw invalidRequest('You must give either unit_amount or unit_amount_decimal.', { param: 'unit_amount' });
  }
  const amount = new Exact(whole ?? decimal ?? '0');
  if (amount.isNegative() || amount.decimalPlaces() > 12) {
    throw invalidRequest('Invalid decimal: at most 12 decimal places, not negative.', { param: 'unit_amount_decimal' });
  }
  return amount;
}
