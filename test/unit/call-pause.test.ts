import { describe, expect, it } from 'vitest';
import { CallPause } from '../../src/submissions/sending/call-pause.ts';

const HALF = 0.5;

/** Declines each first call after a pause, so many times; returns how long the pauses were. */
function declineInTurn(pause: CallPause, times: number): number[] {
  let nowMs = 1_000;
  return Array.from({ length: times }, () => {
    pause.decline(nowMs, HALF);
    const leftMs = pause.leftMs(nowMs);
    nowMs += leftMs;
    return leftMs;
  });
}

describe('the pause after a declined call', () => {
  it('doubles while the limit stands, up to a bound', () => {
    const pauses = declineInTurn(new CallPause(), 10);
    expect(pauses.slice(0, 4)).toEqual([50, 100, 200, 400]);
    expect(pauses.slice(-2)).toEqual([8_000, 8_000]);
  });

  it('is not made longer by calls that were under way when it began', () => {
    const pause = new CallPause();
    for (let call = 0; call < 48; call += 1) pause.decline(0, HALF);
    expect(pause.leftMs(0)).toBe(50);
    expect(declineInTurn(pause, 1)).toEqual([100]);
  });

  it('shrinks with each call that is taken', () => {
    const pause = new CallPause();
    declineInTurn(pause, 5);
    for (let call = 0; call < 10; call += 1) pause.take();
    pause.decline(1e9, HALF);
    expect(pause.leftMs(1e9)).toBe(50);
  });
});
