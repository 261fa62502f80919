import type { BillingCustomer } from './billing-customer.ts';
import type { Meter } from './meter.ts';
import type { BlockedReason } from './submission.ts';
import { blockedReason } from './submission-plan.ts';

/** A Stripe meter, as far as feeding it goes. */
export interface DestinationMeter {
  readonly id: string;
  readonly eventName: string;
  readonly formula: string;
  readonly eventTimeWindow: string | null;
  readonly isActive: boolean;
  readonly customerKey: string;
  readonly valueKey: string;
}

/** Where a submission goes. */
export interface Destination {
  readonly stripeCustomerId: string;
  readonly meter: DestinationMeter;
}

/** Why a Stripe meter cannot be fed, if it cannot. */
export function meterFault(meter: DestinationMeter | undefined): BlockedReason | undefined {
  if (meter === undefined) return 'meter_missing';
  if (!meter.isActive) return 'meter_inactive';
  // `count` counts meter events, not usage; a time window overwrites instead of adding.
  if (meter.formula !== 'sum' || meter.eventTimeWindow !== null) return 'meter_formula_refused';
  return undefined;
}

/** The destination of a submission, or why there is none. */
export function resolveDestination(input: {
  customer: BillingCustomer;
  meter: Meter | undefined;
  stripeMeters: ReadonlyMap<string, DestinationMeter>;
  timestampMs: number;
  nowMs: number;
}): { destination: Destination } | { blocked: BlockedReason } {
  const blocked = blockedReason(input.customer, input.timestampMs, input.nowMs);
  if (blocked !== undefined) return { blocked };
  if (input.meter?.stripe === undefined) return { blocked: 'meter_without_stripe' };
  const meter = input.stripeMeters.get(input.meter.stripe.eventName);
  const fault = meterFault(meter);
  if (fault !== undefined) return { blocked: fault };
  const { stripeCustomerId } = input.customer;
  if (stripeCustomerId === undefined || meter === undefined) return { blocked: 'customer_not_mapped' };
  return { destination: { stripeCustomerId, meter } };
}
