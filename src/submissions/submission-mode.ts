import type { DestinationMeter } from './destination.ts';
import { isAdditive, type Meter } from '../meters/meter.ts';
import type { SubmissionMode } from './submission.ts';

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
 * The stamp of a running figure: that of the window that brought it, but at least a second after the one sent before,
 * since Stripe keeps the figure with the latest stamp.
 * @param at `earlierMs`: the stamp of the figure before; `endMs`: where the period ends.
 * @returns undefined while there is no such second: it would lie in the future or beyond the period.
 */
export function runningStampMs(
  windowFromMs: number,
  at: { earlierMs: number | undefined; endMs: number; nowMs: number },
): number | undefined {
  const wholeMs = Math.floor(windowFromMs / 1000) * 1000;
  const stampMs = Math.max(wholeMs, at.earlierMs === undefined ? wholeMs : at.earlierMs + 1000);
  return stampMs < at.endMs && stampMs <= at.nowMs ? stampMs : undefined;
}
