import type { Clock } from '../platform/clock.ts';
import type { BillingCustomer } from '../customers/calendar/billing-customer.ts';
import type { ClosedPeriod, HealAction, HealBounds } from './heal-plan.ts';
import type { LedgerEntry } from '../submissions/ledger-entry.ts';
import type { Meter } from '../meters/meter.ts';
import type { Period } from '../customers/calendar/period.ts';
import type { Quantity } from '../platform/quantity.ts';
import type { HourDifference, HourReading, LedgerFigures, Verdict } from './reconciliation.ts';
import type { SubmittedFigures } from '../submissions/submitted-figures.ts';
import { type DestinationMeter, type SubmissionMode } from '../meters/stripe-meter.ts';
import type { UnbilledReason } from '../customers/unbilled-reason.ts';

/** One customer's meter over one billing period. */
export interface Pair {
  readonly customer: BillingCustomer;
  readonly meter: Meter;
  readonly period: Period;
  /** Where submitting begins within the period. */
  readonly fromMs: number;
  /** Absent when the Stripe meter is missing or cannot be fed. */
  readonly stripeMeter?: DestinationMeter;
  /** How the Stripe meter reads what it is sent. */
  readonly mode: SubmissionMode;
}

/** What is remembered of a pair between runs. */
export interface PairMemory {
  readonly customerId: string;
  readonly meter: string;
  readonly periodFromMs: number;
  readonly readAtMs: number;
  readonly verdict: Verdict;
  readonly matchedFingerprint?: string;
  /** Stripe's total at the last match. */
  readonly matchedTotal?: Quantity;
  /** The first of two reads of each hour that differs. */
  readonly readings?: readonly HourReading[];
  readonly rereadAtMs?: number;
}

/** What is known of a comparison before its verdict. */
export interface Comparison {
  readonly pair: Pair;
  readonly fromMs: number;
  readonly toMs: number;
  readonly figures: LedgerFigures;
  readonly stripe?: Quantity;
  /** When Stripe's figure was read, which for a remembered match is earlier than the run; absent where it never was. */
  readonly readAtMs?: number;
  readonly hours: readonly HourDifference[];
  readonly note?: string;
  readonly plan: readonly HealAction[];
  readonly applied: boolean;
  readonly reads: number;
  readonly healed: number;
  /** A plan waits for a person. */
  readonly waits: boolean;
  readonly needsReread: boolean;
  /** Usage of the range that is at Stripe and that nothing bills, but for what is meant to be so. */
  readonly unbilled?: { readonly quantity: Quantity; readonly reasons: readonly UnbilledReason[] };
  /** Stripe was not asked: nothing has changed here since the last match, or nothing was ever sent. */
  readonly isRemembered: boolean;
}

export interface PairResult extends Comparison {
  readonly verdict: Verdict;
  readonly memory?: PairMemory;
  /** Stripe's answer of 5xx where the pair was to be read. */
  readonly failure?: unknown;
}

/** A customer's meter over a range of timestamps `[fromMs, toMs)`. */
export interface Scope {
  readonly customerId: string;
  readonly meter: string;
  readonly fromMs: number;
  readonly toMs: number;
}

/** Our submissions of a range, with what only a comparison needs. */
export interface RangeSums extends SubmittedFigures {
  /** Late usage of other periods that is billed with these stamps. */
  readonly lateSubmitted: Quantity;
  /** Cancellations whose answer is not known. */
  readonly calling: number;
  /** How many there are, whatever became of them. */
  readonly submissions: number;
}

/** What reading our own side takes. */
export interface FiguresDeps {
  readonly ledger: {
    sums(scope: Scope): Promise<RangeSums>;
    entries(scope: Scope): Promise<LedgerEntry[]>;
  };
  /** The figure of a pair: the sum of its windows from `fromMs` on, or its period's running figure. */
  localFigure(pair: Pair): Promise<Quantity>;
  /** Usage stamped in a range that is on the list of late usage instead of being sent. */
  lateUsage(scope: Scope): Promise<{ readonly sum: Quantity; readonly isWaiting: boolean }>;
}

export interface SummaryRange {
  readonly stripeCustomerId: string;
  readonly stripeMeterId: string;
  readonly fromMs: number;
  readonly toMs: number;
}

/** What was read of Stripe, and how many calls it took. */
export interface SummaryRead<T> {
  readonly value: T;
  readonly reads: number;
}

/** What reading Stripe's side takes. */
export interface SummariesDeps {
  readonly summaries: {
    total(range: SummaryRange): Promise<SummaryRead<Quantity>>;
    hourly(range: SummaryRange): Promise<SummaryRead<Map<number, Quantity>>>;
  };
  /** Periods of a pair's customer and Stripe meter whose invoice is final. */
  finalPeriods(pair: Pair): Promise<readonly ClosedPeriod[]>;
  readonly summaryLagMaxMs: number;
  readonly summaryRereadMs: number;
}

/** What came of one call to cancel a meter event. */
export type CancelOutcome =
  | { readonly kind: 'done' }
  | { readonly kind: 'refused'; readonly reason: string }
  /** No answer, or one that says nothing of the event: made again later. */
  | { readonly kind: 'unanswered'; readonly reason: string };

/** The nth heal of a customer's meter in an hour. */
interface HealIdentity {
  readonly installation: string;
  readonly customerId: string;
  readonly meter: string;
  readonly hourMs: number;
  readonly number: number;
}

/** What correcting Stripe's figures takes. */
export interface CorrectionDeps {
  readonly submissions: {
    replace(
      identifier: string,
      decided: { reason: string; at: Date; from: readonly ('accepted' | 'duplicate' | 'confirmed' | 'in_doubt')[] },
    ): Promise<boolean>;
    confirmDoubt(identifier: string, reason: string, at: Date): Promise<boolean>;
  };
  readonly corrections: {
    topUp(input: { heal: HealIdentity; timestampMs: number; value: Quantity; at: Date }): Promise<boolean>;
    findReplaced(identifier: string): Promise<ReplacedSubmission | undefined>;
    recordCancellation(identifier: string, cancelAttempts: number, at: Date): Promise<boolean>;
    settleCancellation(
      identifier: string,
      attempts: number,
      outcome: { state: 'done' | 'refused'; reason?: string },
    ): Promise<boolean>;
    offset(identifier: string, decided: { cancelAttempts: number; heal: HealIdentity; at: Date }): Promise<boolean>;
  };
  /** Cancels a meter event at Stripe. */
  cancel(call: { identifier: string; eventName: string; idempotencyKey: string }): Promise<CancelOutcome>;
  readonly installation: string;
  readonly clock: Clock;
}

/** A submission that was replaced and counted all the same. */
export interface ReplacedSubmission {
  readonly identifier: string;
  readonly eventName?: string;
  readonly lastAttemptAtMs: number;
  readonly cancelAttempts: number;
  readonly isOffset: boolean;
}

export interface ComparePairDeps extends FiguresDeps, SummariesDeps, CorrectionDeps {
  readonly ledger: FiguresDeps['ledger'] & { confirm(scope: Scope, readAt: Date): Promise<void> };
}

export interface CompareOptions {
  readonly memory?: PairMemory;
  readonly mayRead: boolean;
  /** Reads also what has not changed since the last match: Stripe may have lost it. */
  readonly isReadAnyway?: boolean;
  readonly mayHeal: boolean;
  /** Calls that were decided and not answered are made again. Not in a dry run. */
  readonly mayFinish: boolean;
  readonly bounds: HealBounds;
}

/** The memory of a pair that was read. */
export function memoryOf(pair: Pair, read: { nowMs: number; verdict: Verdict }): PairMemory {
  return {
    customerId: pair.customer.customerId,
    meter: pair.meter.key,
    periodFromMs: pair.period.fromMs,
    readAtMs: read.nowMs,
    verdict: read.verdict,
  };
}
