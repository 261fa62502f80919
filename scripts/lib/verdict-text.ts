/**
 * A verdict as it is shown: one that rests on an earlier read says since when, in UTC, with the day where that is not the
 * run's: `match (as of 08:44)`.
 * @param run.readAt when Stripe's figure was read, RFC 3339; undefined where it was not.
 * @param run.startedAtMs when the run began, UTC milliseconds.
 */
export function describeVerdict(verdict: string, run: { readAt: string | undefined; startedAtMs: number }): string {
  const { readAt, startedAtMs } = run;
  if (readAt === undefined || Date.parse(readAt) >= startedAtMs) return verdict;
  return `${verdict} (as of ${timeBeside(readAt, startedAtMs)})`;
}

/** `09:00` in UTC, with its day unless that is the day of `besideMs`. */
export function timeBeside(instant: string, besideMs: number): string {
  const day = instant.slice(0, 10);
  const time = instant.slice(11, 16);
  return day === new Date(besideMs).toISOString().slice(0, 10) ? time : `${day} ${time}`;
}
