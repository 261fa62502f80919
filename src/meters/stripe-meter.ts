import { isAdditive, type Meter } from './meter.ts';

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

/**
 * How Stripe reads the value: added to what it has (`delta`, a meter with the formula `sum`), or as the running figure of
 * the billing period that takes the place of the one before (`period_total`, the formula `last`).
 */
export type SubmissionMode = 'delta' | 'period_total';

/**
 * How a Stripe meter takes a meter's usage. A formula `last` that is fed with a running figure (`max`, `last`, `unique`)
 * takes the figure itself; everything else is sent as differences, and refused where the formula does not add them up.
 * @param stripeMeter undefined while Stripe has none of that event name.
 */
export function modeOf(
  meter: Pick<Meter, 'aggregation'>,
  stripeMeter: Pick<DestinationMeter, 'formula' | 'eventTimeWindow'> | undefined,
): SubmissionMode {
  const keepsLast = stripeMeter?.formula === 'last' && stripeMeter.eventTimeWindow === null;
  return keepsLast && !isAdditive(meter.aggregation) ? 'period_total' : 'delta';
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
