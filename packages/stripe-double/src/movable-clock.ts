import type { Clock } from './clock.ts';

interface MovableClock extends Clock {
  advance(deltaMs: number): void;
}

export function isMovable(clock: Clock): clock is MovableClock {
  return 'advance' in clock && typeof clock.advance === 'function';
}

/** Moves a clock forward; to an instant that is past it does nothing. @throws RangeError for a clock that runs itself. */
export function moveClock(clock: Clock, toMs: number): void {
  const ahead = toMs - clock.now();
  if (ahead <= 0) return;
  if (!isMovable(clock)) throw new RangeError('the clock runs by itself and cannot be moved');
  clock.advance(ahead);
}
