import { describe, expect, it } from 'vitest';
import {
  adjustmentFingerprint,
  type AdjustmentInput,
  assertAdjustable,
  parseAdjustment,
} from '../../src/usage/adjustment.ts';
import { DAY_MS } from '../../src/platform/durations.ts';
import { DaemonError } from '../../src/platform/errors.ts';
import { meterOf, ms } from '../support/usage.ts';

const NOW = ms('2026-11-21T05:30:00Z');
const AGE_MS_MAX = 34 * DAY_MS;
const INPUT: AdjustmentInput = {
  idempotencyKey: 'fix:1',
  customerId: 'acme',
  meter: 'calls',
  occurredAt: '2026-11-20T05:00:00+01:00',
  quantity: '-12.50',
  reason: 'counted twice',
  actor: 'jo',
};

function parse(change: Partial<Record<keyof AdjustmentInput, unknown>> = {}): ReturnType<typeof parseAdjustment> {
  return parseAdjustment({ ...INPUT, ...change } as AdjustmentInput, { nowMs: NOW, ageMsMax: AGE_MS_MAX });
}

describe('parseAdjustment', () => {
  it('brings an adjustment into canonical form', () => {
    expect(parse()).toEqual({
      adjustment: { ...INPUT, occurredAt: undefined, occurredAtMs: ms('2026-11-20T04:00:00Z'), quantity: '-12.5' },
    });
  });

  it.each([
    ['5', '5'],
    ['-0', '0'],
    ['-0.000000000001', '-0.000000000001'],
    [-3, '-3'],
    [-0, '0'],
    [2.5, '2.5'],
  ])('takes the quantity %j as %s', (quantity, expected) => {
    expect(parse({ quantity })).toMatchObject({ adjustment: { quantity: expected } });
  });

  it.each([
    ['+1', 'quantity_invalid'],
    ['--1', 'quantity_invalid'],
    ['-', 'quantity_invalid'],
    ['- 1', 'quantity_invalid'],
    ['-1e3', 'quantity_invalid'],
    ['-01', 'quantity_invalid'],
    ['', 'quantity_invalid'],
    [-1e21, 'quantity_too_long'],
    ['-1234567890123456', 'quantity_too_long'],
    ['-0.0000000000001', 'quantity_too_long'],
  ])('refuses the quantity %j as %s', (quantity, code) => {
    expect(parse({ quantity })).toMatchObject({ fault: { code, pointer: '/quantity' } });
  });

  it.each([
    [{ idempotencyKey: '' }, 'field_length', '/idempotencyKey'],
    [{ customerId: 'a\u001fb' }, 'text_control_character', '/customerId'],
    [{ customerId: 'M\ufffdller' }, 'text_replacement_character', '/customerId'],
    [{ actor: 'M\ufffdller' }, 'adjustment_text_invalid', '/actor'],
    [{ occurredAt: '2026-11-20T05:00:00' }, 'occurred_at_invalid', '/occurredAt'],
    [{ occurredAt: '2026-11-21T05:36:00Z' }, 'occurred_at_in_future', '/occurredAt'],
    [{ occurredAt: '2026-10-18T05:29:59Z' }, 'occurred_at_too_old', '/occurredAt'],
    [{ reason: '' }, 'adjustment_text_invalid', '/reason'],
    [{ reason: 'x'.repeat(1_001) }, 'adjustment_text_invalid', '/reason'],
    [{ actor: 'a\nb' }, 'adjustment_text_invalid', '/actor'],
  ])('refuses %j as %s', (change, code, pointer) => {
    expect(parse(change)).toMatchObject({ fault: { code, pointer } });
  });

  it('tells adjustments apart by every part of their content, and not by how it is written', () => {
    const printOf = (change: Partial<AdjustmentInput>): string => {
      const parsed = parse(change);
      if ('fault' in parsed) throw new Error(parsed.fault.detail);
      return adjustmentFingerprint(parsed.adjustment).toString('hex');
    };
    expect(printOf({ occurredAt: '2026-11-20T04:00:00.000Z', quantity: '-12.5' })).toBe(printOf({}));
    const changes = [{ meter: 'x' }, { occurredAt: '2026-11-20T05:00:01+01:00' }, { quantity: '12.5' }];
    const prints = [{}, ...changes, { reason: 'x' }, { actor: 'x' }].map(printOf);
    expect(new Set(prints).size).toBe(prints.length);
  });
});

describe('assertAdjustable', () => {
  const codeFor = (aggregation: 'sum' | 'count' | 'max' | 'last' | 'unique', change: Partial<AdjustmentInput> = {}) => {
    const parsed = parse(change);
    if ('fault' in parsed) throw new Error(parsed.fault.detail);
    try {
      assertAdjustable(parsed.adjustment, meterOf({ key: 'calls', aggregation }), ms('2026-11-20T04:00:00Z'));
      return 'fine';
    } catch (error) {
      return error instanceof DaemonError ? error.code : 'another error';
    }
  };

  it('lets through what adds up', () => {
    expect(codeFor('sum')).toBe('fine');
    expect(codeFor('count', { quantity: '-2' })).toBe('fine');
    expect(codeFor('count')).toBe('adjustment_not_whole');
    expect(codeFor('sum', { occurredAt: '2026-11-20T03:59:59Z' })).toBe('adjustment_before_meter');
    for (const aggregation of ['max', 'last', 'unique'] as const) {
      expect(codeFor(aggregation)).toBe('adjustment_not_additive');
    }
  });
});
