import { findUnbilledUsage, type FindUnbilledDeps } from '../reconciliation/find-unbilled-usage.ts';
import type { ExplainedBilling } from '../explain/explanation.ts';
import { invoicesOf } from '../explain/invoice-quantity.ts';
import type { Period } from '../customers/calendar/period.ts';
import type { GaugeSource } from '../platform/http/metrics.ts';
import type { RouteRegistrar } from '../platform/http/route.ts';
import type { Status } from './status-routes.ts';
import { registerUnbilledUsage } from '../reconciliation/unbilled-usage-routes.ts';
import type { JobQueue } from '../platform/queue/job-queue.ts';
import type { JobHandler } from '../platform/queue/job-worker.ts';
import { type JobParts, requireStripe } from './job-parts.ts';
import { reconciliationDeps } from './reconciliation-deps.ts';

/** Looks that are asked for by what happened take at most one part in this many of the time; the hourly one is always made. */
const IDLE_PARTS_MIN = 20;
/** Of one customer: more than anybody has. */
const METERS_MAX = 1_000;
/** What happens within moments is one look. */
const GATHER_MS = 1_000;

/** What looking for unbilled usage is handed. */
export function unbilledDeps(parts: JobParts): FindUnbilledDeps {
  const { stores, clock } = parts;
  return {
    ...reconciliationDeps(parts),
    submittedMeters: (customerId) => stores.ledger.submittedMeters(customerId),
    unbilledReasons: (ids) => stores.customers.unbilledReasons(ids),
    subscriptions: stores.subscriptions,
    invoices: stores.invoices,
    mirroredTo: () => stores.eventCoverage.find('snapshot'),
    unbilled: stores.unbilledUsage,
    clock,
  };
}

export function unbilledJobs(parts: JobParts): Record<'find-unbilled-usage', JobHandler> {
  return {
    'find-unbilled-usage': async ({ signal }) => {
      requireStripe(parts);
      return findUnbilledUsage(unbilledDeps(parts), { signal });
    },
  };
}

/** Rings for another look after a job that sent usage or learnt of subscriptions and invoices. */
export async function ringForUnbilled(
  { parts, queue }: { parts: JobParts; queue: JobQueue },
  job: string,
  result: Record<string, unknown>,
): Promise<void> {
  const counts: Readonly<Record<string, readonly string[]>> = {
    'submit-meter-events': ['accepted'],
    'process-webhooks': ['subscriptions', 'invoices'],
    'catch-up-events': ['listed'],
  };
  if (!(counts[job] ?? []).some((name) => Number(result[name] ?? 0) > 0)) return;
  const last = await parts.stores.unbilledUsage.lastCheck();
  const isRested = last === undefined || parts.clock.now() - last.at.getTime() >= last.elapsedMs * IDLE_PARTS_MIN;
  if (isRested) await queue.addOnce('find-unbilled-usage', 'follow-up', GATHER_MS);
}

/** What the last look came to, and why nothing can be said where that is so. */
export async function readUnbilled({ stores, stripe }: JobParts): Promise<Status['unbilled']> {
  const [check, reasons, accepted] = await Promise.all([
    stores.unbilledUsage.lastCheck(),
    stores.unbilledUsage.census(),
    stores.unbilledUsage.countAccepted(),
  ]);
  const unknown = stripe === undefined ? 'stripe_not_configured' : check === undefined ? 'not_checked' : check.unknown;
  return {
    reasons,
    accepted,
    ...(unknown !== undefined && { unknown }),
    ...(check && { checkedAt: check.at.toISOString() }),
    ...(check?.mirroredTo && { mirroredTo: check.mirroredTo.toISOString() }),
  };
}

/** What became of a customer's usage of a meter at Stripe: lines of mirrored invoices, and what nothing bills. */
export async function explainBilling(
  parts: JobParts,
  of: Period & {
    customerId: string;
    meter: string;
    stripeCustomerIds: readonly string[];
    stripeMeterIds: readonly string[];
  },
): Promise<ExplainedBilling> {
  const { stores } = parts;
  const { customerId, stripeCustomerIds, stripeMeterIds } = of;
  const billing = await stores.invoices.billingUsage(stripeCustomerIds, new Date(of.fromMs));
  const usage = await stores.unbilledUsage.list({ customerId, limit: METERS_MAX });
  const { unknown } = await readUnbilled(parts);
  return {
    invoices: invoicesOf([...billing.values()].flat(), { range: of, stripeMeterIds }),
    unbilled: usage
      .filter(({ meter }) => meter === of.meter)
      .flatMap((found) => found.parts.filter(({ fromMs, toMs }) => fromMs < of.toMs && toMs > of.fromMs)),
    ...(unknown !== undefined && { unbilledUnknown: unknown }),
  };
}

export function unbilledRoutes({ stores }: JobParts): RouteRegistrar[] {
  return [(app) => registerUnbilledUsage(app, { listUnbilled: (query) => stores.unbilledUsage.list(query) })];
}

export function unbilledGauges(parts: JobParts): GaugeSource[] {
  return [
    {
      name: 'unbilled_usage',
      help: "Customers' meters with usage at Stripe that nothing bills, by reason, but for those that are meant to be so.",
      labels: ['reason'],
      read: async () =>
        (await parts.stores.unbilledUsage.census()).map(({ reason, count }) => ({ value: count, labels: { reason } })),
    },
    {
      name: 'unbilled_unknown',
      help: '1 while it is not known whether anything bills the usage.',
      read: async () => [{ value: (await readUnbilled(parts)).unknown === undefined ? 0 : 1 }],
    },
  ];
}
