import { explainUsage } from '../explain/explain-usage.ts';
import { readInvoiceUsage } from '../explain/read-invoice-usage.ts';
import { readEvents } from '../usage/read-events.ts';
import { recordAdjustment, type RecordAdjustmentDeps } from '../usage/record-adjustment.ts';
import type { Meter } from '../meters/meter.ts';
import { registerAdjustments } from '../usage/adjustments-routes.ts';
import { registerCustomerEvents } from '../usage/customer-events-routes.ts';
import { registerExplain } from '../explain/explain-routes.ts';
import { registerInvoices } from '../explain/invoices-routes.ts';
import type { RouteRegistrar } from '../platform/http/route.ts';
import { toPairText } from '../usage/dirty-hours-store.ts';
import { toMeter } from '../meters/meters-store.ts';
import { withUsageAudit } from '../explain/usage-audit-store.ts';
import type { JobParts } from './job-parts.ts';
import { explainBilling } from './unbilled-usage.ts';
import type { Stores } from './stores.ts';

/** The routes of raw facts: what is behind a figure, corrections of it, and how it came to be billed. */
export function factRoutes(parts: JobParts): RouteRegistrar[] {
  const { stores, clock, config } = parts;
  const findMeter = (key: string) => meterByKey(stores, key);
  return [
    (app) =>
      registerCustomerEvents(app, {
        readEvents: (input) =>
          readEvents({ clock, customers: stores.customers, findMeter, rawFacts: stores.rawFacts }, input),
      }),
    (app) =>
      registerAdjustments(app, {
        recordAdjustment: (input) => recordAdjustment(recordingDeps(stores, clock), input),
        listAdjustments: (query) => stores.usageAdjustments.list(query),
        eventAgeDaysMax: config.eventAgeDaysMax,
      }),
    (app) =>
      registerExplain(app, {
        explainUsage: (input) =>
          explainUsage(
            {
              clock,
              withAudit: (work) => withUsageAudit(stores.database.db, work),
              submissions: (of) => stores.explanations.submissions(of),
              lateUsage: (of) => stores.explanations.lateUsage(of),
              billing: (of) => explainBilling(parts, of),
              rawFacts: stores.rawFacts,
            },
            input,
          ),
      }),
    (app) =>
      registerInvoices(app, {
        readInvoiceUsage: (invoiceId) =>
          readInvoiceUsage({ invoices: stores.invoices, sentTo: (of) => stores.explanations.sentTo(of) }, invoiceId),
      }),
  ];
}

/** What recording an adjustment is handed. */
export function recordingDeps(
  stores: Stores,
  clock: JobParts['clock'],
): RecordAdjustmentDeps<Awaited<ReturnType<Stores['dirtyHours']['open']>>> {
  return {
    clock,
    findMeter: (key) => meterByKey(stores, key),
    billingOf: (ids) => stores.customers.billingOf(ids),
    isKnownCustomer: (id) => isKnownCustomer(stores, id),
    journal: {
      open: (hour, at) => stores.dirtyHours.open([toPairText(hour)], at),
      close: (entry, hour, at) => stores.dirtyHours.close(entry, [toPairText(hour)], at),
    },
    adjustments: stores.usageAdjustments,
  };
}

/** Told of, counted, waiting to be counted, or adjusted before. */
async function isKnownCustomer(stores: Stores, customerId: string): Promise<boolean> {
  if ((await stores.customers.find(customerId)) !== null) return true;
  if (await stores.usageAggregates.hasRows(customerId)) return true;
  if (await stores.dirtyHours.hasWaiting(customerId)) return true;
  return (await stores.usageAdjustments.list({ customerId, limit: 1 })).adjustments.length > 0;
}

async function meterByKey(stores: Stores, key: string): Promise<Meter | undefined> {
  const found = await stores.meters.find(key);
  return found === null ? undefined : toMeter(found);
}
