import { Customers, customerRoutes } from './customers.ts';
import { eventSummaryRoutes } from './event-summaries.ts';
import { meterEventAdjustmentRoutes } from './meter-event-adjustments.ts';
import { meterEventRoutes } from './meter-events.ts';
import type { AsyncRejection } from './meter-events.ts';
import { Meters, meterRoutes } from './meters.ts';
import type { Account } from './route.ts';
import { Router } from './router.ts';
import { Usage } from './usage.ts';

/** The state of one simulated Stripe account and the table of its routes. A new resource is added here. */
export class SimulatedAccount {
  readonly account: Account;
  readonly customers: Customers;
  readonly meters: Meters;
  readonly usage: Usage;
  readonly asyncRejections: AsyncRejection[] = [];
  readonly router: Router;

  constructor(account: Account) {
    this.account = account;
    this.customers = new Customers(account);
    this.meters = new Meters(account);
    this.usage = new Usage(account);
    this.router = new Router([
      ...customerRoutes(this.customers),
      ...meterRoutes(this.meters),
      ...eventSummaryRoutes(this),
      ...meterEventRoutes(this),
      ...meterEventAdjustmentRoutes(this),
    ]);
  }
}
