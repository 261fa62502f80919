import { decideLateUsage, type DecideLateUsageDeps } from '../late-usage/decide-late-usage.ts';
import { applyPolicies, moveLate, settleLateUsage, type SettleLateUsageDeps } from '../late-usage/settle-late-usage.ts';
import type { BillingCustomer } from '../customers/calendar/billing-customer.ts';
import type { FinalMeterPeriod } from '../submissions/late-usage.ts';
import type { OutboxEntry } from '../submissions/outbox-entry.ts';
import { TIMESTAMP_AGE_MS_MAX } from '../submissions/submission.ts';
import { DAY_MS } from '../platform/durations.ts';
import { registerLateUsage } from '../late-usage/late-usage-routes.ts';
import type { GaugeSource } from '../platform/http/metrics.ts';
import type { RouteRegistrar } from '../platform/http/route.ts';
import type { JobQueue } from '../platform/queue/job-queue.ts';
import type { JobHandler } from '../platform/queue/job-worker.ts';
import type { LateUsageDocument } from '../submissions/late-usage-store.ts';
import { type JobParts, listMeters, requireStripe } from './job-parts.ts';

/** Usage with an older stamp is too late whatever its invoice says; a day more for clocks that differ. */
const FINAL_AGE_MS_MAX = TIMESTAMP_AGE_MS_MAX + DAY_MS;

/** The periods of our meters whose invoices are final, by our customer. Asks Stripe for its meters if there are any. */
export async function finalPeriods(
  parts: JobParts,
  customers: readonly BillingCustomer[],
): Promise<Map<string, FinalMeterPeriod[]>> {
  const stripeIds = customers.flatMap(({ stripeCustomerId }) => stripeCustomerId ?? []);
  const since = new Date(parts.clock.now() - FINAL_AGE_MS_MAX);
  if (stripeIds.length === 0) return new Map();
  const closed = await parts.stores.invoices.finalised(stripeIds, since);
  if (closed.size === 0) return new Map();
  const keys = await meterKeys(parts);
  return new Map(
    customers.map(({ customerId, stripeCustomerId = '' }) => [
      customerId,
      (closed.get(stripeCustomerId) ?? []).flatMap(({ stripeMeterId, ...period }) => {
        const meter = keys.get(stripeMeterId);
        return meter === undefined ? [] : [{ ...period, meter }];
      }),
    ]),
  );
}

/** The keys of our meters by the ids of Stripe's. */
async function meterKeys(parts: JobParts): Promise<Map<string, string>> {
  const byEventName = new Map((await listMeters(parts)).map(({ key, stripe }) => [stripe?.eventName, key]));
  return new Map(
    (await requireStripe(parts).listMeters()).flatMap(({ id, eventName }) => {
      const key = byEventName.get(eventName);
      return key === undefined ? [] : [[id, key] as const];
    }),
  );
}

/** Turns submissions that must not be sent any more into late usage; returns their identifiers. */
export function moveLateSubmissions(parts: JobParts, entries: readonly OutboxEntry[]): Promise<Set<string>> {
  return moveLate(settleDeps(parts), entries);
}

/** Applies the policies of meters to what became late just now. */
export function applyLatePolicies(parts: JobParts): Promise<number> {
  return applyPolicies(settleDeps(parts));
}

export async function settleLate(parts: JobParts): Promise<Record<string, unknown>> {
  return { ...(await settleLateUsage(settleDeps(parts))) };
}

export function lateUsageJobs(parts: JobParts): Record<'settle-late-usage', JobHandler> {
  return { 'settle-late-usage': () => settleLate(parts) };
}

/** Whether late usage waits to be settled, as far as MongoDB tells without a search of the invoices. */
export async function dueLateJobs({ stores, stripe }: JobParts, nowMs: number): Promise<string[]> {
  if (stripe === undefined) return [];
  const isDue = (await stores.lateSubmissions.hasPending()) || (await stores.lateUsage.hasWork(new Date(nowMs)));
  return isDue ? ['settle-late-usage'] : [];
}

/** The routes of late usage. */
export function lateUsageRoutes(parts: JobParts, queue: JobQueue): RouteRegistrar[] {
  const { stores } = parts;
  return [
    (app) =>
      registerLateUsage(app, {
        listLateUsage: (query) => stores.lateUsage.list(query),
        decide: async (input) => {
          const decided = await decideLateUsage(decideDeps(parts), input);
          if (decided.state === 'submitted') queue.ring('submit-meter-events');
          return decided;
        },
      }),
  ];
}

export function lateUsageGauges({ stores, clock }: JobParts): GaugeSource[] {
  return [
    {
      name: 'late_usage_waiting',
      help: 'Late usage that waits for a decision.',
      labels: ['reason'],
      read: async () =>
        (await stores.lateUsage.waiting()).map(({ reason, count }) => ({ value: count, labels: { reason } })),
    },
    {
      name: 'late_usage_oldest_seconds',
      help: 'Since when the oldest of it waits.',
      labels: ['reason'],
      read: async () =>
        (await stores.lateUsage.waiting()).map(({ reason, oldestAt }) => ({
          value: (clock.now() - oldestAt.getTime()) / 1000,
          labels: { reason },
        })),
    },
  ];
}

/** What deciding is handed. */
export function decideDeps(parts: JobParts): DecideLateUsageDeps<LateUsageDocument> {
  const { stores, clock } = parts;
  return {
    lateUsage: stores.lateUsage,
    lateSubmissions: stores.lateSubmissions,
    billingOf: (ids) => stores.customers.billingOf(ids),
    finalPeriods: (customers) => finalPeriods(parts, customers),
    clock,
  };
}

function settleDeps(parts: JobParts): SettleLateUsageDeps {
  const { stores, clock, log } = parts;
  return {
    lateUsage: stores.lateUsage,
    lateSubmissions: stores.lateSubmissions,
    lateChecks: stores.lateChecks,
    entries: stores.outboxEntries,
    billingOf: (ids) => stores.customers.billingOf(ids),
    finalPeriods: (customers) => finalPeriods(parts, customers),
    meters: () => listMeters(parts),
    clock,
    log,
  };
}
