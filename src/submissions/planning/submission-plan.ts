import type { BillingCustomer } from '../../customers/calendar/billing-customer.ts';
import { type FinalMeterPeriod, isTooOld, latenessOf, type LateNote } from '../late-usage.ts';
import type { LateUsagePolicy } from '../../meters/meter.ts';
import {
  equalQuantities,
  isZeroQuantity,
  leadingPart,
  addQuantities,
  type Quantity,
  subtractQuantities,
} from '../../platform/quantity.ts';
import { type BlockedReason, identifierFor } from '../submission.ts';
import type { SubmissionMode } from '../../meters/stripe-meter.ts';

/** A row whose figure may differ from what was planned: a window, or a period's running figure. */
export interface PlannableRow {
  readonly subject: 'window' | 'period';
  readonly customerId: string;
  readonly meter: string;
  /** Start of the window or period, UTC milliseconds. */
  readonly startMs: number;
  readonly endMs: number;
  /** A period that holds no usage. */
  readonly isEmpty?: boolean;
  /** A period that a changed calendar gave up. */
  readonly isFormer?: true;
  /** A period that was there before the calendar changed, and that planning did not take over yet. */
  readonly isRelaid?: true;
  /** What was planned is counted from stamps: see submissions/planning/stamped-figure. */
  readonly isCounted?: true;
  /** Then, the timestamp of the row's own last submission, UTC milliseconds. */
  readonly lastStampMs?: number;
  readonly quantity: Quantity;
  /** The revision of the customer's calendar that the figure was derived under. */
  readonly layout: number;
  readonly revision: number;
  readonly planned?: PlannedSoFar;
}

export interface PlannedSoFar {
  readonly sequence: number;
  readonly quantity: Quantity;
  readonly identifier: string;
  /** Timestamp of the last submission, UTC milliseconds. */
  readonly atMs: number;
  /** Of the last submission; absent: `delta`. */
  readonly mode?: 'period_total';
}

/** The figure that the next submission is to reach, and the window that it is stamped with. */
export interface NextFigure {
  readonly quantity: Quantity;
  readonly atMs: number;
}

/** A submission as planning makes it. */
export interface PlannedSubmission {
  readonly identifier: string;
  readonly customerId: string;
  readonly meter: string;
  readonly subject: 'window' | 'period';
  readonly startMs: number;
  readonly sequence: number;
  readonly fromQuantity: Quantity;
  readonly toQuantity: Quantity;
  readonly value: Quantity;
  readonly timestampMs: number;
  /** Set when it cannot be sent yet. */
  readonly blocked?: BlockedReason;
  /** When it may be sent; absent: at once. */
  readonly dueAtMs?: number;
  /** Absent: `delta`. */
  readonly mode?: 'period_total';
}

/** See `RowPlan`. */
export interface TakeOver {
  readonly kind: 'take-over';
  readonly row: PlannableRow;
  readonly submission: PlannedSubmission;
  readonly complete: boolean;
  /** Starts of the periods that are then counted again: of one that was given up, those in its place. */
  readonly stampedIn: readonly number[];
}

/**
 * The figure is what was planned already, or lies before anything that is to be submitted; unless an earlier run stopped
 * before the row moved on, and the figure changed back since.
 */
export interface Settled {
  readonly kind: 'settled';
  readonly row: PlannableRow;
  /** Of the submission that such a run would have left. */
  readonly nextIdentifier: string;
}

/** What planning does about one row. */
export type RowPlan =
  | {
      readonly kind: 'submit';
      readonly row: PlannableRow;
      readonly submission: PlannedSubmission;
      readonly complete: boolean;
      /** Starts of the periods that the submission is stamped in, where that is not the row's own. */
      readonly stampedIn?: readonly number[];
    }
  /**
   * A period is taken over after a change of calendar: an entry without value, never sent. It takes the identifier that a
   * planning run with an old reading of the row would use, so that nothing of the former calendar is added afterwards.
   */
  | TakeOver
  /** Stripe would take or refuse the difference, and never bill it: it becomes late usage. */
  | {
      readonly kind: 'late';
      readonly row: PlannableRow;
      readonly submission: PlannedSubmission;
      readonly late: LateNote;
      readonly complete: boolean;
      readonly stampedIn?: readonly number[];
    }
  | Settled;

/** What planning a row depends on besides the row. */
export interface PlanContext {
  readonly customer: BillingCustomer;
  readonly installation: string;
  readonly nowMs: number;
  /** The customer's final periods, of any meter. */
  readonly finals: readonly FinalMeterPeriod[];
  /** The meter's policy for late usage. */
  readonly policy: LateUsagePolicy;
  /** How the Stripe meter takes it. */
  readonly mode: SubmissionMode;
}

/**
 * Plans one row: the difference between its figure and what its submissions add up to, as one meter event; in the mode
 * `period_total` the figure itself.
 * A difference with more than 15 significant digits is reached in steps: the leading digits first, the rest once those
 * are answered.
 */
export function planRow(row: PlannableRow, next: NextFigure, context: PlanContext): RowPlan {
  const { customer } = context;
  const fromQuantity = row.planned?.quantity ?? '0';
  const difference = subtractQuantities(next.quantity, fromQuantity);
  if (isZeroQuantity(difference)) return settled(row, context.installation);
  if (customer.submitFromMs !== undefined && next.atMs < customer.submitFromMs && row.planned === undefined) {
    return settled(row, context.installation);
  }
  const isTotal = context.mode === 'period_total';
  const part = leadingPart(difference);
  const toQuantity = isTotal ? next.quantity : addQuantities(fromQuantity, part);
  const sequence = nextSequence(row);
  const timestampMs = Math.floor(next.atMs / 1000) * 1000;
  const late = latenessOf({ meter: row.meter, timestampMs: next.atMs }, context);
  const blocked = late === undefined ? blockedReason(customer, next.atMs, context.nowMs) : undefined;
  return {
    ...(late === undefined
      ? { kind: 'submit' as const }
      : { kind: 'late' as const, late: { ...late, policy: context.policy } }),
    row,
    complete: equalQuantities(toQuantity, row.quantity),
    submission: {
      identifier: identifierFor({ ...row, installation: context.installation, sequence }),
      customerId: row.customerId,
      meter: row.meter,
      subject: row.subject,
      startMs: row.startMs,
      sequence,
      fromQuantity,
      toQuantity,
      value: isTotal ? next.quantity : part,
      timestampMs,
      ...(isTotal && { mode: 'period_total' as const }),
      ...(blocked !== undefined && { blocked }),
    },
  };
}

/** The plan of a row about which nothing has to be done. */
export function settled(row: PlannableRow, installation: string): Settled {
  return { kind: 'settled', row, nextIdentifier: identifierFor({ ...row, installation, sequence: nextSequence(row) }) };
}

function nextSequence({ planned }: PlannableRow): number {
  return (planned?.sequence ?? 0) + 1;
}

/** Why usage of a customer stamped at an instant cannot be sent, if it cannot. */
export function blockedReason(
  customer: BillingCustomer,
  timestampMs: number,
  nowMs: number,
): BlockedReason | undefined {
  if (customer.submitFromMs !== undefined && timestampMs < customer.submitFromMs) return 'before_submit_from';
  if (isTooOld(timestampMs, nowMs)) return 'timestamp_too_old';
  if (customer.stripeCustomerId !== undefined) return undefined;
  return customer.mappedElsewhere === undefined ? 'customer_not_mapped' : 'customer_mapped_elsewhere';
}
