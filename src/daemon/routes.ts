import { randomUUID } from 'node:crypto';
import { ingestUsageEvents } from '../usage/ingest-usage-events.ts';
import { putCustomer } from '../customers/put-customer.ts';
import { previewMeter, type PreviewMeterDeps } from '../aggregation/preview-meter.ts';
import { archiveMeter, putMeter } from '../meters/put-meter.ts';
import { readUsage } from '../aggregation/read-usage.ts';
import { replayRejectedEvent } from '../usage/replay-rejected-event.ts';
import type { UsageEvent } from '../usage/usage-event.ts';
import { registerCustomers } from '../customers/customers-routes.ts';
import { registerEvents } from '../usage/events-routes.ts';
import { registerMeterLife } from '../meters/meter-life-routes.ts';
import { registerMeters } from '../meters/meters-routes.ts';
import type { Metrics } from '../platform/http/metrics.ts';
import { registerRejectedEvents } from '../usage/rejected-events-routes.ts';
import type { RouteRegistrar } from '../platform/http/route.ts';
import { registerRuns } from './runs-routes.ts';
import { registerStatus } from './status-routes.ts';
import { registerUnmappedCustomers } from '../submissions/unmapped-customers-routes.ts';
import { registerUsage } from '../aggregation/usage-routes.ts';
import type { JobQueue } from '../platform/queue/job-queue.ts';
import { withLiveUsage } from '../aggregation/live-usage-store.ts';
import { toMeter } from '../meters/meters-store.ts';
import { auditedCustomerIds, withUsageAudit } from '../explain/usage-audit-store.ts';
import { toUsageEventDocument } from '../usage/usage-events-store.ts';
import { factRoutes } from './serve-facts.ts';
import { meterWarnings } from './silent-conditions.ts';
import { guardRoutes } from './invoice-guards.ts';
import { type IngestNames, openIngestNames } from './ingest-names.ts';
import type { JobParts } from './job-parts.ts';
import { lateUsageRoutes } from './late-usage.ts';
import { mappedIdRoutes, rememberMappings } from './mapped-ids.ts';
import { readStatus } from './read-status.ts';
import type { ReceptionTally } from './reception-tally.ts';
import { reconciliationRoutes } from './serve-reconciliations.ts';
import { submissionRoutes } from './submission-jobs.ts';
import { unbilledRoutes } from './unbilled-usage.ts';
import { webhookRoutes } from './webhooks.ts';

/** Of one customer: more than anybody has. */
const METERS_SHOWN_MAX = 1_000;

export interface RouteParts {
  readonly jobs: JobParts;
  readonly jobNames: readonly string[];
  readonly queue: JobQueue;
  readonly metrics: Metrics;
  readonly tally: ReceptionTally;
}

/** Every route under /v1, with what it needs. */
export function routesOf(parts: RouteParts): RouteRegistrar[] {
  const names = openIngestNames(parts.jobs);
  return [
    ...ingestRoutes(parts, names),
    ...catalogueRoutes(parts, names),
    ...factRoutes(parts.jobs),
    ...webhookRoutes(parts.jobs, parts),
    ...lateUsageRoutes(parts.jobs, parts.queue),
    ...guardRoutes(parts.jobs, parts.queue),
    ...unbilledRoutes(parts.jobs),
    ...mappedIdRoutes(parts.jobs, parts.queue),
    ...operationRoutes(parts),
  ];
}

function ingestRoutes({ jobs, metrics }: RouteParts, names: IngestNames): RouteRegistrar[] {
  const { stores, clock, config } = jobs;
  const append = (events: readonly UsageEvent[], bytes: number) => {
    const receivedAtMs = clock.now();
    return stores.usageLog.append(
      events.map((event) => toUsageEventDocument(event, receivedAtMs)),
      bytes,
    );
  };
  const mappedElsewhere = rememberMappings(jobs);
  return [
    (app) =>
      registerEvents(app, {
        ...config,
        clock,
        ingest: (input) =>
          ingestUsageEvents(
            {
              append,
              findStored: (found) => stores.usageLog.findStored(found),
              keepRejected: (refused, at) => stores.rejectedEvents.keep(refused, at),
              unmeteredTypes: (types) => names.eventTypes.unknownOf(types),
              unmappedCustomers: (ids) => names.customers.unknownOf(ids),
              mappedElsewhere,
              observeDelay: (delayMs) => metrics.observeDelay(delayMs),
              clock,
            },
            input,
          ),
        observe: (result, elapsedMs) => metrics.observeIngest(result, elapsedMs),
      }),
    (app) =>
      registerRejectedEvents(app, {
        rejected: stores.rejectedEvents,
        replay: (input) =>
          replayRejectedEvent(
            {
              rejected: stores.rejectedEvents,
              append,
              findStored: (found) => stores.usageLog.findStored(found),
              clock,
            },
            input,
          ),
        eventAgeDaysMax: config.eventAgeDaysMax,
      }),
  ];
}

function previewDeps({ stores, clock }: JobParts): PreviewMeterDeps {
  const { db } = stores.database;
  return {
    clock,
    toMeter: (definition) => toMeter({ ...definition, where: [...definition.where], groupBy: [...definition.groupBy] }),
    customerIds: (hours) => auditedCustomerIds(db, hours),
    withAudit: (work) => withUsageAudit(db, work),
  };
}

function catalogueRoutes({ jobs, queue }: RouteParts, names: IngestNames): RouteRegistrar[] {
  const { stores, clock, stripe } = jobs;
  const { db } = stores.database;
  /** The mark on the document is what counts; without the bell the sweep finds it within a minute. */
  const ringIfMarked = (document: { requeueFrom?: Date }): void => {
    if (document.requeueFrom !== undefined) queue.ring('requeue-usage');
  };
  return [
    (app) =>
      registerCustomers(app, {
        putCustomer: async (input) => {
          const put = await putCustomer(
            {
              clock,
              customers: stores.customers,
              usage: stores.usageAggregates,
              ...(stripe && { checkStripeCustomer: (id: string) => stripe.objects.customers.check(id) }),
            },
            input,
          );
          ringIfMarked(put.customer);
          names.customers.forget();
          if (jobs.stripe !== undefined && input.change.unbilledReason !== undefined) queue.ring('find-unbilled-usage');
          return put;
        },
        findCustomer: (customerId) => stores.customers.find(customerId),
        listCustomers: (query) => stores.customers.list(query),
        unbilledOf: (customerId) => stores.unbilledUsage.list({ customerId, limit: METERS_SHOWN_MAX }),
      }),
    (app) =>
      registerMeters(app, {
        putMeter: async (input) => {
          const put = await putMeter({ clock, meters: stores.meters }, input);
          ringIfMarked(put.meter);
          names.eventTypes.forget();
          return put;
        },
        findMeter: (key) => stores.meters.find(key),
        listMeters: () => stores.meters.list(),
        warnings: () => meterWarnings(stores),
      }),
    (app) =>
      registerMeterLife(app, {
        archiveMeter: (input) => archiveMeter({ clock, meters: stores.meters }, input),
        previewMeter: (input) => previewMeter(previewDeps(jobs), input),
      }),
    (app) =>
      registerUsage(app, {
        readUsage: (query) => readUsage({ clock, withLiveUsage: (work) => withLiveUsage(db, work) }, query),
      }),
  ];
}

function operationRoutes({ jobs, jobNames, queue }: RouteParts): RouteRegistrar[] {
  const { stores, clock } = jobs;
  return [
    submissionRoutes(jobs, queue),
    ...reconciliationRoutes(jobs, queue),
    (app) =>
      registerRuns(app, {
        requestRun: async (job, input) => {
          const _id = randomUUID();
          const queuedAt = new Date(clock.now());
          await stores.runs.insert({
            _id,
            job,
            trigger: 'request',
            state: 'queued',
            input: { ...input },
            queuedAt,
            attempts: 0,
          });
          // The run is listed in MongoDB: without Redis the sweep finds it later.
          queue.ring(job, { run: _id });
          return _id;
        },
        findRun: (id) => stores.runs.find(id),
        findRunAtWork: async (job) => {
          const last = await stores.runs.last(job);
          return last?.state === 'running' ? last : null;
        },
      }),
    (app) => registerUnmappedCustomers(app, { listUnmapped: (query) => stores.reviewCounts.unmappedCustomers(query) }),
    (app) => registerStatus(app, () => readStatus(jobs, jobNames)),
  ];
}
