import { compareTexts } from '../aggregation/audited-figure.ts';
import type { ShownCancellation } from '../submissions/resolving/cancellation.ts';
import { groupBy } from '../platform/grouping.ts';
import { isWithin, type Period } from '../customers/calendar/period.ts';
import type { UnbilledUnknown } from '../reconciliation/unbilled-usage.ts';
import { addQuantities, equalQuantities, type Quantity, subtractQuantities } from '../platform/quantity.ts';
import { DELIVERED_STATES, type SubmissionState, type SubmissionSubject } from '../submissions/submission.ts';
import type { SubmissionMode } from '../meters/stripe-meter.ts';
import type { UnbilledPart } from '../customers/unbilled-reason.ts';

/** One meter event of ours, and what Stripe has said to it. */
export interface ExplainedSubmission {
  readonly identifier: string;
  readonly subject: SubmissionSubject;
  /** Start of the window or billing period that it reports. */
  readonly subjectStart: string;
  readonly sequence: number;
  /** The stamp it is billed under. */
  readonly timestamp: string;
  readonly mode: SubmissionMode;
  readonly value: Quantity;
  readonly toQuantity: Quantity;
  readonly state: SubmissionState;
  readonly reason?: string;
  readonly message?: string;
  readonly attempts: number;
  readonly firstAttemptAt?: string;
  readonly lastAttemptAt?: string;
  readonly acceptedAt?: string;
  readonly stripeCustomerId?: string;
  readonly stripeMeterId?: string;
  readonly replacedBy?: string;
  readonly replaces?: string;
  /** It was replaced and counted all the same: what came of cancelling it at Stripe. */
  readonly cancellation?: ShownCancellation;
  /** The same, where it can no longer be cancelled: the identifier of the negative delta that takes it back. */
  readonly offsetBy?: string;
}

/** Usage that Stripe would not bill with its own period. */
export interface ExplainedLateUsage {
  readonly id: string;
  readonly subject: SubmissionSubject;
  readonly subjectStart: string;
  readonly timestamp: string;
  readonly quantity: Quantity;
  readonly reason: string;
  readonly state: string;
}

/** What a figure comes to at every level. */
export interface Totals {
  /** What Stripe took in time for its invoice. Whether anything bills it is another matter: see `ExplainedBilling`. */
  readonly sent: Quantity;
  readonly submitted: Quantity;
  readonly windows: Quantity;
  readonly raw: Quantity;
}

/** What an invoice at Stripe bills of the meter, as it was last mirrored. */
export interface ExplainedInvoice {
  readonly invoiceId: string;
  /** Of a `draft` the quantity is not final: Stripe computes it anew when it finalises. */
  readonly status: string;
  readonly from: string;
  readonly to: string;
  readonly quantity?: Quantity;
}

/** What became of the usage at Stripe. */
export interface ExplainedBilling {
  readonly invoices: readonly ExplainedInvoice[];
  /** Usage of the range that nothing bills, as of the last look. */
  readonly unbilled: readonly UnbilledPart[];
  /** Why nothing can be said of that. */
  readonly unbilledUnknown?: UnbilledUnknown;
}

/** What lies between two levels; all zero when everything was sent. */
export interface Between {
  /** Of what was submitted: on its way, or in doubt. */
  readonly inFlight: Quantity;
  readonly blocked: Quantity;
  readonly rejected: Quantity;
  /** Of what Stripe took: too late for its invoice. */
  readonly notInvoiced: Quantity;
  /** Of what was submitted: late usage of earlier periods that is billed here. */
  readonly carriedIn: Quantity;
  /** Of the windows: late usage, whatever was decided about it. */
  readonly late: Quantity;
  /** Of the windows: not submitted yet. */
  readonly notPlanned: Quantity;
  /** Of the windows: more or less than all of the above. Not zero: something is wrong. */
  readonly unexplained: Quantity;
  /** Of the raw facts: not in the windows yet. */
  readonly notDerived: Quantity;
}

/** A stored window or running figure that is submitted by itself. */
export interface PlannedRow {
  readonly quantity: Quantity;
  /** What its submissions, and late usage in their place, add up to. */
  readonly planned: Quantity;
}

/**
 * Holds the levels of a figure against each other:
 *
 *     sent      + inFlight + blocked + rejected + notInvoiced           = submitted
 *     submitted − carriedIn + late + notPlanned + unexplained           = windows
 *     windows   + notDerived                                            = raw
 *
 * Healing submissions stand for values that Stripe lost or has too much, so they are not usage once more; a replaced
 * submission counts in its successor. What was submitted of a running figure is what is stamped in its billing period,
 * also where it was made for a period of an earlier calendar.
 * @param of.range what is explained: rows that begin in it, and late usage that is billed in it.
 */
export function holdAgainst(of: {
  readonly range: Period;
  readonly rows: readonly PlannedRow[];
  readonly submissions: readonly ExplainedSubmission[];
  readonly late: readonly ExplainedLateUsage[];
  readonly raw: Quantity;
}): { totals: Totals; between: Between; equal: boolean } {
  const isIn = (text: string): boolean => isWithin(of.range, Date.parse(text));
  const live = of.submissions.filter(({ state }) => state !== 'replaced');
  const isOwn = ({ subject, subjectStart, timestamp }: ExplainedSubmission | ExplainedLateUsage): boolean =>
    (subject === 'window' && isIn(subjectStart)) || (subject === 'period' && isIn(timestamp));
  const own = live.filter(isOwn);
  const carried = live.filter(({ subject, timestamp }) => subject === 'late' && isIn(timestamp));
  const byState = [...byStateOf(own), ...byStateOf(carried)];
  const sum = (isMeant: (state: SubmissionState) => boolean): Quantity =>
    addQuantities('0', ...byState.filter(([state]) => isMeant(state)).map(([, value]) => value));
  const delivered = sum((state) => DELIVERED_STATES.includes(state));
  const blocked = sum((state) => state === 'blocked');
  const rejected = sum((state) => state === 'rejected');
  const submitted = sum(() => true);
  const entries = of.late.filter(isOwn);
  const lateSum = (isTaken: boolean): Quantity =>
    addQuantities(
      '0',
      ...entries
        .filter(({ reason }) => (reason === 'accepted_after_finalization') === isTaken)
        .map(({ quantity }) => quantity),
    );
  const windows = addQuantities('0', ...of.rows.map(({ quantity }) => quantity));
  const late = lateSum(false);
  const notInvoiced = lateSum(true);
  const carriedIn = addQuantities('0', ...byStateOf(carried).map(([, value]) => value));
  const notPlanned = subtractQuantities(windows, addQuantities('0', ...of.rows.map(({ planned }) => planned)));
  const expected = subtractQuantities(addQuantities(submitted, late, notPlanned), carriedIn);
  const totals = { sent: subtractQuantities(delivered, notInvoiced), submitted, windows, raw: of.raw };
  const between = {
    inFlight: subtractQuantities(submitted, addQuantities(delivered, blocked, rejected)),
    blocked,
    rejected,
    notInvoiced,
    carriedIn,
    late,
    notPlanned,
    unexplained: subtractQuantities(windows, expected),
    notDerived: subtractQuantities(of.raw, windows),
  };
  return { totals, between, equal: Object.values(totals).every((total) => equalQuantities(total, of.raw)) };
}

/**
 * What submissions add to the figures of their rows, by state. Differences add up by themselves. A running figure adds
 * what it is more than the one before, and takes the place of those before it: once delivered, they are in it.
 */
function byStateOf(submissions: readonly ExplainedSubmission[]): [SubmissionState, Quantity][] {
  return [...groupBy(submissions, ({ subjectStart }) => subjectStart).values()].flatMap((ofRow) => {
    const inOrder = [...ofRow].sort(bySequence);
    const isDelivered = ({ mode, state }: ExplainedSubmission): boolean =>
      mode === 'period_total' && DELIVERED_STATES.includes(state);
    const lastDelivered = inOrder.findLastIndex(isDelivered);
    let before = '0';
    return inOrder.map(({ mode, state, value, toQuantity }, index): [SubmissionState, Quantity] => {
      if (mode === 'delta') return [state, value];
      const added = subtractQuantities(toQuantity, before);
      before = toQuantity;
      return [index < lastDelivered ? 'accepted' : state, added];
    });
  });
}

/** By the row that is reported, then in the order of reporting. */
export function bySequence(a: ExplainedSubmission, b: ExplainedSubmission): number {
  return (
    compareTexts(a.subjectStart, b.subjectStart) || a.sequence - b.sequence || compareTexts(a.identifier, b.identifier)
  );
}
