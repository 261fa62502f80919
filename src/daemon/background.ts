import { systemClock } from '../platform/clock.ts';
import { sweepDueWork } from '../../jobs/sweep-due-work.ts';
import { ATTEMPT_SPAN_MS_MAX } from '../submissions/submission.ts';
import type { Config } from '../config.ts';
import type { JobQueue, QueuePlace } from '../platform/queue/job-queue.ts';
import { HEARTBEAT, type JobHandler, JobWorker } from '../platform/queue/job-worker.ts';
import { startTicks } from '../platform/queue/ticks.ts';
import type { RedisWatch } from '../platform/redis/redis-watch.ts';
import { TroubleLog } from '../platform/trouble-log.ts';
import { dueGuardJobs, ringForGuards } from './invoice-guards.ts';
import type { JobParts } from './job-parts.ts';
import { PipelineAlarms } from './pipeline-alarms.ts';
import { missedJobs } from './review-of-jobs.ts';
import { dueMappedIdJobs } from './mapped-ids.ts';
import { dueLateJobs } from './late-usage.ts';
import { dueResolveJobs } from './submission-jobs.ts';
import { isSubmittingPaused } from './submitting-pause.ts';
import { ringForUnbilled } from './unbilled-usage.ts';
import { dueWebhookJobs } from './webhooks.ts';

const EVERY_MINUTE = '* * * * *';
/** Hourly, and not when everybody else does. */
const CATCH_UP_CRON = '41 * * * *';
/** After events were caught up. */
const UNBILLED_CRON = '49 * * * *';
const RESOLVE_CRON = '4-59/10 * * * *';

/** Something that runs until it is stopped. */
export interface Running {
  stop(): Promise<void>;
}

/** The queue that belongs to this configuration. */
export function queuePlace(config: Config): QueuePlace {
  return { redisUrl: config.redisUrl, database: config.mongodbDatabase };
}

/** Starts the worker of this process. */
export function startWorker(
  parts: JobParts,
  { queue, watch }: { queue: JobQueue; watch: RedisWatch },
  handlers: Record<string, JobHandler>,
): Running {
  const worker = new JobWorker({
    place: queuePlace(parts.config),
    handlers,
    runs: parts.stores.runs,
    leases: parts.stores.leases,
    followUp: async (job, result) => {
      const next = followUpOf(job, result, parts.stripe !== undefined);
      if (next !== undefined) await queue.addOnce(next, 'follow-up');
      if (hasMirroredInvoices(job, result)) await queue.addOnce('settle-late-usage', 'follow-up');
      await ringForGuards({ parts, queue }, job, result);
      await ringForUnbilled({ parts, queue }, job, result);
    },
    beat: () => parts.stores.heartbeats.beat('worker', new Date(systemClock.now())),
    canWrite: async () => (await watch.look()).kind === 'ok',
    clock: parts.clock,
    log: parts.log,
  });
  return { stop: () => worker.close() };
}

/** Aggregation is followed by submission, and so is a reconciliation that healed; what was queued anew is aggregated. */
function followUpOf(job: string, result: Record<string, unknown>, isSubmitting: boolean): string | undefined {
  if (result['paused'] === true) return undefined;
  if (job === 'aggregate-usage')
    return isSubmitting && result['customerHours'] !== 0 ? 'submit-meter-events' : undefined;
  if (job === 'reconcile-usage') return result['healed'] === 0 ? undefined : 'submit-meter-events';
  if (job === 'catch-up-events') return result['recorded'] === 0 ? undefined : 'process-webhooks';
  if (job === 'process-webhooks') return result['subscriptions'] === 0 ? undefined : 'requeue-usage';
  if (job === 'resolve-submissions')
    return result['replaced'] === 0 && result['mended'] === 0 ? undefined : 'submit-meter-events';
  if (job === 'settle-late-usage') return result['submitted'] === 0 ? undefined : 'submit-meter-events';
  if (job === 'settle-mapped-ids') return result['counted'] === 0 ? undefined : 'aggregate-usage';
  if (job === 'requeue-usage') return result['hours'] === 0 ? undefined : 'aggregate-usage';
  return undefined;
}

/** An invoice may have become final over usage that was sent meanwhile. */
function hasMirroredInvoices(job: string, result: Record<string, unknown>): boolean {
  return job === 'process-webhooks' && result['invoices'] !== 0;
}

/** Starts the schedules of this process: they only ring. */
export function startTicker(parts: JobParts, queue: JobQueue, jobNames: readonly string[]): Running {
  const { config, log, clock, stores } = parts;
  const startedAtMs = clock.now();
  const troubles = new TroubleLog(log, clock);
  const alarms = new PipelineAlarms(parts, jobNames);
  const stop = startTicks(
    [
      {
        name: 'aggregate-usage',
        cron: config.aggregateCron,
        ring: (minute) => queue.addTick('aggregate-usage', minute),
      },
      ...(parts.stripe === undefined
        ? []
        : [
            {
              name: 'reconcile-usage',
              cron: config.reconcileCron,
              ring: (minute: string) => queue.addTick('reconcile-usage', minute),
            },
            {
              name: 'resolve-submissions',
              cron: RESOLVE_CRON,
              ring: (minute: string) => queue.addTick('resolve-submissions', minute),
            },
            {
              name: 'catch-up-events',
              cron: CATCH_UP_CRON,
              ring: (minute: string) => queue.addTick('catch-up-events', minute),
            },
            {
              name: 'find-unbilled-usage',
              cron: UNBILLED_CRON,
              ring: (minute: string) => queue.addTick('find-unbilled-usage', minute),
            },
          ]),
      { name: HEARTBEAT, cron: EVERY_MINUTE, ring: () => queue.addOnce(HEARTBEAT, 'tick') },
      {
        name: 'sweep',
        cron: EVERY_MINUTE,
        ring: async () => {
          const { rung } = await sweepDueWork(sweepDeps(parts, { queue, startedAtMs }));
          await stores.heartbeats.beat('sweep', new Date(systemClock.now()));
          if (rung.length > 0) log.info({ rung }, 'sweep found work');
          await alarms.look();
        },
      },
    ],
    {
      onRung: (tick) => troubles.clear(`tick failed: ${tick}`),
      onError: (tick, err) => troubles.begin({ phrase: `tick failed: ${tick}`, fields: { err, tick } }),
    },
  );
  return { stop };
}

function sweepDeps(
  parts: JobParts,
  context: { queue: JobQueue; startedAtMs: number },
): Parameters<typeof sweepDueWork>[0] {
  const { stores, config, clock } = parts;
  return {
    backlog: () => stores.dirtyHours.backlog(),
    hasRequeue: async () =>
      (await stores.customers.listToRequeue(1)).length > 0 || (await stores.meters.listToRequeue()).length > 0,
    hasSubmitWork: async (nowMs) => {
      if (await isSubmittingPaused(parts)) return false;
      const dueAt = await stores.submissions.nextDueAt(new Date(nowMs - ATTEMPT_SPAN_MS_MAX));
      if (dueAt !== undefined && dueAt.getTime() <= nowMs) return true;
      if ((await stores.submissions.countInStates(['sending', 'blocked'])) > 0) return true;
      const settledBy = new Date(nowMs - config.windowSettleMs);
      return (await stores.usageAggregates.hasPlanDue(settledBy)) || (await stores.usagePeriods.countPlanDue()) > 0;
    },
    otherDueJobs: async (nowMs) => [
      ...(await dueWebhookJobs(parts, nowMs)),
      ...(await dueLateJobs(parts, nowMs)),
      ...(await dueGuardJobs(parts, nowMs)),
      ...(await dueResolveJobs(parts, nowMs)),
      ...(await dueMappedIdJobs(parts)),
      ...(await missedJobs({ stores, config, nowMs })),
    ],
    nextRereadAt: () => stores.reconciliations.nextRereadAt(),
    lastReconciledAt: async () => (await stores.runs.lastSuccess('reconcile-usage'))?.startedAt,
    queuedRuns: (limit) => stores.runs.listQueued(limit),
    pruneRejected: async (before) =>
      (await stores.rejectedEvents.prune(before)) + (await stores.rejectedEvents.pruneExcess(new Date(clock.now()))),
    pruneRuns: (before) => stores.runs.prune(before),
    queue: context.queue,
    isSubmitting: parts.stripe !== undefined,
    rejectedDaysMax: config.rejectedDaysMax,
    startedAtMs: context.startedAtMs,
    clock,
  };
}
