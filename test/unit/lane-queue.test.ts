import { describe, expect, it } from 'vitest';
import { LaneQueue, type QueuedEntry } from '../../src/submissions/sending/lane-queue.ts';
import type { OutboxEntry } from '../../src/submissions/outbox-entry.ts';
import { dueAtMsOf, spreadSpanMs, SPREAD_MS_MAX } from '../../src/submissions/sending/pacing.ts';
import { MINUTE_MS } from '../../src/platform/durations.ts';

function queued(lane: string, timestampMs: number): QueuedEntry<string> {
  const entry = { identifier: `${lane}${timestampMs}`, timestampMs } as OutboxEntry;
  return { lane, entry, target: lane };
}

describe('LaneQueue', () => {
  it('lets lanes take turns, each oldest first, one at a time', () => {
    const queue = new LaneQueue<string>();
    queue.add([queued('a', 2), queued('a', 1), queued('a', 3), queued('b', 9)]);
    const given: string[] = [];
    for (let next = queue.next(); next !== undefined; next = queue.next()) {
      given.push(next.entry.identifier);
      if (given.length > 1) queue.finish(next);
    }
    // The lane of the first is still busy.
    expect(given).toEqual(['a1', 'b9']);
    expect(queue.size).toBe(2);
  });

  it('takes none twice until it is done', () => {
    const queue = new LaneQueue<string>();
    expect(queue.add([queued('a', 1), queued('a', 1)])).toBe(1);
    const first = queue.next();
    expect(queue.add([queued('a', 1)])).toBe(0);
    if (first === undefined) throw new Error('nothing was given out');
    queue.finish(first, true);
    expect(queue.next()).toBe(first);
    queue.finish(first);
    expect(queue.add([queued('a', 1)])).toBe(1);
  });

  it('forgets a lane that is not ours', () => {
    const queue = new LaneQueue<string>();
    queue.add([queued('a', 1), queued('a', 2), queued('b', 1)]);
    const first = queue.next();
    queue.drop('a');
    if (first !== undefined) queue.finish(first);
    expect(queue.size).toBe(1);
    expect(queue.next()?.lane).toBe('b');
    expect(queue.next()).toBeUndefined();
  });
});

describe('the pace after the hour', () => {
  const pace = { nowMs: 0, windowSettleMs: 10 * MINUTE_MS, spanMs: 8 * MINUTE_MS };

  it('takes the time that the account needs, and not too much', () => {
    const rate = { callsPerSecondMax: 100, windowSettleMs: 1 };
    expect(spreadSpanMs({ ...rate, count: 1_000 })).toBe(10_000);
    expect(spreadSpanMs({ ...rate, count: 10_000_000 })).toBe(SPREAD_MS_MAX);
    expect(spreadSpanMs({ ...rate, count: 1_000, windowSettleMs: 0 })).toBe(0);
  });

  it('gives each customer and meter a place of its own, the same in each hour, and spreads them evenly', () => {
    const dues = Array.from({ length: 1_000 }, (_, index) =>
      dueAtMsOf({ customerId: `c${index}`, meter: 'calls', endMs: 0 }, pace),
    );
    const perMinute = Array.from({ length: 8 }, (_, minute) =>
      dues.filter((due) => Math.floor(due / MINUTE_MS) === 10 + minute),
    );
    expect(perMinute.every(({ length }) => length > 80 && length < 170)).toBe(true);
    expect(dueAtMsOf({ customerId: 'c7', meter: 'calls', endMs: 60 * MINUTE_MS }, pace)).toBe(
      (dues[7] ?? 0) + 60 * MINUTE_MS,
    );
  });

  it('does not hold back what is late already', () => {
    const nowMs = 100 * MINUTE_MS;
    expect(dueAtMsOf({ customerId: 'c', meter: 'm', endMs: 0 }, { ...pace, nowMs })).toBe(nowMs);
  });
});
