import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/platform/clock.ts';
import { RateLimit, tokensOfBytes } from '../../src/platform/http/rate-limit.ts';

describe('a rate limit', () => {
  it('charges what is known so far, and corrects it as more becomes known', () => {
    const clock = new ManualClock(0);
    const limit = new RateLimit(100, clock);
    limit.admit('key').set(1_024);
    expect(() => limit.admit('key')).toThrow(/100 events a second/);
    expect(() => limit.admit('other')).not.toThrow();
    const later = new RateLimit(100, clock);
    const charge = later.admit('key');
    charge.set(1_024);
    charge.set(2);
    later.admit('key').set(97);
    expect(() => later.admit('key')).not.toThrow();
    later.admit('key').set(2);
    expect(() => later.admit('key')).toThrow();
  });

  it('takes back a charge, and never more than that', () => {
    const limit = new RateLimit(10, new ManualClock(0));
    const charge = limit.admit('key');
    charge.set(1_000);
    charge.set(0);
    charge.set(0);
    limit.admit('key').set(10);
    expect(() => limit.admit('key')).toThrow();
  });

  it('says when the key may come again', () => {
    const limit = new RateLimit(10, new ManualClock(0));
    limit.admit('key').set(45);
    try {
      limit.admit('key');
      expect.unreachable();
    } catch (error) {
      expect(error).toMatchObject({ context: { retryAfterSeconds: 4 } });
    }
  });

  it('counts a body by begun KiB, and no body as one', () => {
    expect([0, 1, 1_024, 1_025, 1_048_576].map(tokensOfBytes)).toEqual([1, 1, 1, 2, 1_024]);
  });
});
