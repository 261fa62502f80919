import { fingerprintOf, isDelivered, lastAttemptOf, type LedgerEntry } from '../ledger-entry.ts';
import type { Quantity } from '../../platform/quantity.ts';
import { IN_FLIGHT_STATES, replacementNumber, type SubmissionState } from '../submission.ts';
import type { SubmittedFigures } from '../submitted-figures.ts';

/**
 * What the submissions of a range come to on a meter that shows the latest value: the one delivered last by timestamp,
 * and of what is on its way only what would take its place.
 */
export function runningFigures(entries: readonly LedgerEntry[]): SubmittedFigures {
  const delivered = latestOf(entries.filter(isDelivered));
  const later = (states: readonly SubmissionState[]): Quantity => {
    const latest = latestOf(entries.filter(({ state }) => states.includes(state)));
    return latest !== undefined && latest.timestampMs > (delivered?.timestampMs ?? 0) ? latest.value : '0';
  };
  const lastAttemptAtMs = Math.max(0, ...entries.map(lastAttemptOf));
  return {
    delivered: delivered?.value ?? '0',
    inFlight: later(IN_FLIGHT_STATES),
    blocked: later(['blocked']),
    rejected: later(['rejected']),
    fingerprint: fingerprintOf(entries),
    ...(lastAttemptAtMs > 0 && { lastAttemptAtMs }),
  };
}

/** The entry with the latest timestamp; of several the one replaced last. */
export function latestOf(entries: readonly LedgerEntry[]): LedgerEntry | undefined {
  return [...entries].sort(byStamp).at(-1);
}

function byStamp(a: LedgerEntry, b: LedgerEntry): number {
  return a.timestampMs - b.timestampMs || replacementNumber(a.identifier) - replacementNumber(b.identifier);
}
