import { createHash } from 'node:crypto';
import { HOUR_MS } from '../platform/durations.ts';
import type { Cancellation } from './resolving/cancellation.ts';
import { addQuantities, type Quantity, subtractQuantities } from '../platform/quantity.ts';
import { ATTEMPT_SPAN_MS_MAX, DELIVERED_STATES, type SubmissionState, type SubmissionSubject } from './submission.ts';

/** A submission as reconciliation looks at it. */
export interface LedgerEntry {
  readonly identifier: string;
  readonly state: SubmissionState;
  readonly subject: SubmissionSubject;
  readonly value: Quantity;
  readonly timestampMs: number;
  readonly attempts: number;
  readonly firstAttemptAtMs?: number;
  readonly lastAttemptAtMs?: number;
  readonly cancellation?: Cancellation;
  /** A negative delta has taken its value back. */
  readonly isOffset: boolean;
  /** It is late usage instead of being sent. */
  readonly isLate: boolean;
}

/** Our side of one hour, or of the part of it that lies in the compared range. */
export interface HourLedger {
  readonly entries: readonly LedgerEntry[];
  /**
   * What Stripe has taken, as far as we know. Heals make up for what it lost or has too much, so they do not count; one
   * that came too late to be sent does, the other way: what it was to bring stays away, and is listed as late.
   */
  readonly delivered: Quantity;
  /** Equal texts mean that nothing was added, attempted, decided or cancelled. */
  readonly fingerprint: string;
  /** Something is on its way, which may be all that differs. */
  readonly isUnanswered: boolean;
  /** The last attempt to send or to cancel; 0 when there was none. */
  readonly lastAttemptAtMs: number;
}

/** Whether a submission heals: then its value does not count as delivered once more. */
export function isHeal(entry: Pick<LedgerEntry, 'subject'>): boolean {
  return entry.subject === 'heal';
}

/** Whether Stripe has taken it, as far as we know. */
export function isDelivered(entry: Pick<LedgerEntry, 'state'>): boolean {
  return DELIVERED_STATES.includes(entry.state);
}

/** Entries by the hour of their timestamp: by the hour's start, or by the start of the range where that is later. */
export function foldByHour(
  entries: readonly LedgerEntry[],
  range: { readonly fromMs: number; readonly nowMs: number },
): Map<number, HourLedger> {
  const hours = new Map<number, LedgerEntry[]>();
  for (const entry of entries) {
    const hourMs = Math.max(Math.floor(entry.timestampMs / HOUR_MS) * HOUR_MS, range.fromMs);
    const hour = hours.get(hourMs);
    if (hour === undefined) hours.set(hourMs, [entry]);
    else hour.push(entry);
  }
  return new Map([...hours].map(([hourMs, found]) => [hourMs, foldHour(found, range.nowMs)]));
}

/** The ledger of the entries of one hour. */
export function foldHour(entries: readonly LedgerEntry[], nowMs: number): HourLedger {
  const delivered = entries.filter((entry) => isDelivered(entry) && !isHeal(entry));
  const tooLate = entries.filter((entry) => isHeal(entry) && entry.isLate);
  const sumOf = (some: readonly LedgerEntry[]): Quantity => addQuantities('0', ...some.map(({ value }) => value));
  return {
    entries,
    delivered: subtractQuantities(sumOf(delivered), sumOf(tooLate)),
    fingerprint: fingerprintOf(entries),
    isUnanswered: entries.some((entry) => isOnItsWay(entry, nowMs)),
    lastAttemptAtMs: Math.max(0, ...entries.map(lastAttemptOf)),
  };
}

/** A short text that changes whenever an entry does in a way that Stripe's total could show. */
export function fingerprintOf(entries: readonly LedgerEntry[]): string {
  const lines = entries.map((entry) => {
    const { identifier, attempts, cancellation, isOffset } = entry;
    // That a match was seen to contain a submission changes nothing about it.
    const state = isDelivered(entry) ? 'delivered' : entry.state;
    return [identifier, state, attempts, cancellation?.state, cancellation?.attempts, isOffset].join(' ');
  });
  return createHash('sha256').update(lines.sort().join('\n')).digest('base64url').slice(0, 22);
}

/** The last attempt to send or to cancel, UTC milliseconds; 0 when there was none. */
export function lastAttemptOf({ lastAttemptAtMs, cancellation }: LedgerEntry): number {
  return Math.max(lastAttemptAtMs ?? 0, cancellation?.atMs ?? 0);
}

/**
 * Whether an entry may still change what Stripe holds. A heal also while it is blocked or rejected: it is sent once the
 * cause is mended, and the same drift must not be made up for twice. Past its last possible attempt a doubt is no longer
 * on its way: it waits to be decided.
 */
function isOnItsWay(entry: LedgerEntry, nowMs: number): boolean {
  const { state, firstAttemptAtMs, cancellation } = entry;
  if (cancellation?.state === 'calling') return true;
  if (state === 'planned' || state === 'sending') return true;
  if (state === 'in_doubt') return firstAttemptAtMs === undefined || nowMs - firstAttemptAtMs < ATTEMPT_SPAN_MS_MAX;
  return isHeal(entry) && (state === 'blocked' || state === 'rejected');
}
