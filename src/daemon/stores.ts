import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/logger.ts';
import { AggregateChecks } from '../reconciliation/aggregate-check-store.ts';
import { ApiKeys } from '../platform/mongo/api-keys.ts';
import { Customers } from '../customers/customers-store.ts';
import { Doubts } from '../reconciliation/doubts-store.ts';
import { Corrections } from '../submissions/resolving/corrections-store.ts';
import type { Database } from '../platform/mongo/database.ts';
import { DirtyHours } from '../usage/dirty-hours-store.ts';
import { EventCoverage } from '../webhooks/event-coverage-store.ts';
import { Heartbeats } from '../platform/mongo/heartbeats.ts';
import { InvoiceGuards } from '../invoice-guard/invoice-guards-store.ts';
import { InvoiceMirror } from '../mirror/invoices-store.ts';
import { LateChecks } from '../late-usage/late-checks-store.ts';
import { LateSubmissions } from '../submissions/late-submissions-store.ts';
import { LateUsage } from '../submissions/late-usage-store.ts';
import { Lanes } from '../submissions/sending/lanes-store.ts';
import { Leases } from '../platform/mongo/leases.ts';
import { Ledger } from '../submissions/ledger-store.ts';
import { MappedIds } from '../submissions/resolving/mapped-ids-store.ts';
import { Meters } from '../meters/meters-store.ts';
import { MeterSubmissions } from '../submissions/meter-submissions-store.ts';
import { Outbox } from '../submissions/outbox-store.ts';
import { OutboxEntries } from '../submissions/outbox-entries-store.ts';
import { Explanations } from '../explain/explanations-store.ts';
import { SeenValues } from '../usage/seen-values-store.ts';
import { RawFacts } from '../usage/raw-facts-store.ts';
import { Reconciliations } from '../reconciliation/reconciliations-store.ts';
import { RelatedRows } from '../submissions/planning/plannable-rows-store.ts';
import { RejectedEvents } from '../usage/rejected-events-store.ts';
import { ReviewCounts } from './review-counts-store.ts';
import { Runs } from '../platform/mongo/runs.ts';
import { SubmittingPauses } from '../submissions/sending/submitting-pause-store.ts';
import { SubscriptionMirror } from '../mirror/subscriptions-store.ts';
import { UnbilledUsageList } from '../reconciliation/unbilled-usage-store.ts';
import { UnfinishedUsage } from '../invoice-guard/unfinished-usage-store.ts';
import { UsageAdjustments } from '../usage/usage-adjustments-store.ts';
import { UsageAggregates } from '../aggregation/usage-aggregates-store.ts';
import { UsageEvents } from '../usage/usage-events-store.ts';
import { UsageLog } from '../usage/usage-log-store.ts';
import { UsagePeriods } from '../aggregation/usage-periods-store.ts';
import { WebhookInbox } from '../webhooks/webhook-inbox-store.ts';
import { WebhookReceptions } from '../webhooks/webhook-receptions-store.ts';
import { TroubleLog } from '../platform/trouble-log.ts';

/** Every collection's statements, over one database. */
export interface Stores {
  readonly database: Database;
  readonly aggregateChecks: AggregateChecks;
  readonly apiKeys: ApiKeys;
  readonly corrections: Corrections;
  readonly customers: Customers;
  readonly dirtyHours: DirtyHours;
  readonly doubts: Doubts;
  readonly eventCoverage: EventCoverage;
  readonly heartbeats: Heartbeats;
  readonly invoiceGuards: InvoiceGuards;
  readonly invoices: InvoiceMirror;
  readonly lateChecks: LateChecks;
  readonly lateSubmissions: LateSubmissions;
  readonly lateUsage: LateUsage;
  readonly lanes: Lanes;
  readonly explanations: Explanations;
  readonly seenValues: SeenValues;
  readonly leases: Leases;
  readonly ledger: Ledger;
  readonly mappedIds: MappedIds;
  readonly meters: Meters;
  readonly outbox: Outbox;
  readonly outboxEntries: OutboxEntries;
  readonly rawFacts: RawFacts;
  readonly reconciliations: Reconciliations;
  readonly rejectedEvents: RejectedEvents;
  readonly relatedRows: RelatedRows;
  readonly reviewCounts: ReviewCounts;
  readonly runs: Runs;
  readonly submissions: MeterSubmissions;
  readonly submittingPauses: SubmittingPauses;
  readonly subscriptions: SubscriptionMirror;
  readonly unbilledUsage: UnbilledUsageList;
  readonly unfinishedUsage: UnfinishedUsage;
  readonly usageAdjustments: UsageAdjustments;
  readonly usageAggregates: UsageAggregates;
  readonly usageEvents: UsageEvents;
  readonly usageLog: UsageLog;
  readonly usagePeriods: UsagePeriods;
  readonly webhookInbox: WebhookInbox;
  readonly webhookReceptions: WebhookReceptions;
}

/** @param holder names this process in leases. */
export function openStores(
  database: Database,
  settings: { holder: string; clock: Clock; log: Logger; ingestQueueBytesMax: number },
): Stores {
  const { db } = database;
  const usageEvents = new UsageEvents(db);
  const dirtyHours = new DirtyHours(db);
  const leases = new Leases(db, settings.holder);
  const troubles = new TroubleLog(settings.log, settings.clock);
  return {
    database,
    aggregateChecks: new AggregateChecks(db),
    apiKeys: new ApiKeys(db),
    corrections: new Corrections(db),
    customers: new Customers(db),
    dirtyHours,
    doubts: new Doubts(db),
    eventCoverage: new EventCoverage(db),
    heartbeats: new Heartbeats(db),
    invoiceGuards: new InvoiceGuards(db),
    invoices: new InvoiceMirror(db),
    lateChecks: new LateChecks(db),
    lateSubmissions: new LateSubmissions(db),
    lateUsage: new LateUsage(db),
    lanes: new Lanes(leases, settings.clock),
    leases,
    ledger: new Ledger(db),
    mappedIds: new MappedIds(db),
    meters: new Meters(db),
    outbox: new Outbox(db),
    outboxEntries: new OutboxEntries(db),
    explanations: new Explanations(db),
    seenValues: new SeenValues(db),
    rawFacts: new RawFacts(db),
    reconciliations: new Reconciliations(db),
    rejectedEvents: new RejectedEvents(db),
    relatedRows: new RelatedRows(db),
    reviewCounts: new ReviewCounts(db),
    runs: new Runs(db),
    submissions: new MeterSubmissions(db),
    submittingPauses: new SubmittingPauses(db),
    subscriptions: new SubscriptionMirror(db),
    unbilledUsage: new UnbilledUsageList(db),
    unfinishedUsage: new UnfinishedUsage(db),
    usageAdjustments: new UsageAdjustments(db),
    usageAggregates: new UsageAggregates(db),
    usageEvents,
    usageLog: new UsageLog({
      events: usageEvents,
      dirtyHours,
      clock: settings.clock,
      queueBytesMax: settings.ingestQueueBytesMax,
      onCloseFailed: (err) => troubles.report({ phrase: 'could not close a journal entry', fields: { err } }),
    }),
    usagePeriods: new UsagePeriods(db),
    webhookInbox: new WebhookInbox(db),
    webhookReceptions: new WebhookReceptions(db),
  };
}
