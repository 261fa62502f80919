import { boundary } from '../platform/boundary.ts';
import type { Clock } from '../platform/clock.ts';
import { type BillingCustomer, unknownCustomer } from '../customers/calendar/billing-customer.ts';
import {
  billingWithOpenPeriod,
  type FinalMeterPeriod,
  type LateUsageDecision,
  type LateUsageState,
} from '../submissions/late-usage.ts';
import type { LateUsagePolicy } from '../meters/meter.ts';
import { DaemonError } from '../platform/errors.ts';
import type { SubmissionMode } from '../meters/stripe-meter.ts';

/** A late-usage entry, as far as deciding goes. */
export interface LateEntry {
  readonly _id: string;
  readonly customerId: string;
  readonly meter: string;
  /** The stamp that the usage would have had. */
  readonly timestamp: Date;
  readonly mode?: SubmissionMode;
  readonly unit?: string;
  readonly state: LateUsageState;
  readonly decision?: DecisionRecord;
  readonly decisionPending?: true;
}

export interface DecisionRecord {
  readonly policy: LateUsageDecision;
  readonly actor: string;
  readonly reason?: string;
  readonly at: Date;
  readonly timestamp?: Date;
}

export interface DecideLateUsageDeps<Entry extends LateEntry = LateEntry> {
  readonly lateUsage: {
    find(id: string): Promise<Entry | null>;
    /** In order of `_id`. */
    ofUnit(unit: string): Promise<Entry[]>;
    /** By compare-and-set; null when the entry no longer waits. */
    decide(id: string, decision: DecisionRecord): Promise<Entry | null>;
    finishDecision(id: string): Promise<void>;
  };
  /** Makes the submission of an entry decided as `next_period`; does nothing for others, or a second time. */
  readonly lateSubmissions: { submit(id: string, at: Date): Promise<void> };
  billingOf(customerIds: readonly string[]): Promise<Map<string, BillingCustomer>>;
  finalPeriods(customers: readonly BillingCustomer[]): Promise<ReadonlyMap<string, readonly FinalMeterPeriod[]>>;
  readonly clock: Clock;
}

export interface DecideLateUsageInput {
  readonly id: string;
  readonly policy: LateUsagePolicy | 'dismiss';
  readonly actor: string;
  readonly reason?: string;
  /** Says what would be decided, by the same rules, and decides nothing. */
  readonly dryRun?: boolean;
}

/**
 * Decides what becomes of late usage, once. The entry moves first, with the timestamp frozen in it; then the submission
 * is made. Entries of one unit are decided as one, the first of them first.
 * @throws DaemonError `late_usage_not_found`, `late_usage_decided`, `policy_not_available`, `no_open_period`.
 */
export async function decideLateUsage<Entry extends LateEntry>(
  deps: DecideLateUsageDeps<Entry>,
  input: DecideLateUsageInput,
): Promise<Entry> {
  const { id, policy } = input;
  const entry = await findEntry(deps, id);
  if (policy !== 'next_period' && policy !== 'dismiss') throw notAvailable(policy);
  const isOpen = entry.state === 'waiting';
  const decision = isOpen ? await toDecision(deps, entry, { ...input, policy }) : undefined;
  if (input.dryRun === true && decision !== undefined) return { ...entry, decision };
  const decided = decision === undefined ? entry : await decideUnit(deps, entry, decision);
  if (decided.decision?.policy !== policy) throw alreadyDecided(decided);
  if (input.dryRun === true) return entry;
  await carryOutDecision(deps, decided);
  return findEntry(deps, id);
}

/**
 * Records a decision on the first entry of a unit, unless there is one: two people who decide two halves at the same
 * time both begin there, and one of them comes second.
 * @returns the entry that the others follow, as it was decided.
 */
export async function decideUnit<Entry extends LateEntry>(
  deps: DecideLateUsageDeps<Entry>,
  entry: Entry,
  decision: DecisionRecord,
): Promise<Entry> {
  const [first] = entry.unit === undefined ? [] : await deps.lateUsage.ofUnit(entry.unit);
  const leader = first ?? entry;
  const decided = await deps.lateUsage.decide(leader._id, decision);
  await boundary('late.decided');
  return decided ?? findEntry(deps, leader._id);
}

/** Does what follows from a decision; safe to do again, and to stop anywhere. */
export async function carryOutDecision(deps: DecideLateUsageDeps, entry: LateEntry): Promise<void> {
  const { decision, unit } = entry;
  if (decision === undefined) return;
  const others = unit === undefined ? [] : await deps.lateUsage.ofUnit(unit);
  for (const other of others) {
    if (other.state !== 'waiting') continue;
    const followed = await deps.lateUsage.decide(other._id, decision);
    await boundary('late.unit-followed');
    if (followed !== null) await finish(deps, followed);
  }
  await finish(deps, entry);
}

async function finish(deps: DecideLateUsageDeps, entry: LateEntry): Promise<void> {
  if (entry.decisionPending !== true) return;
  await deps.lateSubmissions.submit(entry._id, new Date(deps.clock.now()));
  await boundary('late.submission-made');
  await deps.lateUsage.finishDecision(entry._id);
}

/**
 * The decision as it is to be recorded.
 * @throws DaemonError `policy_not_available` or `no_open_period` where the usage cannot be billed with the open period.
 */
async function toDecision(
  deps: DecideLateUsageDeps,
  entry: LateEntry,
  input: DecideLateUsageInput & { policy: LateUsageDecision },
): Promise<DecisionRecord> {
  const { policy, actor, reason } = input;
  const nowMs = deps.clock.now();
  const record = { policy, actor, ...(reason !== undefined && { reason }), at: new Date(nowMs) };
  if (policy === 'dismiss') return record;
  const billing = billingWithOpenPeriod(entry, { ...(await customerOf(deps, entry)), nowMs });
  if ('timestampMs' in billing) return { ...record, timestamp: new Date(billing.timestampMs) };
  if (billing.refused === 'period_total') {
    throw notAvailable(policy, 'A running total cannot be added to the one of another period.');
  }
  throw new DaemonError({
    kind: 'conflict',
    code: 'no_open_period',
    message: 'The customer has no open period that could bill this: not mapped, not submitted from now, or invoiced.',
    context: { id: entry._id, customerId: entry.customerId },
  });
}

/** The customer of an entry with the final periods. */
export async function customerOf(
  deps: Pick<DecideLateUsageDeps, 'billingOf' | 'finalPeriods'>,
  { customerId }: LateEntry,
): Promise<{ customer: BillingCustomer; finals: readonly FinalMeterPeriod[] }> {
  const customer = (await deps.billingOf([customerId])).get(customerId) ?? unknownCustomer(customerId);
  return { customer, finals: (await deps.finalPeriods([customer])).get(customerId) ?? [] };
}

async function findEntry<Entry extends LateEntry>(deps: DecideLateUsageDeps<Entry>, id: string): Promise<Entry> {
  const entry = await deps.lateUsage.find(id);
  if (entry !== null) return entry;
  throw new DaemonError({
    kind: 'not-found',
    code: 'late_usage_not_found',
    message: 'No late usage has this id.',
    context: { id },
  });
}

function alreadyDecided(entry: LateEntry): DaemonError {
  return new DaemonError({
    kind: 'conflict',
    code: 'late_usage_decided',
    message: `This late usage was decided otherwise: ${entry.decision?.policy ?? entry.state}.`,
    context: { id: entry._id, pointer: '/policy' },
  });
}

function notAvailable(policy: string, why = 'It needs a price book, which there is none of yet.'): DaemonError {
  return new DaemonError({
    kind: 'invalid',
    code: 'policy_not_available',
    message: `The policy ${policy} cannot be chosen here. ${why}`,
    context: { policy, pointer: '/policy' },
  });
}
