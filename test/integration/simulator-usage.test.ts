import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { UsageLog } from '../../packages/stripe-double/src/usage-log.ts';
import { UsageSeries } from '../../packages/stripe-double/src/usage-series.ts';

/** An event of the plain model that the hourly index is compared with. */
interface Modelled {
  timestamp: number;
  cents: number;
  visibleAt: number;
  goneAt: number;
  cancelled: boolean;
}

const step = fc.oneof(
  fc.record({
    kind: fc.constant('send' as const),
    timestamp: fc.integer({ min: 0, max: 5 * 3_600 }),
    cents: fc.integer({ min: -500, max: 500 }),
    lagMs: fc.constantFrom(0, 10, 1_000),
  }),
  fc.record({ kind: fc.constant('cancel' as const), which: fc.nat() }),
  fc.record({ kind: fc.constant('wait' as const), ms: fc.nat({ max: 1_500 }) }),
  fc.record({
    kind: fc.constant('read' as const),
    from: fc.integer({ min: 0, max: 6 * 3_600 }),
    length: fc.integer({ min: 1, max: 6 * 3_600 }),
  }),
);
type Step = typeof step extends fc.Arbitrary<infer Value> ? Value : never;

/** Carries the steps out on a series and on the model; gives pairs of what each read of both. */
function readBoth(steps: readonly Step[]): [string, string][] {
  const log = new UsageLog();
  const series = new UsageSeries(log);
  const model: Modelled[] = [];
  const reads: [string, string][] = [];
  let now = 0;
  for (const step of steps) {
    if (step.kind === 'wait') now += step.ms;
    if (step.kind === 'send') {
      const { timestamp, cents, lagMs } = step;
      const visibleAt = now + lagMs;
      const value = (cents / 100).toFixed(2);
      const identity = { identifier: `e${model.length}`, idempotencyKey: undefined, series: 0 };
      const entry = { ...identity, value, timestamp, receivedAt: now, visibleAt };
      series.add(log.append({ ...entry, extraPayload: undefined, rejected: false }));
      model.push({ timestamp, cents, visibleAt, goneAt: Infinity, cancelled: false });
    }
    if (step.kind === 'cancel' && model.length > 0) {
      const row = step.which % model.length;
      const event = model[row];
      if (event === undefined || event.cancelled) continue;
      event.cancelled = true;
      event.goneAt = now + event.visibleAt - log.receivedAt(row);
      log.cancel(row, now);
      series.refold(row);
    }
    if (step.kind !== 'read') continue;
    const range = { from: step.from, to: step.from + step.length };
    const inRange = model.filter(({ timestamp }) => timestamp >= range.from && timestamp < range.to);
    for (const kind of ['visible', 'received'] as const) {
      const counted = inRange.filter((event) =>
        kind === 'received' ? !event.cancelled : event.visibleAt <= now && event.goneAt > now,
      );
      const { sum, count } = series.total(range, { kind, atMs: now });
      const cents = counted.reduce((total, event) => total + event.cents, 0);
      reads.push([`${sum.times(100).toFixed()} of ${count}`, `${cents} of ${counted.length}`]);
    }
  }
  return reads;
}

describe('the hourly index of the Stripe simulator', () => {
  it('adds up what a plain list would, whatever is sent, cancelled, awaited and read in between', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 5, maxLength: 80 }), (steps) => {
        for (const [actual, expected] of readBoth(steps)) expect(actual).toBe(expected);
      }),
      { numRuns: 300, seed: 2_026 },
    );
  });

  it('keeps the text of every value, also one that a double does not give back', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(10n ** 40n), max: 10n ** 40n }), fc.nat({ max: 30 }), (digits, decimals) => {
        const log = new UsageLog();
        const value = decimals === 0 ? `${digits}` : `${digits}.${'0'.repeat(decimals - 1)}1`;
        const identity = { identifier: 'e', idempotencyKey: 'k', series: 0, extraPayload: undefined, rejected: false };
        const row = log.append({ ...identity, value, timestamp: 0, receivedAt: 0, visibleAt: 0 });
        expect(log.read(row)).toMatchObject({ value, idempotencyKey: 'k', identifier: 'e' });
      }),
      { seed: 2_026 },
    );
  });

  it('reads an hour with a hundred thousand events and a year around it in little time', () => {
    const log = new UsageLog();
    const series = new UsageSeries(log);
    const identity = { idempotencyKey: undefined, series: 0, extraPayload: undefined, rejected: false };
    for (let i = 0; i < 100_000; i += 1) {
      const entry = { ...identity, identifier: `e${i}`, value: '0.1', timestamp: i % 3_600 };
      series.add(log.append({ ...entry, receivedAt: 0, visibleAt: 0 }));
    }
    const year = { from: -365 * 86_400, to: 365 * 86_400 };
    expect(series.total(year, { kind: 'visible', atMs: 1 }).sum.toFixed()).toBe('10000');
    const startedAt = performance.now();
    for (let i = 0; i < 100; i += 1) series.total(year, { kind: 'visible', atMs: 1 });
    expect(performance.now() - startedAt).toBeLessThan(1_000);
  });
});
