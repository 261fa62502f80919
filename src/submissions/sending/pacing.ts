import { createHash } from 'node:crypto';
import { MINUTE_MS } from '../../platform/durations.ts';

/** Over how long the meter events of one hour are spread at most. */
export const SPREAD_MS_MAX = 10 * MINUTE_MS;

/**
 * Over how long meter events that become due together are spread: the time that the account's rate needs for them. No
 * spread where windows need not settle, which is how tests and demonstrations run.
 */
export function spreadSpanMs(due: { count: number; callsPerSecondMax: number; windowSettleMs: number }): number {
  if (due.windowSettleMs === 0) return 0;
  return Math.min(SPREAD_MS_MAX, Math.ceil((due.count / due.callsPerSecondMax) * 1_000));
}

/**
 * When a meter event is due: its window has ended and settled, and after that in its own place within the span, the same
 * for each hour of a customer's meter. What is older is due now.
 * @param usage `endMs`: where its window ends, UTC milliseconds.
 */
export function dueAtMsOf(
  usage: { readonly customerId: string; readonly meter: string; readonly endMs: number },
  pace: { readonly nowMs: number; readonly windowSettleMs: number; readonly spanMs: number },
): number {
  if (pace.spanMs === 0) return pace.nowMs;
  const offsetMs = Math.floor(placeOf(usage) * pace.spanMs);
  return Math.max(pace.nowMs, usage.endMs + pace.windowSettleMs + offsetMs);
}

/** In [0, 1), evenly spread over customers and meters. */
function placeOf({ customerId, meter }: { customerId: string; meter: string }): number {
  return createHash('sha256').update(`${customerId}\u001f${meter}`).digest().readUInt32BE(0) / 2 ** 32;
}
