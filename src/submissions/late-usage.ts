import { type BillingCustomer, currentCalendar } from '../customers/calendar/billing-customer.ts';
import type { FinalPeriod } from '../mirror/invoice.ts';
import type { LateUsagePolicy } from '../meters/meter.ts';
import { isWithin } from '../customers/calendar/period.ts';
import { TIMESTAMP_AGE_MS_MAX } from './submission.ts';
import { epochHourOf, windowsOfHour } from '../customers/calendar/window.ts';
import type { SubmissionMode } from '../meters/stripe-meter.ts';

/**
 * Why Stripe would not bill usage.
 *
 * - `invoice_final`: the invoice of its period is final; Stripe would take the usage and put it on no invoice (Stripe
 *   docs, Finalization grace period).
 * - `too_old`: Stripe takes no timestamp beyond 35 days.
 * - `accepted_after_finalization`: Stripe took it, but only after the invoice was final.
 * - `customer_mapped_elsewhere`: it came under a Stripe customer's own id while another customer is mapped to it, and a
 *   person decided what becomes of it.
 */
export type LateReason = 'invoice_final' | 'too_old' | 'accepted_after_finalization' | 'customer_mapped_elsewhere';

/** `waiting` for a decision; `submitted` with a stamp in the open period; `dismissed`: never to be billed. */
export type LateUsageState = 'waiting' | 'submitted' | 'dismissed';
export const LATE_USAGE_STATES: readonly LateUsageState[] = ['waiting', 'submitted', 'dismissed'];

/** What can be decided about late usage. */
export type LateUsageDecision = 'next_period' | 'dismiss';

/** The state that a decision leads to. */
export function stateAfterDecision(decision: LateUsageDecision): LateUsageState {
  return decision === 'next_period' ? 'submitted' : 'dismissed';
}

/** A period of one of our meters, of one customer, whose invoice is final. */
export interface FinalMeterPeriod extends Omit<FinalPeriod, 'stripeMeterId'> {
  /** The key of our meter. */
  readonly meter: string;
}

/** Why usage that was not sent yet cannot be billed any more. */
export interface Lateness {
  readonly reason: 'invoice_final' | 'too_old';
  /** The invoice that is final. */
  readonly invoiceId?: string;
}

/** What a late-usage entry records of how it came to be, besides the usage itself. */
export interface LateNote extends Omit<Lateness, 'reason'> {
  readonly reason: LateReason;
  readonly policy: LateUsagePolicy;
  /** Entries with the same text are decided together: a correction that moves usage from one to the other. */
  readonly unit?: string;
}

/** Stripe refuses timestamps beyond 35 days; this much earlier we no longer try. */
const TIMESTAMP_MARGIN_MS = 3_600_000;

/** Whether Stripe would refuse a timestamp as too old, now or before an attempt could be finished. */
export function isTooOld(timestampMs: number, nowMs: number): boolean {
  return timestampMs < nowMs - TIMESTAMP_AGE_MS_MAX + TIMESTAMP_MARGIN_MS;
}

/**
 * Whether usage with a timestamp comes too late to be billed, and why.
 *
 * Usage from before the customer's `submitFrom` is never late: nobody asked for it to be billed.
 * @param at `finals` are the final periods of the customer, of any meter.
 */
export function latenessOf(
  usage: { readonly meter: string; readonly timestampMs: number },
  at: { customer: BillingCustomer; finals: readonly FinalMeterPeriod[]; nowMs: number },
): Lateness | undefined {
  const { submitFromMs } = at.customer;
  if (submitFromMs !== undefined && usage.timestampMs < submitFromMs) return undefined;
  const final = finalPeriodOf(usage, at.finals);
  if (final !== undefined) return { reason: 'invoice_final', invoiceId: final.invoiceId };
  return isTooOld(usage.timestampMs, at.nowMs) ? { reason: 'too_old' } : undefined;
}

/** The final period that a timestamp of a meter lies in, if any. */
export function finalPeriodOf(
  usage: { readonly meter: string; readonly timestampMs: number },
  finals: readonly FinalMeterPeriod[],
): FinalMeterPeriod | undefined {
  return finals.find((final) => final.meter === usage.meter && isWithin(final, usage.timestampMs));
}

/** Between which instants Stripe counted a delivered submission: from a call of ours to an answer, or the last call. */
export interface CountedBetween {
  readonly fromMs: number;
  readonly toMs: number;
}

/**
 * Whether a delivered submission was counted after its invoice was final. `perhaps`: nobody can tell.
 * @param finalizedAtMs as Stripe states it, in whole seconds: some time within that second.
 */
export function isCountedAfter(counted: CountedBetween, finalizedAtMs: number): 'yes' | 'no' | 'perhaps' {
  if (counted.toMs <= finalizedAtMs) return 'no';
  return counted.fromMs >= finalizedAtMs + 1000 ? 'yes' : 'perhaps';
}

/**
 * How late usage can be billed with the open period: its timestamp is the start of the present window, which lies in the
 * customer's open period and not in the future (whole seconds, UTC milliseconds); or why it cannot.
 * @param usage `mode` is that of its submission: a running total cannot be added to that of another period.
 */
export function billingWithOpenPeriod(
  usage: { readonly meter: string; readonly mode?: SubmissionMode },
  at: { customer: BillingCustomer; finals: readonly FinalMeterPeriod[]; nowMs: number },
): { readonly timestampMs: number } | { readonly refused: 'period_total' | 'no_open_period' } {
  const { customer, nowMs } = at;
  if (usage.mode === 'period_total') return { refused: 'period_total' };
  const windows = windowsOfHour(currentCalendar(customer), epochHourOf(nowMs));
  const present = windows.find((window) => isWithin(window, nowMs));
  const timestampMs = Math.floor((present?.fromMs ?? nowMs) / 1000) * 1000;
  const isBillable =
    customer.stripeCustomerId !== undefined &&
    (customer.submitFromMs === undefined || timestampMs >= customer.submitFromMs) &&
    finalPeriodOf({ meter: usage.meter, timestampMs }, at.finals) === undefined;
  return isBillable ? { timestampMs } : { refused: 'no_open_period' };
}

/** How the ids of late usage end. */
export const LATE_IDENTIFIER = /~late\d*$/;

/**
 * The id of the late-usage entry that stands for a submission's value, and of the submission that it may become. One
 * for a submission and all its replacements, so that the same usage is on the list once, whichever way it came there.
 */
export function lateIdentifier(identifier: string): string {
  const [, original = identifier] = /^(.*?)(?:~\d+)?$/.exec(identifier) ?? [];
  const [, earlier, number] = /^(.*)~late(\d*)$/.exec(original) ?? [];
  if (earlier === undefined) return `${original}~late`;
  return `${earlier}~late${Number(number === '' ? '1' : number) + 1}`;
}

/** Whether an id is that of a late-usage entry, or of the submission that one became. */
export function isLateIdentifier(id: string): boolean {
  return LATE_IDENTIFIER.test(id);
}
