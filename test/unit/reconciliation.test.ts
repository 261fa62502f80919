import { describe, expect, it } from 'vitest';
import { foldHour, type LedgerEntry } from '../../src/submissions/ledger-entry.ts';
import {
  type DifferingHour,
  differingHours,
  type HourReading,
  isSameTotal,
  judge,
  type LedgerFigures,
  settleHour,
} from '../../src/reconciliation/reconciliation.ts';
import { HOUR_MS, MINUTE_MS } from '../../src/platform/durations.ts';

const AT = Date.parse('2026-06-15T08:00:00Z');
const RULE = { lagMaxMs: 12 * HOUR_MS, rereadMs: 10 * MINUTE_MS };

function figures(given: Partial<LedgerFigures>): LedgerFigures {
  const nothing = { inFlight: '0', blocked: '0', rejected: '0', late: '0', isLateWaiting: false, fingerprint: '' };
  return { local: '10', delivered: '10', ...nothing, ...given };
}

describe('judge', () => {
  const settled = (stripe: string): { hourMs: number; delivered: string; stripe: string; isSettled: boolean } => {
    return { hourMs: AT, delivered: '10', stripe, isSettled: true };
  };

  it.each([
    ['match', {}, '10', []],
    ['not_read', {}, undefined, []],
    ['in_flight', { local: '12' }, '10', []],
    ['blocked', { local: '12', blocked: '2' }, '10', []],
    ['rejected', { local: '12', rejected: '2' }, '10', []],
    ['rejected', { local: '12', rejected: '2' }, '11', []],
    ['match', { local: '12', late: '2' }, '10', []],
    ['late', { local: '12', late: '2', isLateWaiting: true }, '10', []],
    ['stale', {}, '9', [{ ...settled('9'), isSettled: false }]],
    ['in_flight', { inFlight: '1' }, '9', [{ ...settled('9'), isSettled: false }]],
    ['missing', {}, '9', [settled('9')]],
    ['surplus', {}, '11', [settled('11')]],
    ['missing', {}, '12', [settled('9'), settled('11')]],
  ] as const)('%s: %j against %s', (verdict, given, stripe, hours) => {
    expect(judge(figures(given), stripe, hours)).toBe(verdict);
  });
});

describe('isSameTotal', () => {
  it('is exact up to 15 digits, and beyond them as exact as a JSON number', () => {
    expect(isSameTotal('100000000000000', '100000000000001')).toBe(false);
    expect(isSameTotal('0.000000000001', '0.000000000002')).toBe(false);
    const exact = '123456789012345.678901';
    expect(isSameTotal(String(Number(exact)), exact)).toBe(true);
    expect(isSameTotal('123456789012346', exact)).toBe(false);
  });
});

describe('settleHour', () => {
  const sent = (given: Partial<LedgerEntry> = {}): LedgerEntry => ({
    identifier: 's1',
    state: 'accepted',
    subject: 'window',
    value: '10',
    timestampMs: AT,
    attempts: 1,
    lastAttemptAtMs: AT,
    isOffset: false,
    isLate: false,
    ...given,
  });

  /** Reads of the same hour one after the other, each with the readings of the one before; when it is settled. */
  function settlesAt(entries: readonly LedgerEntry[], readsMs: readonly number[], stripe = '9'): number | undefined {
    let earlier: HourReading | undefined;
    for (const nowMs of readsMs) {
      const state = settleHour(hourOf(entries, { nowMs, stripe }), earlier, { ...RULE, nowMs });
      if (state.isSettled) return nowMs;
      earlier = state.reading;
    }
    return undefined;
  }

  function hourOf(entries: readonly LedgerEntry[], read: { nowMs: number; stripe: string }): DifferingHour {
    const ledger = foldHour(entries, read.nowMs);
    const hours = new Map([[AT, ledger]]);
    const stripe = new Map([[AT, read.stripe]]);
    const [hour] = differingHours({ before: hours, after: hours, stripe, nothing: foldHour([], read.nowMs) });
    if (hour === undefined) throw new Error('the hour does not differ');
    return hour;
  }

  it('settles on two equal reads far enough apart, both beyond the lag', () => {
    const lag = AT + 12 * HOUR_MS;
    expect(settlesAt([sent()], [lag - 1, lag + 10 * MINUTE_MS])).toBeUndefined();
    expect(settlesAt([sent()], [lag, lag + 10 * MINUTE_MS - 1])).toBeUndefined();
    expect(settlesAt([sent()], [lag, lag + 10 * MINUTE_MS])).toBe(lag + 10 * MINUTE_MS);
  });

  it('begins anew after an attempt, and after a cancellation', () => {
    const late = AT + 30 * HOUR_MS;
    const reads = [AT + 20 * HOUR_MS, late];
    expect(settlesAt([sent()], reads)).toBe(late);
    expect(settlesAt([sent({ lastAttemptAtMs: AT + 19 * HOUR_MS })], reads)).toBeUndefined();
    const cancellation = { state: 'refused', atMs: AT + 19 * HOUR_MS, attempts: 1 } as const;
    expect(settlesAt([sent({ state: 'replaced', cancellation })], reads)).toBeUndefined();
  });

  it('does not settle while something is on its way, on a changed ledger, or on different figures', () => {
    const [first, second] = [AT + 20 * HOUR_MS, AT + 21 * HOUR_MS];
    expect(settlesAt([sent(), sent({ identifier: 's2', state: 'planned' })], [first, second])).toBeUndefined();
    const rule = { ...RULE, nowMs: second };
    const hour = hourOf([sent()], { nowMs: second, stripe: '9' });
    const { hourMs, delivered, stripe, fingerprint } = hour;
    const earlier = { hourMs, delivered, stripe, fingerprint, atMs: first };
    expect(settleHour(hour, earlier, rule).isSettled).toBe(true);
    expect(settleHour(hour, { ...earlier, fingerprint: 'other' }, rule).isSettled).toBe(false);
    expect(settleHour(hour, { ...earlier, stripe: '8' }, rule).isSettled).toBe(false);
    expect(settleHour({ ...hour, hasMoved: true }, earlier, rule).isSettled).toBe(false);
  });
});
