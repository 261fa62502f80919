import {
  type BillingCustomer,
  currentCalendar,
  formerWindowsOfHour,
} from '../../customers/calendar/billing-customer.ts';
import { lateIdentifier } from '../late-usage.ts';
import type { OutboxEntry } from '../outbox-entry.ts';
import type { Period } from '../../customers/calendar/period.ts';
import { compareQuantities } from '../../platform/quantity.ts';
import type { PlannableRow, RowPlan } from './submission-plan.ts';
import { epochHourOf, wholeHour, windowsOfHour } from '../../customers/calendar/window.ts';

/**
 * A changed calendar moves usage from one window to another: a window that is split, windows that are merged. The
 * differences that follow belong together. Where one of them comes too late to be billed, all of them become late usage,
 * else only half of the correction would reach an invoice. (Running figures need no such care: see
 * submissions/planning/stamped-figure.)
 */

/** Whether an earlier calendar of the customer cut a window's hour differently. */
export function isReshapedHour(customer: BillingCustomer, row: Pick<PlannableRow, 'startMs'>): boolean {
  return customer.calendars.length > 1 && formerWindowsOfHour(customer, epochHourOf(row.startMs)).length > 0;
}

/** Whether usage left some of these rows for others: differences to what was planned of both signs. */
export function movesUsage(rows: readonly PlannableRow[]): boolean {
  return rows.some(hasFallen) && rows.some(hasRisen);
}

/**
 * The part of an hour whose derivation under the present calendar may not be complete, if any: rows of two layouts, or
 * usage gone from a row while a window that could have taken it has none. It is complete if nothing of it waits to be
 * derived.
 * @param rows every row of the hour, of one meter.
 */
export function unsureOfHour(customer: BillingCustomer, rows: readonly PlannableRow[]): Period[] {
  const [first] = rows;
  if (first === undefined) return [];
  const hour = epochHourOf(first.startMs);
  const isOfOneLayout = rows.every(({ layout }) => layout === first.layout);
  const starts = new Set(rows.map(({ startMs }) => startMs));
  const hasAll = windowsOfHour(currentCalendar(customer), hour).every(({ fromMs }) => starts.has(fromMs));
  return isOfOneLayout && (hasAll || !rows.some(hasFallen)) ? [] : [wholeHour(hour)];
}

function hasRisen(row: PlannableRow): boolean {
  return compareQuantities(row.quantity, row.planned?.quantity ?? '0') > 0;
}

function hasFallen(row: PlannableRow): boolean {
  return compareQuantities(row.quantity, row.planned?.quantity ?? '0') < 0;
}

/** The plans of rows between which usage moved: all late where one of them is. */
export function asUnit(plans: readonly RowPlan[]): RowPlan[] {
  const late = plans.find((plan) => plan.kind === 'late');
  if (late === undefined) return [...plans];
  const unit = unitOf(plans.flatMap((plan) => (plan.kind === 'settled' ? [] : [plan.submission.identifier])));
  return plans.map((plan) => {
    if (plan.kind === 'settled') return plan;
    const { blocked: _blocked, ...submission } = plan.submission;
    return { ...plan, kind: 'late', submission, late: { ...(plan.kind === 'late' ? plan.late : late.late), unit } };
  });
}

/**
 * Submissions that carry the other side of one that became late, among those that were not sent either: of the same
 * meter and reshaped hour, and of the other sign.
 */
export function counterpartsOf(
  late: OutboxEntry,
  unsent: readonly OutboxEntry[],
  customer: BillingCustomer,
): OutboxEntry[] {
  if (late.row.subject !== 'window' || !isReshapedHour(customer, late.row)) return [];
  const hour = epochHourOf(late.row.startMs);
  const sign = compareQuantities(late.value, '0');
  return unsent.filter(
    ({ row, value }) =>
      row.subject === 'window' &&
      row.customerId === late.row.customerId &&
      row.meter === late.row.meter &&
      epochHourOf(row.startMs) === hour &&
      compareQuantities(value, '0') === -sign,
  );
}

/** The text that entries of one correction have in common: the same whoever finds them. */
export function unitOf(identifiers: readonly string[]): string {
  const [first = ''] = [...identifiers].sort();
  return lateIdentifier(first);
}
