import { sweepDueWork } from '../../jobs/sweep-due-work.ts';
import { ATTEMPT_SPAN_MS_MAX } from '../domain/submission.ts';
import type { Config } from '../config.ts';
import type { JobQueue, QueuePlace } from '../queue/job-queue.ts';
import { type JobHandler, JobWorker } from '../queue/job-worker.ts';
import { startTicks } from '../queue/ticks.ts';
import type { JobParts } from './job-parts.ts';

const EVERY_MINUTE = '* * * * *';

/** Something that runs until it is stopped. */
export interface Running {
  stop(): Promise<void>;
}

/** The queue that belongs to this configuration. */
export function queuePlace(config: Config): QueuePlace {
  return { redisUrl: config.redisUrl, database: config.mongodbDatabase };
}

/** Starts the worker of this process. */
export function startWorker(parts: JobParts, queue: JobQueue, handlers: Record<string, JobHandler>): Running {
  const worker = new JobWorker({
    place: queuePlace(parts.config),
    handlers,
    runs: parts.stores.runs,
    leases: parts.stores.leases,
    followUp: async (job, result) => {
      const next = followUpOf(job, result, parts.stripe !== undefined);
      if (next !== undefined) await queue.addOnce(next);
    },
    clock: parts.clock,
    log: parts.log,
  });
  return { stop: () => worker.close() };
}

/** Aggregation is followed by submission, and so is a reconciliation that healed; what was queued anew is aggregated. */
function followUpOf(job: string, result: Record<string, unknown>, isSubmitting: boolean): string | undefined {
  if (job === 'aggregate-usage')
    return isSubmitting && result['customerHours'] !== 0 ? 'submit-meter-events' : undefined;
  if (job === 'reconcile-usage') return result['healed'] === 0 ? undefined : 'submit-meter-events';
  if (job === 'requeue-usage') return result['hours'] === 0 ? undefined : 'aggregate-usage';
  return undefined;
}

/** Starts the schedules of this process: they only ring. */
export function startTicker(parts: JobParts, queue: JobQueue): Running {
  const { config, log, clock } = parts;
  const startedAtMs = clock.now();
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
          ]),
      {
        name: 'sweep',
        cron: EVERY_MINUTE,
        ring: async () => {
          const { rung } = await sweepDueWork(sweepDeps(parts, { queue, startedAtMs }));
          if (rung.length > 0) log.info({ rung }, 'sweep found work');
        },
      },
    ],
    (tick, err) => log.warn({ err, tick }, 'tick failed'),
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
      const dueAt = await stores.submissions.nextDueAt(new Date(nowMs - ATTEMPT_SPAN_MS_MAX));
      if (dueAt !== undefined && dueAt.getTime() <= nowMs) return true;
      if ((await stores.submissions.countInStates(['sending', 'blocked'])) > 0) return true;
      const settledBy = new Date(nowMs - config.windowSettleMs);
      return (await stores.usageAggregates.hasPlanDue(settledBy)) || (await stores.usagePeriods.countPlanDue()) > 0;
    },
    nextRereadAt: () => stores.reconciliations.nextRereadAt(),
    lastReconciledAt: async () => (await stores.runs.lastSuccess('reconcile-usage'))?.startedAt,
    queuedRuns: (limit) => stores.runs.listQueued(limit),
    pruneRejected: (before) => stores.rejectedEvents.prune(before),
    pruneRuns: (before) => stores.runs.prune(before),
    queue: context.queue,
    isSubmitting: parts.stripe !== undefined,
    rejectedDaysMax: config.rejectedDaysMax,
    startedAtMs: context.startedAtMs,
    clock,
  };
}
