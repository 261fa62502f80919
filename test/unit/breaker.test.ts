import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/platform/clock.ts';
import type { SendOutcome } from '../../src/submissions/submission.ts';
import { MINUTE_MS } from '../../src/platform/durations.ts';
import { Breaker } from '../../src/stripe/breaker.ts';

const FAILURE: SendOutcome = { kind: 'unanswered', reason: 'no_answer' };
const SUCCESS: SendOutcome = { kind: 'accepted' };

function answering(outcome: SendOutcome): () => Promise<SendOutcome> {
  return () => Promise.resolve(outcome);
}

async function opened(): Promise<{ breaker: Breaker; clock: ManualClock }> {
  const clock = new ManualClock(0);
  const breaker = new Breaker(clock);
  for (let calls = 0; calls < 20; calls += 1) await breaker.run(answering(FAILURE));
  expect(breaker.state).toBe('open');
  return { breaker, clock };
}

describe('the circuit breaker', () => {
  it('stays closed through bad luck, however long it lasts', async () => {
    const breaker = new Breaker(new ManualClock(0));
    for (let calls = 0; calls < 500; calls += 1) {
      await breaker.run(answering(calls % 10 < 7 ? FAILURE : SUCCESS));
      expect(breaker.admit()).toBe(0);
    }
  });

  it('declines without a call while it is open, and says for how long', async () => {
    const { breaker, clock } = await opened();
    expect(await breaker.run(() => Promise.reject(new Error('called')))).toEqual({
      kind: 'declined',
      reason: 'circuit_open',
    });
    const waitMs = breaker.admit();
    expect(waitMs).toBeGreaterThan(0);
    clock.advance(waitMs);
    expect(breaker.state).toBe('half-open');
  });

  it('tries one call at a time when it is half open, and closes when that is answered', async () => {
    const { breaker, clock } = await opened();
    clock.advance(breaker.admit());
    expect(breaker.admit()).toBe(0);
    expect(breaker.admit()).toBeGreaterThan(0);
    expect(await breaker.run(answering(SUCCESS))).toEqual(SUCCESS);
    expect(breaker.state).toBe('closed');
  });

  it('gives the turn to another when the one that was admitted never calls', async () => {
    const { breaker, clock } = await opened();
    clock.advance(breaker.admit());
    expect(breaker.admit()).toBe(0);
    clock.advance(MINUTE_MS);
    expect(breaker.admit()).toBe(0);
  });

  it('tries less and less often through an outage of two days: fewer than 250 times', async () => {
    const { breaker, clock } = await opened();
    let tries = 0;
    while (clock.now() < 48 * 60 * MINUTE_MS) {
      const waitMs = breaker.admit();
      clock.advance(waitMs);
      if (waitMs > 0) continue;
      tries += 1;
      await breaker.run(answering(FAILURE));
    }
    expect(tries).toBeGreaterThan(100);
    expect(tries).toBeLessThan(250);
    clock.advance(breaker.admit());
    await breaker.run(answering(SUCCESS));
    expect(breaker.admit()).toBe(0);
  });
});
