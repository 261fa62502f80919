import type { BillingCustomer } from './billing-customer.ts';
import {
  equalQuantities,
  isZeroQuantity,
  leadingPart,
  addQuantities,
  type Quantity,
  subtractQuantities,
} from './quantity.ts';
import { type BlockedReason, identifierFor, TIMESTAMP_AGE_MS_MAX } from './submission.ts';

/** A row whose figure may differ from what was planned: a window, or a period's running figure. */
export interface PlannableRow {
  readonly subject: 'window' | 'period';
  readonly customerId: string;
  readonly meter: string;
  /** Start of the window or period, UTC milliseconds. */
  readonly startMs: number;
  readonly endMs: number;
  /** Holds no usage: with a planned figure, a period that a changed calendar does away with. */
  readonly isEmpty?: boolean;
  readonly quantity: Quantity;
  readonly revision: number;
  readonly planned?: PlannedSoFar;
}

export interface PlannedSoFar {
  readonly sequence: number;
  readonly quantity: Quantity;
  readonly identifier: string;
  /** Timestamp of the last submission, UTC milliseconds. */
  readonly atMs: number;
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
}

/** What planning does about one row. */
export type RowPlan =
  | {
      readonly kind: 'submit';
      readonly row: PlannableRow;
      readonly submission: PlannedSubmission;
      readonly complete: boolean;
    }
  /** The figure is what was planned already, or lies before anything that is to be submitted. */
  | { readonly kind: 'settled'; readonly row: PlannableRow };

/** Stripe refuses timestamps beyond 35 days; this much earlier we no longer try. */
const TIMESTAMP_MARGIN_MS = 3_600_000;

/**
 * Plans one row: the difference between its figure and what its submissions add up to, as one meter event.
 * A difference with more than 15 significant digits is reached in steps: the leading digits first, the rest once those
 * are answered.
 */
export function planRow(
  row: PlannableRow,
  next: NextFigure,
  context: { customer: BillingCustomer; installation: string; nowMs: number },
): RowPlan {
  const { customer } = context;
  const fromQuantity = row.planned?.quantity ?? '0';
  const difference = subtractQuantities(next.quantity, fromQuantity);
  if (isZeroQuantity(difference)) return { kind: 'settled', row };
  if (customer.submitFromMs !== undefined && next.atMs < customer.submitFromMs && row.planned === undefined) {
    return { kind: 'settled', row };
  }
  const value = leadingPart(difference);
  const toQuantity = addQuantities(fromQuantity, value);
  const sequence = (row.planned?.sequence ?? 0) + 1;
  const blocked = blockedReason(customer, next.atMs, context.nowMs);
  return {
    kind: 'submit',
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
      value,
      timestampMs: Math.floor(next.atMs / 1000) * 1000,
      ...(blocked !== undefined && { blocked }),
    },
  };
}

/** Why usage of a customer stamped at an instant cannot be sent, if it cannot. */
export function blockedReason(
  customer: BillingCustomer,
  timestampMs: number,
  nowMs: number,
): BlockedReason | undefined {
  if (timestampMs < nowMs - TIMESTAMP_AGE_MS_MAX + TIMESTAMP_MARGIN_MS) return 'timestamp_too_old';
  if (customer.stripeCustomerId === undefined) return 'customer_not_mapped';
  if (customer.submitFromMs !== undefined && timestampMs < customer.submitFromMs) return 'before_submit_from';
  return undefined;
}
