import { Billing } from './billing/billing.ts';
import { Customers, customerRoutes } from './customers.ts';
import { eventSummaryRoutes } from './event-summaries.ts';
import { ErrorReports } from './events/error-reports.ts';
import { SnapshotEvents, snapshotEventRoutes } from './events/snapshot-events.ts';
import { thinEventRoutes } from './events/thin-event-routes.ts';
import { ThinEvents } from './events/thin-events.ts';
import { meterEventAdjustmentRoutes } from './meter-event-adjustments.ts';
import { meterEventRoutes } from './meter-events.ts';
import { Meters, meterRoutes } from './meters.ts';
import { SeededRandom } from './random.ts';
import type { Account } from './route.ts';
import { Router } from './router.ts';
import { Usage } from './usage.ts';
import { Deliveries } from './webhooks/deliveries.ts';
import type { Destinations } from './webhooks/destinations.ts';

export interface SimulatedAccountDeps {
  account: Account;
  destinations: Destinations;
  /** For what must not change the ids of objects: ids of events, disorder of their delivery. */
  seed: number;
  stopping: AbortSignal;
}

const eventSeedMask = 0x3c3c_3c3c;
const deliverySeedMask = 0x7171_7171;

/** The state of one simulated Stripe account and the table of its routes. A new resource is added here. */
export class SimulatedAccount {
  readonly account: Account;
  readonly customers: Customers;
  readonly meters: Meters;
  readonly usage: Usage;
  readonly deliveries: Deliveries;
  readonly events: SnapshotEvents;
  readonly thinEvents: ThinEvents;
  readonly errorReports: ErrorReports;
  readonly billing: Billing;
  readonly router: Router;

  constructor({ account, destinations, seed, stopping }: SimulatedAccountDeps) {
    this.account = account;
    this.customers = new Customers(account);
    this.meters = new Meters(account);
    this.usage = new Usage(account);
    const disorder = new SeededRandom(seed ^ deliverySeedMask);
    this.deliveries = new Deliveries({ account, destinations, random: disorder, stopping });
    const random = new SeededRandom(seed ^ eventSeedMask);
    this.events = new SnapshotEvents({ account, deliveries: this.deliveries, random });
    this.thinEvents = new ThinEvents({ account, deliveries: this.deliveries, random });
    this.errorReports = new ErrorReports(account, this.thinEvents);
    this.billing = new Billing(this);
    this.router = new Router([
      ...customerRoutes(this.customers),
      ...meterRoutes(this.meters),
      ...eventSummaryRoutes(this),
      ...meterEventRoutes(this),
      ...meterEventAdjustmentRoutes(this),
      ...snapshotEventRoutes(this.events),
      ...thinEventRoutes(this.thinEvents),
      ...this.billing.routes,
    ]);
  }
}
