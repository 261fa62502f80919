import type { CreateIndexesOptions, Db, IndexSpecification } from 'mongodb';
import { CUSTOMERS } from '../customers/customers-store.ts';
import { DIRTY_HOURS } from '../usage/dirty-hours-store.ts';
import { isExistingCollection, toStorageError } from '../platform/mongo/errors.ts';
import { ensureRules, findIndexFaults, type IndexFault } from './index-faults-store.ts';
import { INVOICE_GUARDS } from '../invoice-guard/invoice-guards-store.ts';
import { INVOICES } from '../mirror/invoices-store.ts';
import { LATE_CHECKS, LATE_CHECKS_SECONDS_MAX } from '../late-usage/late-checks-store.ts';
import { LATE_USAGE } from '../submissions/late-usage-store.ts';
import { METER_SUBMISSIONS } from '../submissions/meter-submissions-store.ts';
import { METERS } from '../meters/meters-store.ts';
import { REJECTED_EVENTS } from '../usage/rejected-events-store.ts';
import { RUNS } from '../platform/mongo/runs.ts';
import { SUBSCRIPTIONS } from '../mirror/subscriptions-store.ts';
import { USAGE_ADJUSTMENTS } from '../usage/usage-adjustments-store.ts';
import { USAGE_AGGREGATES } from '../aggregation/usage-aggregates-store.ts';
import { USAGE_EVENTS } from '../usage/usage-events-store.ts';
import { USAGE_PERIODS } from '../aggregation/usage-periods-store.ts';
import { WEBHOOK_INBOX } from '../webhooks/webhook-inbox-store.ts';

/** One secondary index, and what would break, or be slow, without it. */
export interface IndexRule {
  readonly collection: string;
  readonly key: IndexSpecification;
  readonly options?: CreateIndexesOptions;
  readonly why: string;
}

const RECONCILIATIONS = 'reconciliations';

/**
 * Every index besides `_id`. The `_id`s hold invariants of their own: in usage_events an event is stored once per
 * idempotency key and customer; in usage_aggregates, usage_periods, usage_groups and unique_values there is one row for
 * each window, period or value; in meter_submissions one meter event for each identifier; in leases one holder.
 */
export const INDEXES: readonly IndexRule[] = [
  {
    collection: USAGE_EVENTS,
    key: { hour: 1, customerId: 1 },
    why: 'Derivation reads an hour or a customer-hour. The only one on this collection: each costs every ingested event.',
  },
  {
    collection: USAGE_ADJUSTMENTS,
    key: { hour: 1, customerId: 1 },
    why: 'Derivation looks whether an hour was adjusted, and by how much.',
  },
  { collection: USAGE_ADJUSTMENTS, key: { receivedAt: -1, _id: -1 }, why: 'Adjustments are listed newest first.' },
  {
    collection: USAGE_ADJUSTMENTS,
    key: { customerId: 1, receivedAt: -1, _id: -1 },
    why: "A customer's adjustments are listed newest first.",
  },
  { collection: DIRTY_HOURS, key: { pairs: 1 }, why: "Live figures ask for one customer's waiting hours." },
  {
    collection: DIRTY_HOURS,
    key: { setAside: 1 },
    options: { partialFilterExpression: { setAside: { $exists: true } } },
    why: 'What could not be derived is counted without reading what merely waits.',
  },
  { collection: REJECTED_EVENTS, key: { lastAt: -1, _id: -1 }, why: 'Dead letters are listed newest first.' },
  {
    collection: USAGE_AGGREGATES,
    key: { planDue: 1, windowEnd: 1 },
    options: { partialFilterExpression: { planDue: true } },
    why: 'Planning finds what is due without reading what is done.',
  },
  {
    collection: USAGE_AGGREGATES,
    key: { uncountable: 1 },
    options: { partialFilterExpression: { uncountable: { $gt: 0 } } },
    why: 'The gauge of facts that a meter could not count.',
  },
  {
    collection: USAGE_PERIODS,
    key: { planDue: 1, periodEnd: 1 },
    options: { partialFilterExpression: { planDue: true } },
    why: 'Planning finds what is due without reading what is done.',
  },
  {
    collection: METERS,
    key: { 'stripe.eventName': 1 },
    options: { unique: true, partialFilterExpression: { 'stripe.eventName': { $exists: true } } },
    why: 'Two meters on one Stripe event name would each see the usage of the other as drift.',
  },
  {
    collection: CUSTOMERS,
    key: { stripeCustomerId: 1 },
    options: { unique: true, partialFilterExpression: { stripeCustomerId: { $exists: true } } },
    why: 'Two customers on one Stripe customer would each see the usage of the other as drift.',
  },
  {
    collection: CUSTOMERS,
    key: { requeueFrom: 1 },
    options: { partialFilterExpression: { requeueFrom: { $exists: true } } },
    why: 'The few customers whose hours are still to be queued after a change.',
  },
  { collection: METER_SUBMISSIONS, key: { state: 1, dueAt: 1 }, why: 'Sending takes what is due, by state.' },
  {
    collection: METER_SUBMISSIONS,
    key: { customerId: 1, meter: 1, timestamp: 1 },
    why: "Reconciliation adds up the range of a customer's meter.",
  },
  {
    collection: METER_SUBMISSIONS,
    key: { stripeCustomerId: 1, stripeMeterId: 1, timestamp: 1 },
    why: 'What was sent into a period whose invoice is final.',
  },
  {
    collection: METER_SUBMISSIONS,
    key: { latePending: 1 },
    options: { partialFilterExpression: { latePending: { $exists: true } } },
    why: 'The few late-usage entries that a stopped process left to be made.',
  },
  {
    collection: METER_SUBMISSIONS,
    key: { replacementPending: 1 },
    options: { partialFilterExpression: { replacementPending: true } },
    why: 'The few successors that a stopped process left to be made.',
  },
  {
    collection: METER_SUBMISSIONS,
    key: { offsetPending: 1 },
    options: { partialFilterExpression: { offsetPending: true } },
    why: 'The few negative deltas that a stopped process left to be made.',
  },
  {
    collection: METER_SUBMISSIONS,
    key: { customerId: 1, _id: 1 },
    why: "A customer's submissions are listed page by page.",
  },
  { collection: RUNS, key: { startedAt: -1 }, why: 'The history of jobs is listed newest first.' },
  { collection: RUNS, key: { job: 1, startedAt: -1 }, why: "A job's last runs tell whether it keeps failing." },
  {
    collection: RUNS,
    key: { state: 1, queuedAt: 1 },
    options: { partialFilterExpression: { state: 'queued' } },
    why: 'The sweep finds requested runs that nobody has begun.',
  },
  { collection: RECONCILIATIONS, key: { startedAt: -1 }, why: 'Reconciliation runs are listed newest first.' },
  {
    collection: WEBHOOK_INBOX,
    key: { dueAt: 1 },
    options: { partialFilterExpression: { state: 'pending' } },
    why: 'Processing finds what is due without reading what is done.',
  },
  {
    collection: WEBHOOK_INBOX,
    key: { state: 1, receivedAt: -1, _id: -1 },
    why: 'The inbox is listed newest first, by state, and what is done is pruned by age.',
  },
  {
    collection: SUBSCRIPTIONS,
    key: { stripeCustomerId: 1, startAt: -1, _id: 1 },
    why: "A customer's calendar follows from all of its subscriptions.",
  },
  {
    collection: SUBSCRIPTIONS,
    key: { calendarDue: 1, stripeCustomerId: 1 },
    options: { partialFilterExpression: { calendarDue: true } },
    why: 'The subscriptions whose customer has not followed yet, or is not mapped.',
  },
  {
    collection: INVOICES,
    key: { stripeCustomerId: 1, usageTo: 1 },
    why: 'Planning asks which periods of its customers are closed.',
  },
  {
    collection: INVOICES,
    key: { usageTo: 1 },
    options: { partialFilterExpression: { usageTo: { $exists: true } } },
    why: 'The invoices of the last weeks are searched for usage that came too late.',
  },
  {
    collection: LATE_USAGE,
    key: { customerId: 1, meter: 1, timestamp: 1 },
    why: "Reconciliation adds up the range of a customer's meter.",
  },
  { collection: LATE_USAGE, key: { state: 1, _id: 1 }, why: 'Late usage that waits for a decision is listed.' },
  {
    collection: LATE_USAGE,
    key: { dueAt: 1 },
    options: { partialFilterExpression: { dueAt: { $exists: true } } },
    why: 'The few entries to which a policy is to be applied.',
  },
  {
    collection: LATE_USAGE,
    key: { decisionPending: 1 },
    options: { partialFilterExpression: { decisionPending: true } },
    why: 'The few decisions that a stopped process left to be carried out.',
  },
  {
    collection: LATE_USAGE,
    key: { unit: 1 },
    options: { partialFilterExpression: { unit: { $exists: true } } },
    why: 'Entries of one correction are decided together.',
  },
  {
    collection: LATE_CHECKS,
    key: { checkedAt: 1 },
    options: { expireAfterSeconds: LATE_CHECKS_SECONDS_MAX },
    why: 'A check is forgotten once its invoice is not searched any more.',
  },
  {
    collection: INVOICES,
    key: { status: 1, _id: 1 },
    options: { partialFilterExpression: { status: 'draft' } },
    why: 'The few invoices that are not final yet.',
  },
  {
    collection: INVOICE_GUARDS,
    key: { checkAt: 1 },
    options: { partialFilterExpression: { checkAt: { $exists: true } } },
    why: 'Guards that are to look at their invoice, without those that are done.',
  },
  { collection: INVOICE_GUARDS, key: { state: 1, _id: 1 }, why: 'Held invoices are listed and counted.' },
  {
    collection: INVOICE_GUARDS,
    key: { updatedAt: 1 },
    options: { partialFilterExpression: { differs: true } },
    why: 'The gauge of final invoices that do not bill what was used.',
  },
];

/**
 * Creates what is missing, and makes anew what has other options; safe to run any number of times and by several processes
 * at once.
 * @param onMended is told of each index that was made anew.
 * @throws DaemonError `configuration_invalid` when stored documents break a unique index.
 */
export async function ensureIndexes(db: Db, onMended?: (fault: IndexFault) => void): Promise<void> {
  await ensureUsageEvents(db);
  await ensureRules(db, INDEXES, onMended);
}

/** What is wrong with the indexes of this database; see `findIndexFaults`. */
export function listIndexFaults(db: Db): Promise<IndexFault[]> {
  return findIndexFaults(db, INDEXES);
}

/** Usage events are the bulk of the data and compress well; the compressor can only be chosen at creation. */
async function ensureUsageEvents(db: Db): Promise<void> {
  try {
    await db.createCollection(USAGE_EVENTS, {
      storageEngine: { wiredTiger: { configString: 'block_compressor=zstd' } },
    });
  } catch (error) {
    if (!isExistingCollection(error)) throw toStorageError(error);
  }
}
