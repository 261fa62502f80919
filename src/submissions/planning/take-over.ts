import type { BillingCustomer } from '../../customers/calendar/billing-customer.ts';
import { equalQuantities } from '../../platform/quantity.ts';
import { presentPeriodsOver } from './stamped-figure.ts';
import { identifierFor } from '../submission.ts';
import type { PlannableRow, TakeOver } from './submission-plan.ts';

/**
 * How a period is taken over that was there before its customer's calendar changed; undefined where there is nothing to
 * take over. One that was given up ends at 0; another goes on from what is stamped in it.
 * @param row counted from stamps, unless it was given up.
 */
export function planTakeOver(
  row: PlannableRow,
  context: { customer: BillingCustomer; installation: string },
): TakeOver | undefined {
  const { subject, customerId, meter, startMs, planned, isFormer } = row;
  if (isFormer !== true && (row.isRelaid !== true || row.isCounted !== true)) return undefined;
  const sequence = (planned?.sequence ?? 0) + 1;
  const toQuantity = isFormer === true ? '0' : (planned?.quantity ?? '0');
  return {
    kind: 'take-over',
    row,
    complete: equalQuantities(toQuantity, row.quantity),
    stampedIn: countedAgain(row, context.customer),
    submission: {
      identifier: identifierFor({ ...row, installation: context.installation, sequence }),
      subject,
      customerId,
      meter,
      startMs,
      sequence,
      fromQuantity: planned?.quantity ?? '0',
      toQuantity,
      value: '0',
      timestampMs: Math.floor((planned?.atMs ?? startMs) / 1000) * 1000,
    },
  };
}

function countedAgain({ isFormer, startMs, endMs, lastStampMs }: PlannableRow, customer: BillingCustomer): number[] {
  if (isFormer === true) return presentPeriodsOver(customer, { fromMs: startMs, toMs: endMs });
  // Its last submission may be of when it ended later.
  if (lastStampMs === undefined || lastStampMs < endMs) return [];
  return presentPeriodsOver(customer, { fromMs: lastStampMs, toMs: lastStampMs + 1 });
}

/** The row as its steps begin once it is taken over; undefined where none follow. */
export function rowTakenOver(row: PlannableRow, { complete, submission }: TakeOver): PlannableRow | undefined {
  if (complete) return undefined;
  const { sequence, identifier, toQuantity: quantity, timestampMs } = submission;
  const planned = { sequence, quantity, identifier: row.planned?.identifier ?? identifier, atMs: timestampMs };
  return { ...row, planned };
}
