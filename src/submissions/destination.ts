import type { BillingCustomer } from '../customers/billing-customer.ts';
import type { Meter } from '../meters/meter.ts';
import type { BlockedReason, SubmissionMode } from './submission.ts';
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

/**
 * Why a Stripe meter cannot be fed, if it cannot.
 * @param mode how the usage was planned; see domain/submission-mode.
 */
export function meterFault(
  meter: DestinationMeter | undefined,
  mode: SubmissionMode = 'delta',
): BlockedReason | undefined {
  if (meter === undefined) return 'meter_missing';
  if (!meter.isActive) return 'meter_inactive';
  return formulaFault(meter, mode) === undefined ? undefined : 'meter_formula_refused';
}

/**
 * What a Stripe meter has that keeps it from being fed in a mode, by name; it cannot be changed. A formula `count` counts
 * meter events, not usage; `last` keeps one figure; a time window overwrites instead of adding.
 */
export function formulaFault(
  { formula, eventTimeWindow }: Pick<DestinationMeter, 'formula' | 'eventTimeWindow'>,
  mode: SubmissionMode,
): string | undefined {
  if (eventTimeWindow !== null) return `the event_time_window ${eventTimeWindow}`;
  const needed = mode === 'delta' ? 'sum' : 'last';
  return formula === needed ? undefined : `the formula ${formula} and needs ${needed}`;
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
