import { aggregateUsage } from '../../jobs/aggregate-usage.ts';
import { mirrorCalendar } from '../../jobs/mirror-calendar.ts';
import { reconcileUsage } from '../../jobs/reconcile-usage.ts';
import { requeueUsage } from '../../jobs/requeue-usage.ts';
import { syncMeters } from '../../jobs/sync-meters.ts';
import { DaemonError } from '../errors.ts';
import type { JobHandler } from '../queue/job-worker.ts';
import { inDerivationRun } from '../storage/derivation-run.ts';
import { guardJobs } from './invoice-guards.ts';
import { auditJobs } from './audit-jobs.ts';
import { type JobParts, listMeters, requireStripe } from './job-parts.ts';
import { lateUsageJobs } from './late-usage.ts';
import { reconciliationDeps } from './reconciliation-deps.ts';
import { submissionJobs } from './submission-jobs.ts';
import { isSubmittingPaused, unlessPaused } from './submitting-pause.ts';
import { calendarDeps, webhookJobs } from './webhooks.ts';

/** The jobs by name: what the queue runs, and what `POST /v1/runs` accepts. */
export function jobHandlers(parts: JobParts): Record<string, JobHandler> {
  return {
    'aggregate-usage': ({ input, signal }) =>
      toResult(aggregateUsage(aggregationDeps(parts), { dryRun: input['dryRun'] === true, signal })),
    'requeue-usage': () => toResult(requeueUsage(requeueDeps(parts))),
    ...auditJobs(parts),
    ...lateUsageJobs(parts),
    ...guardJobs(parts),
    ...webhookJobs(parts),
    ...unlessPaused(parts, submissionJobs(parts)),
    'sync-meters': async ({ input }) => {
      const { meters } = requireStripe(parts);
      return toResult(
        syncMeters({ meters: () => listMeters(parts), stripeMeters: meters }, { dryRun: input['dryRun'] === true }),
      );
    },
    'reconcile-usage': async ({ input, signal }) => {
      requireStripe(parts);
      await parts.stores.ledger.finishReplacements(new Date(parts.clock.now()));
      // What is paused is not to be mended behind a person's back either.
      const only = (await isSubmittingPaused(parts)) ? { apply: false } : {};
      return toResult(reconcileUsage(reconciliationDeps(parts), { ...toReconcileInput(input), ...only, signal }));
    },
  };
}

function aggregationDeps({ stores, clock, log }: JobParts): Parameters<typeof aggregateUsage>[0] {
  return { inRun: (work) => inDerivationRun(stores.database.db, work), clock, log };
}

function requeueDeps(parts: JobParts): Parameters<typeof requeueUsage>[0] {
  const { stores, clock } = parts;
  return {
    clock,
    mirrorCalendar: (customerId) => mirrorCalendar(calendarDeps(parts), customerId),
    customers: stores.customers,
    meters: stores.meters,
    usageEvents: stores.rawFacts,
    dirtyHours: stores.dirtyHours,
    aggregates: stores.usageAggregates,
    periods: stores.usagePeriods,
  };
}

function toReconcileInput(input: Record<string, unknown>): {
  fromMs?: number;
  toMs?: number;
  customerId?: string;
  apply?: boolean;
} {
  const { from, to, customerId, apply } = input as Record<'from' | 'to' | 'customerId' | 'apply', unknown>;
  return {
    ...(from !== undefined && { fromMs: toInstant('from', from) }),
    ...(to !== undefined && { toMs: toInstant('to', to) }),
    ...(typeof customerId === 'string' && { customerId }),
    ...(typeof apply === 'boolean' && { apply }),
  };
}

function toInstant(name: string, value: unknown): number {
  const instantMs = typeof value === 'string' ? Date.parse(value) : Number.NaN;
  if (!Number.isNaN(instantMs)) return instantMs;
  throw new DaemonError({ kind: 'invalid', code: 'input_invalid', message: `${name} must be an RFC 3339 instant.` });
}

async function toResult(work: Promise<object>): Promise<Record<string, unknown>> {
  return { ...(await work) };
}
