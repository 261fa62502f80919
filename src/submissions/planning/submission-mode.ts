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
