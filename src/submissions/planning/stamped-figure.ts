import { type BillingCustomer, currentCalendar } from '../../customers/calendar/billing-customer.ts';
import { type Period, periodContaining } from '../../customers/calendar/period.ts';
import { addQuantities, type Quantity } from '../../platform/quantity.ts';
import type { PlannableRow } from './submission-plan.ts';
import type { SubmissionMode } from '../../meters/stripe-meter.ts';

/**
 * A running figure follows a changed calendar by what is stamped: what was planned of a period is what the submissions
 * with stamps inside it come to, whichever period they were made for. So each period of the new calendar gets the one
 * difference to its own figure, inside itself, and nothing is taken back from where it still belongs.
 */

/** A submission of a running figure, as far as its stamp and figure go. A successor is its original once more: left out. */
export interface StampedEntry {
  readonly identifier: string;
  /** What it adds, or the figure itself in the mode `period_total`. */
  readonly value: Quantity;
  readonly timestampMs: number;
  readonly mode: SubmissionMode;
}

/** Whether a row is one of the customer's billing periods as they are now. */
export function isPresentPeriod(customer: BillingCustomer, row: Pick<PlannableRow, 'startMs' | 'endMs'>): boolean {
  const { fromMs, toMs } = periodContaining(currentCalendar(customer).calendar, row.startMs);
  return fromMs === row.startMs && toMs === row.endMs;
}

/** The starts of the customer's billing periods, as they are now, that overlap a range. */
export function presentPeriodsOver(customer: BillingCustomer, range: Period): number[] {
  const { calendar } = currentCalendar(customer);
  const starts: number[] = [];
  for (let { fromMs } = periodContaining(calendar, range.fromMs); fromMs < range.toMs;) {
    starts.push(fromMs);
    fromMs = periodContaining(calendar, fromMs).toMs;
  }
  return starts;
}

/**
 * The row with what was planned of it counted from stamps.
 * @param entries the submissions stamped inside the row's period, of any period of its customer and meter.
 */
export function countStamps(row: PlannableRow, entries: readonly StampedEntry[], mode: SubmissionMode): PlannableRow {
  const { planned, ...others } = row;
  const rest = { ...others, isCounted: true as const, ...(planned && { lastStampMs: planned.atMs }) };
  const alike = entries.filter((entry) => entry.mode === mode).sort((a, b) => a.timestampMs - b.timestampMs);
  const latest = alike.at(-1);
  if (latest === undefined) {
    return { ...rest, ...(planned && { planned: { ...planned, quantity: '0', atMs: row.startMs } }) };
  }
  const quantity = mode === 'period_total' ? latest.value : addQuantities(...alike.map(({ value }) => value));
  // In the mode `period_total` no newer figure is sent while an older one is unanswered, whichever row it is of.
  const identifier = mode === 'period_total' ? latest.identifier : (planned?.identifier ?? '');
  const counted = { sequence: planned?.sequence ?? 0, quantity, identifier, atMs: latest.timestampMs };
  return { ...rest, planned: { ...counted, ...(mode === 'period_total' && { mode }) } };
}
