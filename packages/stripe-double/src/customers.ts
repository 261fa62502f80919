import type { Stripe } from 'stripe';
import { answer, missingResource } from './answer.ts';
import type { Answer } from './answer.ts';
import { mergeMetadata } from './metadata.ts';
import { paginate } from './pagination.ts';
import { expand, pageFields } from './parameters.ts';
import type { Fields, Parameters } from './parameters.ts';
import { nowSeconds } from './route.ts';
import type { Account, Call, Route } from './route.ts';

const url = '/v1/customers';

const customerFields: Fields = {
  description: { kind: 'text' },
  email: { kind: 'text', max: 512 },
  metadata: { kind: 'map' },
  name: { kind: 'text', max: 256 },
  phone: { kind: 'text', max: 20 },
  ...expand,
};

/** The customers of the account. A deleted one can be retrieved as such, and is otherwise unknown. */
export class Customers {
  readonly #account: Account;
  readonly #customers = new Map<string, Stripe.Customer | Stripe.DeletedCustomer>();

  #onDeleted: (id: string) => void = () => {};

  constructor(account: Account) {
    this.#account = account;
  }

  /** `listener` hears of a customer that is gone. */
  onDeleted(listener: (id: string) => void): void {
    this.#onDeleted = listener;
  }

  /** Whether usage may name this customer. */
  exists(id: string): boolean {
    const customer = this.#customers.get(id);
    return customer !== undefined && customer.deleted !== true;
  }

  /** Whether the id ever was a customer's. */
  isKnown(id: string): boolean {
    return this.#customers.has(id);
  }

  create(parameters: Parameters): Stripe.Customer {
    const customer = newCustomer(this.#account.random.id('cus_'), nowSeconds(this.#account));
    change(customer, parameters);
    this.#customers.set(customer.id, customer);
    return customer;
  }

  retrieve(id: string): Stripe.Customer | Stripe.DeletedCustomer {
    const customer = this.#customers.get(id);
    if (customer === undefined) throw missingResource('customer', id);
    return customer;
  }

  update(id: string, parameters: Parameters): Stripe.Customer {
    const customer = this.retrieve(id);
    if (customer.deleted === true) throw missingResource('customer', id);
    change(customer, parameters);
    return customer;
  }

  delete(id: string): Stripe.DeletedCustomer {
    if (!this.exists(id)) throw missingResource('customer', id);
    const deleted: Stripe.DeletedCustomer = { id, object: 'customer', deleted: true };
    this.#customers.set(id, deleted);
    this.#onDeleted(id);
    return deleted;
  }

  /** Newest first; `email` compares exactly, case included (Stripe API, List all customers). */
  list(parameters: Parameters): Stripe.ApiList<Stripe.Customer> {
    const email = parameters.text('email');
    const rows: Stripe.Customer[] = [];
    for (const customer of this.#customers.values()) {
      if (customer.deleted !== true && (email === undefined || customer.email === email)) rows.push(customer);
    }
    return paginate(rows.toReversed(), parameters, url);
  }
}

export function customerRoutes(customers: Customers): Route[] {
  const byId = `${url}/{id}`;
  return [
    { name: `POST ${url}`, parameters: customerFields, run: ({ parameters }) => answer(customers.create(parameters)) },
    {
      name: `GET ${url}`,
      parameters: { email: { kind: 'text', max: 512 }, ...pageFields },
      run: ({ parameters }) => answer(customers.list(parameters)),
    },
    { name: `GET ${byId}`, parameters: expand, run: ({ pathId }) => answer(customers.retrieve(pathId)) },
    {
      name: `POST ${byId}`,
      parameters: customerFields,
      run: ({ pathId, parameters }: Call): Answer => answer(customers.update(pathId, parameters)),
    },
    { name: `DELETE ${byId}`, parameters: expand, run: ({ pathId }) => answer(customers.delete(pathId)) },
  ];
}

function newCustomer(id: string, created: number): Stripe.Customer {
  return {
    id,
    object: 'customer',
    address: null,
    balance: 0,
    created,
    currency: null,
    default_source: null,
    delinquent: false,
    description: null,
    email: null,
    invoice_prefix: id.slice(-8).toUpperCase(),
    invoice_settings: { custom_fields: null, default_payment_method: null, footer: null, rendering_options: null },
    livemode: false,
    metadata: {},
    name: null,
    next_invoice_sequence: 1,
    phone: null,
    preferred_locales: [],
    shipping: null,
    tax_exempt: 'none',
    test_clock: null,
  };
}

function change(customer: Stripe.Customer, parameters: Parameters): void {
  const metadata = mergeMetadata(customer.metadata, parameters);
  for (const field of ['description', 'email', 'name', 'phone'] as const) {
    if (parameters.has(field)) customer[field] = parameters.text(field) ?? null;
  }
  customer.metadata = metadata;
}
