import type { Customers } from '../customers.ts';
import type { SnapshotEvents } from '../events/snapshot-events.ts';
import type { Meters } from '../meters.ts';
import type { Account, Route } from '../route.ts';
import type { Usage } from '../usage.ts';
import type { Deliveries } from '../webhooks/deliveries.ts';
import { InvoiceCycle } from './invoice-cycle.ts';
import { InvoiceLines } from './invoice-lines.ts';
import { invoiceRoutes } from './invoice-routes.ts';
import { Invoices } from './invoices.ts';
import { Payments } from './payments.ts';
import { Prices, priceRoutes } from './prices.ts';
import { Products, productRoutes } from './products.ts';
import { SubscriptionCycle } from './subscription-cycle.ts';
import type { Subscription } from './subscription-object.ts';
import { subscriptionRoutes } from './subscription-routes.ts';
import { Subscriptions } from './subscriptions.ts';

interface BillingDeps {
  account: Account;
  customers: Customers;
  meters: Meters;
  usage: Usage;
  events: SnapshotEvents;
  deliveries: Deliveries;
}

/** Prices, subscriptions and invoices of the account, put together. */
export class Billing {
  readonly invoices: Invoices;
  readonly subscriptions: Subscriptions;
  readonly routes: Route[];

  constructor(deps: BillingDeps) {
    const { account } = deps;
    const products = new Products(account);
    const prices = new Prices({ ...deps, products });
    this.invoices = new Invoices({ ...deps, lines: new InvoiceLines(deps) });
    const { invoices } = this;
    const payments = new Payments(account, invoices);
    const invoiceCycle = new InvoiceCycle({ ...deps, invoices, payments });
    const subscriptions = new Map<string, Subscription>();
    const cycle = new SubscriptionCycle({ ...deps, invoices, invoiceCycle }, subscriptions);
    payments.listen(cycle);
    this.subscriptions = new Subscriptions({ ...deps, prices, cycle, subscriptions });
    deps.customers.onDeleted((customer) => this.subscriptions.endAllOf(customer));
    this.routes = [
      ...productRoutes(products),
      ...priceRoutes(prices),
      ...subscriptionRoutes(this.subscriptions),
      ...invoiceRoutes({ account, invoices, invoiceCycle, payments }),
    ];
  }
}
