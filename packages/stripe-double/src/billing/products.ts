import type { Stripe } from 'stripe';
import { answer, missingResource } from '../answer.ts';
import { mergeMetadata } from '../metadata.ts';
import { paginate } from '../pagination.ts';
import { expand, pageFields } from '../parameters.ts';
import type { Fields, Parameters } from '../parameters.ts';
import { nowSeconds } from '../route.ts';
import type { Account, Route } from '../route.ts';

const url = '/v1/products';
const fields: Fields = {
  active: { kind: 'boolean' },
  description: { kind: 'text' },
  metadata: { kind: 'map' },
  unit_label: { kind: 'text', max: 12 },
  ...expand,
};

/** The products of the account: what a price needs of them. */
export class Products {
  readonly #account: Account;
  readonly #products = new Map<string, Stripe.Product>();

  constructor(account: Account) {
    this.#account = account;
  }

  create(parameters: Parameters): Stripe.Product {
    const created = nowSeconds(this.#account);
    const product: Stripe.Product = {
      id: this.#account.random.id('prod_'),
      object: 'product',
      active: true,
      created,
      default_price: null,
      description: null,
      images: [],
      livemode: false,
      marketing_features: [],
      metadata: {},
      name: parameters.requiredText('name'),
      package_dimensions: null,
      shippable: null,
      statement_descriptor: null,
      tax_code: null,
      tax_details: null,
      type: 'service',
      unit_label: null,
      updated: created,
      url: null,
    };
    this.#change(product, parameters);
    this.#products.set(product.id, product);
    return product;
  }

  retrieve(id: string): Stripe.Product {
    const product = this.#products.get(id);
    if (product === undefined) throw missingResource('product', id);
    return product;
  }

  update(id: string, parameters: Parameters): Stripe.Product {
    const product = this.retrieve(id);
    this.#change(product, parameters);
    return product;
  }

  list(parameters: Parameters): Stripe.ApiList<Stripe.Product> {
    const active = parameters.boolean('active');
    const rows = [...this.#products.values()].filter((product) => active === undefined || product.active === active);
    return paginate(rows.toReversed(), parameters, url);
  }

  #change(product: Stripe.Product, parameters: Parameters): void {
    product.metadata = mergeMetadata(product.metadata, parameters);
    product.active = parameters.boolean('active') ?? product.active;
    product.name = parameters.text('name') ?? product.name;
    if (parameters.has('description')) product.description = parameters.text('description') ?? null;
    if (parameters.has('unit_label')) product.unit_label = parameters.text('unit_label') ?? null;
    product.updated = nowSeconds(this.#account);
  }
}

export function productRoutes(products: Products): Route[] {
  const byId = `${url}/{id}`;
  return [
    {
      name: `POST ${url}`,
      parameters: { name: { kind: 'text', required: true }, ...fields },
      run: ({ parameters }) => answer(products.create(parameters)),
    },
    {
      name: `GET ${url}`,
      parameters: { active: { kind: 'boolean' }, ...pageFields },
      run: ({ parameters }) => answer(products.list(parameters)),
    },
    { name: `GET ${byId}`, parameters: expand, run: ({ pathId }) => answer(products.retrieve(pathId)) },
    {
      name: `POST ${byId}`,
      parameters: { name: { kind: 'text' }, ...fields },
      run: ({ pathId, parameters }) => answer(products.update(pathId, parameters)),
    },
  ];
}
