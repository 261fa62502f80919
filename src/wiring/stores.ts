import type { Clock } from '../clock.ts';
import type { Logger } from '../logger.ts';
import { AggregateChecks } from '../storage/aggregate-check.ts';
import { ApiKeys } from '../storage/api-keys.ts';
import { Customers } from '../storage/customers.ts';
import type { Database } from '../storage/database.ts';
import { DirtyHours } from '../storage/dirty-hours.ts';
import { Leases } from '../storage/leases.ts';
import { Ledger } from '../storage/ledger.ts';
import { Meters } from '../storage/meters.ts';
import { MeterSubmissions } from '../storage/meter-submissions.ts';
import { Outbox } from '../storage/outbox.ts';
import { OutboxEntries } from '../storage/outbox-entries.ts';
import { Reconciliations } from '../storage/reconciliations.ts';
import { RejectedEvents } from '../storage/rejected-events.ts';
import { Runs } from '../storage/runs.ts';
import { UsageAggregates } from '../storage/usage-aggregates.ts';
import { UsageEvents } from '../storage/usage-events.ts';
import { UsageLog } from '../storage/usage-log.ts';
import { UsagePeriods } from '../storage/usage-periods.ts';

/** Every collection's statements, over one database. */
export interface Stores {
  readonly database: Database;
  readonly aggregateChecks: AggregateChecks;
  readonly apiKeys: ApiKeys;
  readonly customers: Customers;
  readonly dirtyHours: DirtyHours;
  readonly leases: Leases;
  readonly ledger: Ledger;
  readonly meters: Meters;
  readonly outbox: Outbox;
  readonly outboxEntries: OutboxEntries;
  readonly reconciliations: Reconciliations;
  readonly rejectedEvents: RejectedEvents;
  readonly runs: Runs;
  readonly submissions: MeterSubmissions;
  readonly usageAggregates: UsageAggregates;
  readonly usageEvents: UsageEvents;
  readonly usageLog: UsageLog;
  readonly usagePeriods: UsagePeriods;
}

/** @param holder names this process in leases. */
export function openStores(
  database: Database,
  settings: { holder: string; clock: Clock; log: Logger; ingestQueueBytesMax: number },
): Stores {
  const { db } = database;
  const usageEvents = new UsageEvents(db);
  const dirtyHours = new DirtyHours(db);
  return {
    database,
    aggregateChecks: new AggregateChecks(db),
    apiKeys: new ApiKeys(db),
    customers: new Customers(db),
    dirtyHours,
    leases: new Leases(db, settings.holder),
    ledger: new Ledger(db),
    meters: new Meters(db),
    outbox: new Outbox(db),
    outboxEntries: new OutboxEntries(db),
    reconciliations: new Reconciliations(db),
    rejectedEvents: new RejectedEvents(db),
    runs: new Runs(db),
    submissions: new MeterSubmissions(db),
    usageAggregates: new UsageAggregates(db),
    usageEvents,
    usageLog: new UsageLog({
      events: usageEvents,
      dirtyHours,
      clock: settings.clock,
      queueBytesMax: settings.ingestQueueBytesMax,
      onCloseFailed: (err) => settings.log.warn({ err }, 'could not close a journal entry'),
    }),
    usagePeriods: new UsagePeriods(db),
  };
}
