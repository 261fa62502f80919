import { type DestinationMeter, formulaFault, type SubmissionMode } from '../../meters/stripe-meter.ts';
import type { BillingCustomer } from '../../customers/calendar/billing-customer.ts';
import type { Meter } from '../../meters/meter.ts';
import type { BlockedReason } from '../submission.ts';
import { blockedReason } from '../planning/submission-plan.ts';

/** Where a submission goes. */
export interface Destination {
  readonly stripeCustomerId: string;
  readonly meter: DestinationMeter;
}

/**
 * Why a Stripe meter cannot be fed, if it cannot.
 * @param mode how the usage was planned; see meters/stripe-meter.
 */
export function meterFault(
  meter: DestinationMeter | undefined,
  mode: SubmissionMode = 'delta',
): BlockedReason | undefined {
  if (meter === undefined) return 'meter_missing';
  if (!meter.isActive) return 'meter_inactive';
  return formulaFault(meter, mode) === undefined ? undefined : 'meter_formula_refused';
}

/** The destination of a submission, or why there is none. */
export function resolveDestination(input: {
  customer: BillingCustomer;
  meter: Meter | undefined;
  stripeMeters: ReadonlyMap<string, DestinationMeter>;
  timestampMs: number;
  nowMs: number;
  /** How the submission was planned; absent: `delta`. */
  mode?: SubmissionMode | undefined;
}): { destination: Destination } | { blocked: BlockedReason } {
  const blocked = blockedReason(input.customer, input.timestampMs, input.nowMs);
  if (blocked !== undefined) return { blocked };
  if (input.meter?.stripe === undefined) return { blocked: 'meter_without_stripe' };
  const meter = input.stripeMeters.get(input.meter.stripe.eventName);
  const fault = meterFault(meter, input.mode);
  if (fault !== undefined) return { blocked: fault };
  const { stripeCustomerId } = input.customer;
  if (stripeCustomerId === undefined || meter === undefined) return { blocked: 'customer_not_mapped' };
  return { destination: { stripeCustomerId, meter } };
}
