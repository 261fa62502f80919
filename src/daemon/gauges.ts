import type { GaugeSource } from '../platform/http/metrics.ts';
import type { JobQueue } from '../platform/queue/job-queue.ts';
import { guardGauges } from './invoice-guards.ts';
import type { JobParts } from './job-parts.ts';
import { lateUsageGauges } from './late-usage.ts';
import { reviewGauges } from './read-needs-review.ts';
import { readLastOutcomes } from './read-status.ts';
import { pauseGauges } from './submitting-pause.ts';
import { unbilledGauges } from './unbilled-usage.ts';
import { webhookGauges } from './webhooks.ts';

const BREAKER_STATES = ['closed', 'half-open', 'open'] as const;

/** What `/metrics` shows of the pipeline. */
export function gaugesOf(parts: JobParts, queue: JobQueue, jobNames: readonly string[]): GaugeSource[] {
  return [
    ...usageGauges(parts),
    ...submissionGauges(parts),
    ...pauseGauges(parts),
    ...lateUsageGauges(parts),
    ...guardGauges(parts),
    ...unbilledGauges(parts),
    ...webhookGauges(parts),
    ...reviewGauges(parts),
    ...operationGauges(parts, queue, jobNames),
    ...refusalGauges(parts, jobNames),
  ];
}

function refusalGauges(parts: JobParts, jobs: readonly string[]): GaugeSource[] {
  return [
    {
      name: 'job_refused_items',
      help: 'What the last run of a job over everything went on without, because Stripe refused it.',
      labels: ['job'],
      read: async () =>
        (await readLastOutcomes(parts, jobs)).map(({ job, refused }) => ({
          value: refused?.count ?? 0,
          labels: { job },
        })),
    },
  ];
}

function usageGauges({ stores, clock }: JobParts): GaugeSource[] {
  return [
    {
      name: 'ingest_queued_bytes',
      help: 'Usage events that wait in memory to be stored.',
      read: () => [{ value: stores.usageLog.queuedBytes }],
    },
    {
      name: 'dirty_entries',
      help: 'Journal entries that wait to be derived.',
      read: async () => [{ value: (await stores.dirtyHours.backlog()).entries }],
    },
    {
      name: 'dirty_oldest_seconds',
      help: "Age of the oldest journal entry: the pipeline's lag.",
      read: async () => {
        const { oldestOpenedAt } = await stores.dirtyHours.backlog();
        return [{ value: oldestOpenedAt === undefined ? 0 : (clock.now() - oldestOpenedAt.getTime()) / 1000 }];
      },
    },
    {
      name: 'dirty_set_aside',
      help: 'Customer-hours that cannot be derived, apart from all others.',
      read: async () => [{ value: (await stores.dirtyHours.backlog()).setAside?.customerHours ?? 0 }],
    },
  ];
}

function submissionGauges({ stores, clock }: JobParts): GaugeSource[] {
  return [
    {
      name: 'submissions',
      help: 'Meter events by state.',
      labels: ['state'],
      read: async () =>
        (await stores.submissions.census()).map(({ state, count }) => ({ value: count, labels: { state } })),
    },
    {
      name: 'submissions_oldest_seconds',
      help: 'Age of the oldest meter event in each state in which something is still to happen.',
      labels: ['state'],
      read: async () =>
        [...(await stores.submissions.oldestOpen())].map(([state, plannedAt]) => ({
          value: (clock.now() - plannedAt.getTime()) / 1000,
          labels: { state },
        })),
    },
    {
      name: 'submissions_undecided',
      help: 'Meter events in doubt that wait for a person.',
      read: async () => [{ value: await stores.doubts.countUndecided() }],
    },
    {
      name: 'submissions_blocked',
      help: 'Meter events that cannot be sent, by reason.',
      labels: ['reason'],
      read: async () =>
        (await stores.submissions.blockedReasons()).map(({ reason, count }) => ({ value: count, labels: { reason } })),
    },
  ];
}

function operationGauges({ stores, stripe }: JobParts, queue: JobQueue, jobNames: readonly string[]): GaugeSource[] {
  return [
    {
      name: 'uncountable_facts',
      help: 'Facts that a meter could not count.',
      read: async () => [{ value: await stores.usageAggregates.countUncountable() }],
    },
    {
      name: 'rejected_events',
      help: 'Rejected events that are kept.',
      read: async () => [{ value: await stores.rejectedEvents.count() }],
    },
    {
      name: 'reconciliation_pairs',
      help: 'Comparisons of the last reconciliation of everything, by verdict.',
      labels: ['verdict'],
      read: async () => {
        const last = await stores.reconciliations.lastWhole();
        return Object.entries(last?.verdicts ?? {}).map(([verdict, value]) => ({ value, labels: { verdict } }));
      },
    },
    {
      name: 'job_failures_in_a_row',
      help: 'Failed runs of each job since one succeeded.',
      labels: ['job'],
      read: () =>
        Promise.all(jobNames.map(async (job) => ({ value: await stores.runs.failuresInARow(job), labels: { job } }))),
    },
    {
      name: 'queue_jobs',
      help: 'Jobs that wait or run.',
      read: async () => [{ value: (await queue.depth()) ?? Number.NaN }],
    },
    {
      name: 'stripe_breaker',
      help: 'The circuit breaker towards Stripe: 1 for the state it is in.',
      labels: ['state'],
      read: () =>
        BREAKER_STATES.map((state) => ({
          value: stripe?.meterEvents.breakerState === state ? 1 : 0,
          labels: { state },
        })),
    },
  ];
}
