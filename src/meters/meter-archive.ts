import { HOUR_MS, MINUTE_MS } from '../platform/durations.ts';
import { DaemonError } from '../platform/errors.ts';
import { parseTimestamp } from '../platform/instant.ts';

/** More than a sender's clock may be ahead. */
const ARCHIVE_LEAD_MS = 10 * MINUTE_MS;

/**
 * The earliest instant from which a meter can be archived: a whole hour, so far ahead that nothing of it has been counted,
 * also by a sender whose clock is ahead.
 */
export function earliestArchiveMs(nowMs: number): number {
  return Math.ceil((nowMs + ARCHIVE_LEAD_MS) / HOUR_MS) * HOUR_MS;
}

/**
 * From when on a meter is archived after a change.
 * @param given RFC 3339; null ends it, undefined changes nothing.
 * @throws DaemonError `meter_invalid`.
 */
export function archivedAfter(
  before: Date | undefined,
  given: string | null | undefined,
  nowMs: number,
): Date | undefined {
  if (given === undefined) return before;
  if (given === null) return undefined;
  const instantMs = parseTimestamp(given);
  if (instantMs !== undefined && instantMs === before?.getTime()) return before;
  const earliestMs = earliestArchiveMs(nowMs);
  const isPast = before !== undefined && before.getTime() < earliestMs;
  if (isPast) throw invalid('It is archived already. archivedFrom: null lets it count again.', '/archivedFrom');
  if (instantMs === undefined || instantMs % HOUR_MS !== 0 || instantMs < earliestMs) {
    const from = new Date(earliestMs).toISOString();
    throw invalid(`archivedFrom must be a whole UTC hour, ${from} or later: what was counted stays.`, '/archivedFrom');
  }
  return new Date(instantMs);
}

/** Whether it counts again from where it was archived, or for longer. */
export function isResumed(before: Date | undefined, archivedFrom: Date | undefined): boolean {
  return before !== undefined && (archivedFrom === undefined || archivedFrom > before);
}

/** The earlier of two instants, of which either may be missing. */
export function earlierOf(a: Date | undefined, b: Date | undefined): Date | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return a < b ? a : b;
}

function invalid(message: string, pointer: string): DaemonError {
  return new DaemonError({ kind: 'invalid', code: 'meter_invalid', message, context: { pointer } });
}
