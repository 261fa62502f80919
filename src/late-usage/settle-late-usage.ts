import { boundary } from '../platform/boundary.ts';
import type { FinalPeriod } from '../mirror/invoice.ts';
import {
  billingWithOpenPeriod,
  type CountedBetween,
  isCountedAfter,
  type Lateness,
  latenessOf,
  type LateNote,
} from '../submissions/late-usage.ts';
import { counterpartsOf, unitOf } from '../submissions/planning/layout-correction.ts';
import type { LateUsagePolicy, Meter } from '../meters/meter.ts';
import type { OutboxEntry } from '../submissions/outbox-entry.ts';
import { ATTEMPT_SPAN_MS_MAX, type SubmissionState, TIMESTAMP_AGE_MS_MAX } from '../submissions/submission.ts';
import { HOUR_MS } from '../platform/durations.ts';
import {
  carryOutDecision,
  customerOf,
  type DecideLateUsageDeps,
  decideUnit,
  type DecisionRecord,
  type LateEntry,
} from './decide-late-usage.ts';

/** What moving submissions to late usage needs. */
export interface MoveLateDeps extends Pick<DecideLateUsageDeps, 'billingOf' | 'finalPeriods' | 'clock'> {
  readonly lateSubmissions: {
    /** By compare-and-set on state and attempts. */
    replace(entry: OutboxEntry, note: LateNote, at: Date): Promise<boolean>;
  };
  meters(): Promise<Meter[]>;
}

/** A submission stamped in a final period. */
interface StampedSubmission {
  readonly _id: string;
  readonly meter: string;
  readonly state: SubmissionState;
  readonly doubtful?: true;
  readonly firstAttemptAt?: Date;
  readonly lastAttemptAt?: Date;
  readonly acceptedAt?: Date;
}

interface FinalInvoice {
  readonly invoiceId: string;
  readonly stripeCustomerId: string;
  readonly periods: readonly FinalPeriod[];
  readonly wasChecked: boolean;
}

export interface SettleLateUsageDeps extends Omit<MoveLateDeps, 'lateSubmissions'> {
  readonly lateUsage: DecideLateUsageDeps['lateUsage'] & {
    pendingDecisions(limit: number): Promise<LateEntry[]>;
    waitingInUnits(batchSize: number): AsyncGenerator<LateEntry[]>;
    dueByPolicy(at: Date, batchSize: number): AsyncGenerator<LateEntry[]>;
    postpone(id: string, dueAt: Date): Promise<void>;
  };
  readonly lateSubmissions: DecideLateUsageDeps['lateSubmissions'] &
    MoveLateDeps['lateSubmissions'] & {
      /** Makes entries that a stopped process named; returns how many it looked at. */
      finish(at: Date): Promise<number>;
      /** Submissions of a final period that were, or may yet be, counted after it was final. */
      afterFinal(period: FinalPeriod & { stripeCustomerId: string }): Promise<StampedSubmission[]>;
      noteUnbilled(identifier: string, note: LateNote, at: Date): Promise<boolean>;
    };
  readonly lateChecks: {
    due(since: Date, now: Date): AsyncGenerator<FinalInvoice[]>;
    checked(invoiceId: string, at: Date, dueAt?: Date): Promise<void>;
  };
  readonly entries: { blocked(batchSize: number): AsyncGenerator<OutboxEntry[]> };
  readonly log: { warn(fields: object, phrase: string): void };
}

export interface SettleLateUsageResult {
  /** Submissions that became late usage. */
  readonly late: number;
  /** Submissions that Stripe took after their invoice was final. */
  readonly unbilled: number;
  /** Entries submitted with the open period, by policy. */
  readonly submitted: number;
}

const BATCH = 500;
/** Entries whose policy could not be applied are looked at again after this. */
const POSTPONED_MS = HOUR_MS;
/** No attempt that was on its way at the first check of an invoice is made or answered later than this. */
const RECHECK_MS = ATTEMPT_SPAN_MS_MAX + 3 * HOUR_MS;
/** Nothing is stamped in a period that ended longer ago: Stripe takes no such timestamps. */
const FINAL_AGE_MS_MAX = TIMESTAMP_AGE_MS_MAX + 2 * RECHECK_MS;
const ACTOR = 'policy';

/**
 * Brings late usage up to date: finishes what a stopped process left, lists what became late while it was blocked and
 * what Stripe took too late, and applies the policies of the meters. Safe to run at any time, twice at once, and to stop
 * anywhere.
 */
export async function settleLateUsage(deps: SettleLateUsageDeps): Promise<SettleLateUsageResult> {
  await deps.lateSubmissions.finish(new Date(deps.clock.now()));
  await finishDecisions(deps);
  let late = 0;
  for await (const batch of deps.entries.blocked(BATCH)) late += (await moveLate(deps, batch)).size;
  const unbilled = await checkInvoices(deps);
  const submitted = await applyPolicies(deps);
  if (late + unbilled > 0) deps.log.warn({ late, unbilled }, 'usage came too late for its invoice');
  return { late, unbilled, submitted };
}

/**
 * Turns those of these submissions into late usage that were never sent, and that Stripe would refuse or never bill.
 * @returns the identifiers of those that this call, or another just before it, has turned; they must not be sent.
 */
export async function moveLate(deps: MoveLateDeps, entries: readonly OutboxEntry[]): Promise<Set<string>> {
  // Neither can have counted: Stripe took nothing, or refused before it counted.
  const unsent = entries.filter(({ state }) => state === 'planned' || state === 'blocked');
  const found = unsent.length === 0 ? [] : await findLate(deps, unsent);
  if (found.length === 0) return new Set();
  const policies = await policiesOf(deps);
  const at = new Date(deps.clock.now());
  for (const { entry, ...lateness } of found) {
    await deps.lateSubmissions.replace(entry, { ...lateness, policy: policies.get(entry.meter) ?? 'review' }, at);
  }
  return new Set(found.map(({ entry }) => entry.identifier));
}

interface LateSubmission extends Lateness {
  readonly entry: OutboxEntry;
  readonly unit?: string;
}

/** Those that come too late, each once, and with them those that carry the other side of the same correction. */
async function findLate(deps: MoveLateDeps, unsent: readonly OutboxEntry[]): Promise<LateSubmission[]> {
  const nowMs = deps.clock.now();
  const customers = await deps.billingOf([...new Set(unsent.map(({ customerId }) => customerId))]);
  const finals = await deps.finalPeriods([...customers.values()]);
  const found = new Map<string, LateSubmission>();
  for (const entry of unsent) {
    const customer = customers.get(entry.customerId);
    if (customer === undefined || found.has(entry.identifier)) continue;
    const lateness = latenessOf(entry, { customer, finals: finals.get(entry.customerId) ?? [], nowMs });
    if (lateness === undefined) continue;
    const together = [entry, ...counterpartsOf(entry, unsent, customer)];
    const unit = together.length === 1 ? {} : { unit: unitOf(together.map(({ identifier }) => identifier)) };
    for (const each of together) found.set(each.identifier, { entry: each, ...lateness, ...unit });
  }
  return [...found.values()];
}

async function policiesOf(deps: Pick<MoveLateDeps, 'meters'>): Promise<Map<string, LateUsagePolicy>> {
  return new Map((await deps.meters()).map(({ key, lateUsage }) => [key, lateUsage]));
}

/** What follows from decisions, and the decisions that follow from those of the same unit. */
async function finishDecisions(deps: SettleLateUsageDeps): Promise<void> {
  for (const entry of await deps.lateUsage.pendingDecisions(BATCH)) await carryOutDecision(deps, entry);
  for await (const batch of deps.lateUsage.waitingInUnits(BATCH)) {
    for (const { unit } of batch) {
      const decided = (await deps.lateUsage.ofUnit(unit ?? '')).find(({ decision }) => decision !== undefined);
      if (decided !== undefined) await carryOutDecision(deps, decided);
    }
  }
}

/** Searches final invoices for submissions that Stripe took after they were final. */
async function checkInvoices(deps: SettleLateUsageDeps): Promise<number> {
  const nowMs = deps.clock.now();
  let found = 0;
  for await (const batch of deps.lateChecks.due(new Date(nowMs - FINAL_AGE_MS_MAX), new Date(nowMs))) {
    for (const invoice of batch) {
      const { noted, isSettled } = await checkInvoice(deps, invoice);
      found += noted;
      const isLast = invoice.wasChecked && isSettled;
      const dueAt = isLast ? undefined : new Date(nowMs + RECHECK_MS);
      await deps.lateChecks.checked(invoice.invoiceId, new Date(nowMs), dueAt);
      await boundary('late.invoice-checked');
    }
  }
  return found;
}

async function checkInvoice(
  deps: SettleLateUsageDeps,
  { invoiceId, stripeCustomerId, periods }: FinalInvoice,
): Promise<{ noted: number; isSettled: boolean }> {
  const at = new Date(deps.clock.now());
  let noted = 0;
  let isSettled = true;
  for (const period of periods) {
    for (const submission of await deps.lateSubmissions.afterFinal({ ...period, stripeCustomerId })) {
      if (submission.state === 'sending' || submission.state === 'in_doubt') {
        isSettled = false;
        continue;
      }
      const isAfter = isCountedAfter(countedBetween(submission), period.finalizedAtMs);
      if (isAfter === 'no') continue;
      // Where nobody can tell, the usage may be on the invoice: a person looks at it.
      const policy = isAfter === 'yes' ? (await policiesOf(deps)).get(submission.meter) : 'review';
      const note = { reason: 'accepted_after_finalization' as const, policy: policy ?? 'review', invoiceId };
      if (await deps.lateSubmissions.noteUnbilled(submission._id, note, at)) noted += 1;
      await boundary('late.unbilled-noted');
    }
  }
  return { noted, isSettled };
}

function countedBetween(submission: StampedSubmission): CountedBetween {
  const { doubtful, firstAttemptAt, lastAttemptAt, acceptedAt } = submission;
  const toMs = (acceptedAt ?? lastAttemptAt)?.getTime() ?? 0;
  // Without a doubt it was the last attempt that counted, and its answer came at `acceptedAt`.
  const isOnce = doubtful !== true && acceptedAt !== undefined;
  return { fromMs: (isOnce ? lastAttemptAt : firstAttemptAt)?.getTime() ?? toMs, toMs };
}

/** Applies `next_period` where the meter says so; returns how many entries were submitted. */
export async function applyPolicies(
  deps: DecideLateUsageDeps & Pick<SettleLateUsageDeps, 'lateUsage'>,
): Promise<number> {
  const nowMs = deps.clock.now();
  let submitted = 0;
  for await (const batch of deps.lateUsage.dueByPolicy(new Date(nowMs), BATCH)) {
    for (const entry of batch) {
      const decision = await policyDecision(deps, entry, nowMs);
      if (decision === undefined) {
        await deps.lateUsage.postpone(entry._id, new Date(nowMs + POSTPONED_MS));
        continue;
      }
      await carryOutDecision(deps, await decideUnit(deps, entry, decision));
      submitted += 1;
    }
  }
  return submitted;
}

/** The decision that the policy comes to; undefined while there is no open period, and for usage not to be billed. */
async function policyDecision(
  deps: DecideLateUsageDeps,
  entry: LateEntry,
  nowMs: number,
): Promise<DecisionRecord | undefined> {
  const { customer, finals } = await customerOf(deps, entry);
  const { submitFromMs } = customer;
  if (submitFromMs !== undefined && entry.timestamp.getTime() < submitFromMs) return undefined;
  const billing = billingWithOpenPeriod(entry, { customer, finals, nowMs });
  if ('refused' in billing) return undefined;
  return { policy: 'next_period', actor: ACTOR, at: new Date(nowMs), timestamp: new Date(billing.timestampMs) };
}
