import type { Clock } from '../clock.ts';
import type { Logger } from '../logger.ts';
import { AggregateChecks } from '../storage/aggregate-check.ts';
import { ApiKeys } from '../storage/api-keys.ts';
import { Customers } from '../storage/customers.ts';
import { Doubts } from '../storage/doubts.ts';
import { Corrections } from '../storage/corrections.ts';
import type { Database } from '../storage/database.ts';
import { DirtyHours } from '../storage/dirty-hours.ts';
import { EventCoverage } from '../storage/event-coverage.ts';
import { Heartbeats } from '../storage/heartbeats.ts';
import { InvoiceGuards } from '../storage/invoice-guards.ts';
import { InvoiceMirror } from '../storage/invoices.ts';
import { LateChecks } from '../storage/late-checks.ts';
import { LateSubmissions } from '../storage/late-submissions.ts';
import { LateUsage } from '../storage/late-usage.ts';
import { Lanes } from '../storage/lanes.ts';
import { Leases } from '../storage/leases.ts';
import { Ledger } from '../storage/ledger.ts';
import { MappedIds } from '../storage/mapped-ids.ts';
import { Meters } from '../storage/meters.ts';
import { MeterSubmissions } from '../storage/meter-submissions.ts';
import { Outbox } from '../storage/outbox.ts';
import { OutboxEntries } from '../storage/outbox-entries.ts';
import { Explanations } from '../storage/explanations.ts';
import { SeenValues } from '../storage/seen-values.ts';
import { RawFacts } from '../storage/raw-facts.ts';
import { Reconciliations } from '../storage/reconciliations.ts';
import { RelatedRows } from '../storage/plannable-rows.ts';
import { RejectedEvents } from '../storage/rejected-events.ts';
import { ReviewCounts } from '../storage/review-counts.ts';
import { Runs } from '../storage/runs.ts';
import { SubmittingPauses } from '../storage/submitting-pause.ts';
import { SubscriptionMirror } from '../storage/subscriptions.ts';
import { UnbilledUsageList } from '../storage/unbilled-usage.ts';
import { UnfinishedUsage } from '../storage/unfinished-usage.ts';
import { UsageAdjustments } from '../storage/usage-adjustments.ts';
import { UsageAggregates } from '../storage/usage-aggregates.ts';
import { UsageEvents } from '../storage/usage-events.ts';
import { UsageLog } from '../storage/usage-log.ts';
import { UsagePeriods } from '../storage/usage-periods.ts';
import { WebhookInbox } from '../storage/webhook-inbox.ts';
import { WebhookReceptions } from '../storage/webhook-receptions.ts';
import { TroubleLog } from '../trouble-log.ts';

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
