import { decideSubmission, type DecideSubmissionDeps } from '../submissions/resolving/decide-submission.ts';
import { planRows, planSubmissions, type PlanSubmissionsInput } from '../submissions/planning/plan-submissions.ts';
import {
  type RejectedSample,
  rejectSubmissions,
  type RejectSubmissionsResult,
} from '../submissions/resolving/reject-submissions.ts';
import { resendSubmission } from '../submissions/resolving/resend-submission.ts';
import { resolveSubmissions, type ResolveSubmissionsDeps } from '../reconciliation/resolve-submissions.ts';
import {
  submitMeterEvents,
  type SubmitMeterEventsDeps,
  type SubmitMeterEventsInput,
  type SubmitMeterEventsResult,
} from '../submissions/sending/submit-meter-events.ts';
import { spreadSpanMs } from '../submissions/sending/pacing.ts';
import { ATTEMPT_SPAN_MS_MAX } from '../submissions/submission.ts';
import { HOUR_MS, MINUTE_MS } from '../platform/durations.ts';
import { registerSubmissions } from '../submissions/submissions-routes.ts';
import type { RouteRegistrar } from '../platform/http/route.ts';
import type { JobQueue } from '../platform/queue/job-queue.ts';
import type { JobContext, JobHandler } from '../platform/queue/job-worker.ts';
import { type JobParts, listMeters, requireStripe, withInput } from './job-parts.ts';
import { readWaiting } from './waiting-usage.ts';
import { applyLatePolicies, finalPeriods, moveLateSubmissions, settleLate } from './late-usage.ts';

/** Least time between two looks at how much is left to send. */
const PROGRESS_MS = 1_000;
/** After a run that was missed or failed, the sweep rings for the next one. */
const RESOLVE_AGE_MS_MAX = 11 * MINUTE_MS;

/** The jobs that make meter events, send them and settle what became of them. */
export function submissionJobs(parts: JobParts): Record<'submit-meter-events' | 'resolve-submissions', JobHandler> {
  return {
    'submit-meter-events': withInput('submit-meter-events', async ({ input, signal, report }) => {
      const { dryRun, ...scope } = input;
      if (dryRun !== true) {
        const result = await submitNow(parts, { ...scope, signal }, report);
        return result.planned + result.calls === 0 ? { ...result, waiting: await readWaiting(parts) } : result;
      }
      requireStripe(parts);
      const meters = await listMeters(parts);
      return planSubmissions(planDeps(parts), { ...scope, meters, dryRun: true });
    }),
    'resolve-submissions': async ({ signal }) => {
      const deps = resolveDeps(parts);
      await parts.stores.ledger.finishReplacements(new Date(parts.clock.now()));
      return { ...(await resolveSubmissions(deps, { signal })) };
    },
  };
}

/** Plans, sends and settles what is due: of one customer, or of all; with `flush`, without waiting for any time. */
export async function submitNow(
  parts: JobParts,
  input: SubmitMeterEventsInput = {},
  report?: JobContext['report'],
): Promise<SubmitMeterEventsResult> {
  const { stores, clock } = parts;
  const deps = reporting(submitDeps(parts), parts, report);
  await stores.ledger.finishReplacements(new Date(clock.now()));
  if (input.customerId === undefined) await settleLate(parts);
  try {
    return await submitMeterEvents(deps, input);
  } finally {
    stores.outbox.forget();
  }
}

/** Plans until no step became late usage: such a step is not answered, so the next one of its row need not wait. */
async function planAll(parts: JobParts, scope: Omit<PlanSubmissionsInput, 'meters'>): Promise<number> {
  let planned = 0;
  for (;;) {
    const made = await planSubmissions(planDeps(parts), { ...scope, meters: await listMeters(parts) });
    planned += made.planned;
    if (made.late === 0) return planned;
    planned += await applyLatePolicies(parts);
  }
}

/** The same, and what is sent is told as progress. */
function reporting(
  deps: SubmitMeterEventsDeps,
  { stores, clock }: JobParts,
  report: JobContext['report'],
): SubmitMeterEventsDeps {
  if (report === undefined) return deps;
  let done = 0;
  let toldAtMs = Number.NEGATIVE_INFINITY;
  return {
    ...deps,
    send: async (call) => {
      const outcome = await deps.send(call);
      done += 1;
      if (clock.now() - toldAtMs >= PROGRESS_MS) {
        toldAtMs = clock.now();
        await report({ done, total: done + (await stores.submissions.countInStates(['planned'])) });
      }
      return outcome;
    },
  };
}

function submitDeps(parts: JobParts): SubmitMeterEventsDeps {
  const { stores, clock, log } = parts;
  const stripe = requireStripe(parts);
  return {
    entries: stores.outboxEntries,
    lanes: stores.lanes,
    plan: (scope) => planAll(parts, scope),
    planRows: async (rows, scope) => planRows(planDeps(parts), rows, { ...scope, meters: await listMeters(parts) }),
    moveLate: (entries) => moveLateSubmissions(parts, entries),
    meters: () => listMeters(parts),
    stripeMeters: () => stripe.listMeters(),
    billingOf: (ids) => stores.customers.billingOf(ids),
    takeCallToken: (abort) => stripe.rate.take(abort),
    admit: () => stripe.meterEvents.admit(),
    send: (call) => stripe.meterEvents.send(call),
    random: Math.random,
    clock,
    log,
  };
}

function planDeps(parts: JobParts): Parameters<typeof planSubmissions>[0] {
  const { stores, config, installation, clock } = parts;
  const { windowSettleMs } = config;
  return {
    outbox: stores.outbox,
    relatedRows: stores.relatedRows,
    waitingHours: (customerId, fromHour) => stores.aggregateChecks.waitingHours(customerId, fromHour),
    finalPeriods: (customers) => finalPeriods(parts, customers),
    billingOf: (ids) => stores.customers.billingOf(ids),
    stripeMeters: () => requireStripe(parts).listMeters(),
    spreadSpanMs: async () => {
      if (windowSettleMs === 0) return 0;
      const count = (await stores.usageAggregates.countPlanDue()) + (await stores.usagePeriods.countPlanDue());
      return spreadSpanMs({ count, callsPerSecondMax: config.stripeCallsPerSecondMax, windowSettleMs });
    },
    installation,
    windowSettleMs,
    clock,
  };
}

function resolveDeps(parts: JobParts): ResolveSubmissionsDeps {
  const { stores, config, clock, log } = parts;
  const stripe = requireStripe(parts);
  return {
    doubts: stores.doubts,
    listRejectedDue: (now, limit) => stores.doubts.listRejectedDue(now, limit),
    prune: (now) => stores.doubts.prune(now),
    entries: stores.outboxEntries,
    replace: (...replacement) => stores.ledger.replace(...replacement),
    readTotal: ({ stripeCustomerId, stripeMeterId, hourMs }) => {
      const range = { stripeCustomerId, stripeMeterId, fromMs: hourMs, toMs: hourMs + HOUR_MS };
      return stripe.summaries.total(range, () => stripe.readRate.take());
    },
    customerExists: (id) => stripe.objects.customers.exists(id),
    meters: () => listMeters(parts),
    stripeMeters: () => stripe.listMeters(),
    billingOf: (ids) => stores.customers.billingOf(ids),
    summaryLagMaxMs: config.summaryLagMaxMs,
    summaryRereadMs: config.summaryRereadMs,
    summaryReadsMax: config.summaryReadsPerRunMax,
    clock,
    log,
  };
}

/** Takes note of what an error report of Stripe names. */
export function rejectSamples(
  { stores, clock, log }: JobParts,
  report: { eventId: string; samples: readonly RejectedSample[] },
): Promise<RejectSubmissionsResult> {
  return rejectSubmissions({ entries: stores.outboxEntries, clock, log }, report);
}

/** Whether submissions wait to be settled, from what MongoDB holds. */
export async function dueResolveJobs({ stores, stripe }: JobParts, nowMs: number): Promise<string[]> {
  if (stripe === undefined) return [];
  const last = await stores.runs.last('resolve-submissions');
  if (last?.startedAt !== undefined && nowMs - last.startedAt.getTime() < RESOLVE_AGE_MS_MAX) return [];
  const hasWork = await stores.doubts.hasWork(new Date(nowMs - ATTEMPT_SPAN_MS_MAX), new Date(nowMs));
  return hasWork ? ['resolve-submissions'] : [];
}

/** `/v1/submissions`. */
export function submissionRoutes(parts: JobParts, queue: JobQueue): RouteRegistrar {
  const { stores, clock } = parts;
  const deps: DecideSubmissionDeps = {
    entries: stores.outboxEntries,
    replace: (...replacement) => stores.ledger.replace(...replacement),
    clock,
  };
  const ring = (): void => queue.ring('submit-meter-events');
  return (app) =>
    registerSubmissions(app, {
      listSubmissions: (query) => stores.submissions.list(query),
      findSubmission: (identifier) => stores.submissions.find(identifier),
      decide: async (input) => {
        await decideSubmission(deps, input);
        if (!input.counted) ring();
      },
      resend: async (input) => {
        await resendSubmission(deps, input);
        ring();
      },
    });
}
