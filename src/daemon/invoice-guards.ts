import { randomUUID } from 'node:crypto';
import { guardInvoices, type GuardInvoicesDeps, isGuarded } from '../invoice-guard/guard-invoices.ts';
import type { WantedJob } from '../invoice-guard/look-at-invoice.ts';
import { mirrorInvoice } from '../mirror/mirror-invoice.ts';
import type { Invoice } from '../mirror/invoice.ts';
import { trialPeriod } from '../mirror/subscription.ts';
import { DAY_MS } from '../platform/durations.ts';
import { registerInvoiceGuards } from '../invoice-guard/invoice-guards-routes.ts';
import type { GaugeSource } from '../platform/http/metrics.ts';
import type { RouteRegistrar } from '../platform/http/route.ts';
import type { JobQueue } from '../platform/queue/job-queue.ts';
import type { JobHandler } from '../platform/queue/job-worker.ts';
import { type JobParts, listMeters, requireStripe } from './job-parts.ts';
import { reconciliationDeps } from './reconciliation-deps.ts';

const GUARD_JOB = 'guard-invoices';
/** Final invoices that differ are shown as long as late usage may come to explain them. */
const DIFFERING_MS_MAX = 35 * DAY_MS;

/** The job that looks at invoices before they are finalised, and afterwards. */
export function guardJobs(parts: JobParts): Record<typeof GUARD_JOB, JobHandler> {
  return { [GUARD_JOB]: async ({ signal }) => ({ ...(await guardInvoices(guardDeps(parts), { signal })) }) };
}

function guardDeps(parts: JobParts): GuardInvoicesDeps {
  const { stores, config, clock, log } = parts;
  const stripe = requireStripe(parts);
  const { objects } = stripe;
  const { ledger, localFigure, lateUsage, summaries, summaryLagMaxMs } = reconciliationDeps(parts);
  const mirror = { invoices: stores.invoices, fetchInvoice: (id: string) => objects.invoices.fetch(id) };
  return {
    guards: stores.invoiceGuards,
    invoices: stores.invoices,
    refresh: (id) => mirrorInvoice(mirror, id),
    setAutoAdvance: (call) => objects.invoiceAdvance.set(call),
    meters: () => listMeters(parts),
    stripeMeters: () => stripe.listMeters(),
    customers: stores.customers,
    usage: {
      hasRows: (customerId) => stores.usageAggregates.hasRows(customerId),
      isToRequeue: async (customerId) =>
        (await stores.customers.find(customerId))?.requeueFrom !== undefined ||
        (await stores.meters.listToRequeue()).length > 0,
      waitingHours: (customerId, fromHour) => stores.aggregateChecks.waitingHours(customerId, fromHour),
      isUnsent: (scope, isAdditive) => stores.unfinishedUsage.isUnsent(scope, isAdditive),
    },
    ledger,
    localFigure,
    lateUsage,
    summaries,
    summaryLagMaxMs,
    trialOf: async (id) => {
      const subscription = await stores.subscriptions.find(id);
      return subscription === null ? undefined : trialPeriod(subscription);
    },
    unbilled: (scope) => stores.unfinishedUsage.unbilled(scope),
    marginMs: config.invoiceGuardMarginMs,
    withoutVerdict: config.guardWithoutVerdict,
    clock,
    log,
  };
}

/** Has the guard look at an invoice that Stripe told something about. Before the news of it counts as dealt with. */
export async function wakeGuard({ stores, clock }: JobParts, invoice: Invoice | undefined): Promise<void> {
  if (invoice === undefined || !isGuarded(invoice, clock.now())) return;
  await stores.invoiceGuards.wake(invoice, new Date(clock.now()));
}

/** Whether a guard is due, from what MongoDB holds. */
export async function dueGuardJobs({ stores, stripe }: JobParts, nowMs: number): Promise<string[]> {
  if (stripe === undefined) return [];
  return (await stores.invoiceGuards.hasDue(new Date(nowMs))) ? [GUARD_JOB] : [];
}

/** Rings for the guard after invoices were mirrored, and for what the guard wants done. */
export async function ringForGuards(
  { parts, queue }: { parts: JobParts; queue: JobQueue },
  job: string,
  result: Record<string, unknown>,
): Promise<void> {
  if (job === 'process-webhooks' && result['invoices'] !== 0) await queue.addOnce(GUARD_JOB, 'follow-up');
  if (job !== GUARD_JOB) return;
  for (const wanted of result['wanted'] as readonly WantedJob[]) {
    if (wanted.input === undefined) await queue.addOnce(wanted.job, 'follow-up');
    else await requestRun({ parts, queue }, wanted.job, wanted.input);
  }
}

async function requestRun(
  { parts, queue }: { parts: JobParts; queue: JobQueue },
  job: string,
  input: Record<string, unknown>,
): Promise<void> {
  const _id = randomUUID();
  const queuedAt = new Date(parts.clock.now());
  await parts.stores.runs.insert({ _id, job, trigger: 'follow-up', state: 'queued', input, queuedAt, attempts: 0 });
  await queue.addRun(job, _id);
}

/** The routes of the guard. */
export function guardRoutes(parts: JobParts, queue: JobQueue): RouteRegistrar[] {
  const { stores, clock, log } = parts;
  return [
    (app) =>
      registerInvoiceGuards(app, {
        listGuards: (query) => stores.invoiceGuards.list(query),
        findGuard: (invoiceId) => stores.invoiceGuards.find(invoiceId),
        release: async ({ invoiceId, ...by }) => {
          const at = new Date(clock.now());
          const released = await stores.invoiceGuards.requestRelease(invoiceId, { ...by, at });
          if (released === null) return null;
          log.warn({ invoice: invoiceId, ...by }, 'invoice is to be released');
          queue.ring(GUARD_JOB);
          return released;
        },
      }),
  ];
}

export function guardGauges({ stores, clock }: JobParts): GaugeSource[] {
  return [
    {
      name: 'invoice_guards',
      help: 'Invoices that are not final, by the state of their guard: held ones wait.',
      labels: ['state'],
      read: async () =>
        (await stores.invoiceGuards.census()).map(({ state, count }) => ({ value: count, labels: { state } })),
    },
    {
      name: 'invoices_differing',
      help: 'Final invoices of the last 35 days that do not bill what was used.',
      read: async () => [
        { value: await stores.invoiceGuards.countDiffering(new Date(clock.now() - DIFFERING_MS_MAX)) },
      ],
    },
  ];
}
