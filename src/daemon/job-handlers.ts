import { aggregateUsage } from '../aggregation/aggregate-usage.ts';
import { findUnbilledUsage, type UnbilledUsage } from '../reconciliation/find-unbilled-usage.ts';
import { mirrorCalendar } from '../mirror/mirror-calendar.ts';
import { reconcileUsage, type ReconcileUsageInput } from '../reconciliation/reconcile-usage.ts';
import { requeueUsage } from '../aggregation/requeue-usage.ts';
import { syncMeters } from '../meters/sync-meters.ts';
import type { JobInput, JobName } from './job-input.ts';
import { parseStatedInstant } from '../aggregation/stated-period.ts';
import type { JobHandler } from '../platform/queue/job-worker.ts';
import { inDerivationRun } from '../aggregation/derivation-run-store.ts';
import { guardJobs } from './invoice-guards.ts';
import { auditJobs } from './audit-jobs.ts';
import { type JobParts, listMeters, requireStripe, withInput } from './job-parts.ts';
import { lateUsageJobs } from './late-usage.ts';
import { mappedIdJobs } from './mapped-ids.ts';
import { reconciliationDeps } from './reconciliation-deps.ts';
import { submissionJobs } from './submission-jobs.ts';
import { isSubmittingPaused, unlessPaused } from './submitting-pause.ts';
import { unbilledDeps, unbilledJobs } from './unbilled-usage.ts';
import { calendarDeps, webhookJobs } from './webhooks.ts';

/** More than a run compares. */
const UNBILLED_PAIRS_MAX = 100_000;

/** Whose unbilled usage a run looks for. */
interface FindUnbilledInput {
  readonly customerId?: string;
  readonly signal?: AbortSignal;
}

/** The jobs by name: what the queue runs, and what `POST /v1/runs` accepts. */
export function jobHandlers(parts: JobParts): Record<string, JobHandler> {
  return {
    'aggregate-usage': withInput('aggregate-usage', ({ input, signal }) =>
      aggregateUsage(aggregationDeps(parts), { ...input, signal }),
    ),
    'requeue-usage': async ({ signal }) => ({ ...(await requeueUsage(requeueDeps(parts), { signal })) }),
    ...auditJobs(parts),
    ...lateUsageJobs(parts),
    ...guardJobs(parts),
    ...webhookJobs(parts),
    ...unbilledJobs(parts),
    ...mappedIdJobs(parts),
    ...unlessPaused(parts, submissionJobs(parts)),
    'sync-meters': withInput('sync-meters', async ({ input }) => {
      const { meters } = requireStripe(parts);
      return syncMeters({ meters: () => listMeters(parts), stripeMeters: meters }, input);
    }),
    'reconcile-usage': withInput('reconcile-usage', async ({ input, signal }) => {
      requireStripe(parts);
      await parts.stores.ledger.finishReplacements(new Date(parts.clock.now()));
      // What is paused is not to be mended behind a person's back either.
      const only = (await isSubmittingPaused(parts)) ? { dryRun: true } : {};
      const deps = { ...reconciliationDeps(parts), findUnbilled: (of: FindUnbilledInput) => unbilledOf(parts, of) };
      return reconcileUsage(deps, { ...toReconcileInput(input), ...only, signal });
    }),
  } satisfies Record<JobName, JobHandler>;
}

/** Looks for usage that nothing bills, and returns what was found of those asked for. */
async function unbilledOf(parts: JobParts, input: FindUnbilledInput): Promise<UnbilledUsage[]> {
  await findUnbilledUsage(unbilledDeps(parts), input);
  const { customerId } = input;
  return parts.stores.unbilledUsage.list({
    ...(customerId !== undefined && { customerId }),
    limit: UNBILLED_PAIRS_MAX,
  });
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

function toReconcileInput(input: JobInput<'reconcile-usage'>): Omit<ReconcileUsageInput, 'signal'> {
  const { from, to, customerId, dryRun, apply, fresh } = input;
  const fromMs = from === undefined ? undefined : parseStatedInstant(from);
  const toMs = to === undefined ? undefined : parseStatedInstant(to);
  return {
    ...(fromMs !== undefined && { fromMs }),
    ...(toMs !== undefined && { toMs }),
    ...(customerId !== undefined && { customerId }),
    ...((dryRun === true || apply === false) && { dryRun: true }),
    ...(fresh === true && { fresh }),
  };
}
