import { describe, expect, it } from 'vitest';
import type { BillingCustomer } from '../../src/customers/calendar/billing-customer.ts';
import { CALENDAR_MONTH } from '../../src/customers/calendar/period.ts';
import { asUnit, isReshapedHour, movesUsage, unsureOfHour } from '../../src/submissions/planning/layout-correction.ts';
import {
  billingWithOpenPeriod,
  type FinalMeterPeriod,
  isCountedAfter,
  lateIdentifier,
  latenessOf,
} from '../../src/submissions/late-usage.ts';
import { type PlannableRow, planRow } from '../../src/submissions/planning/submission-plan.ts';
import { ms } from '../support/usage.ts';

const NOW_MS = ms('2026-06-15T12:40:00Z');
const ANCHOR_MS = ms('2026-05-15T12:23:45Z');
const CUSTOMER: BillingCustomer = {
  customerId: 'acme',
  stripeCustomerId: 'cus_1',
  calendars: [
    { layout: 0, calendar: CALENDAR_MONTH },
    { layout: 1, calendar: { anchorMs: ANCHOR_MS, interval: 'month' } },
  ],
};
const MAY: FinalMeterPeriod = {
  meter: 'calls',
  fromMs: ms('2026-05-15T12:23:45Z'),
  toMs: ms('2026-06-15T12:23:45Z'),
  finalizedAtMs: ms('2026-06-15T12:30:00Z'),
  invoiceId: 'in_1',
};

describe('lateness', () => {
  it.each([
    ['in the final period', '2026-06-15T12:00:00Z', 'calls', 'invoice_final'],
    ['at the start of the final period', '2026-05-15T12:23:45Z', 'calls', 'invoice_final'],
    ['at the end of the final period', '2026-06-15T12:23:45Z', 'calls', undefined],
    ['of another meter', '2026-06-15T12:00:00Z', 'seats', undefined],
    ['before the final period', '2026-05-15T12:23:44Z', 'calls', undefined],
    ['35 days less an hour ago', '2026-05-11T13:40:00Z', 'seats', undefined],
    ['a second older', '2026-05-11T13:39:59Z', 'seats', 'too_old'],
  ])('of usage %s', (_, at, meter, reason) => {
    const context = { customer: CUSTOMER, finals: [MAY], nowMs: NOW_MS };
    expect(latenessOf({ meter, timestampMs: ms(at) }, context)?.reason).toBe(reason);
    const submitted = { ...CUSTOMER, submitFromMs: ms(at) + 1 };
    expect(latenessOf({ meter, timestampMs: ms(at) }, { ...context, customer: submitted })).toBeUndefined();
  });

  it.each([
    [1_000, 2_000, 2_000, 'no'],
    [1_000, 2_001, 2_000, 'perhaps'],
    [2_000, 3_000, 2_000, 'perhaps'],
    [2_999, 2_999, 2_000, 'perhaps'],
    [2_999, 3_000, 2_000, 'perhaps'],
    [3_000, 4_000, 2_000, 'yes'],
  ] as const)('of what was counted between %i and %i, for an invoice final at %i, is %s', (fromMs, toMs, final, is) => {
    expect(isCountedAfter({ fromMs, toMs }, final)).toBe(is);
  });
});

describe('billing with the open period', () => {
  const bill = (nowMs: number, customer = CUSTOMER, finals = [MAY]) =>
    billingWithOpenPeriod({ meter: 'calls' }, { customer, finals, nowMs });

  it('stamps with the present window, which begins at an anchor inside the hour', () => {
    expect(bill(NOW_MS)).toEqual({ timestampMs: ms('2026-06-15T12:23:45Z') });
    expect(bill(ms('2026-06-15T13:10:00Z'))).toEqual({ timestampMs: ms('2026-06-15T13:00:00Z') });
  });

  it('refuses where nothing would be billed', () => {
    expect(bill(ms('2026-06-15T12:20:00Z'))).toEqual({ refused: 'no_open_period' });
    const { stripeCustomerId: _mapping, ...unmapped } = CUSTOMER;
    expect(bill(NOW_MS, unmapped)).toEqual({ refused: 'no_open_period' });
    expect(bill(NOW_MS, { ...CUSTOMER, submitFromMs: NOW_MS })).toEqual({ refused: 'no_open_period' });
    const total = { meter: 'calls', mode: 'period_total' as const };
    expect(billingWithOpenPeriod(total, { customer: CUSTOMER, finals: [], nowMs: NOW_MS })).toEqual({
      refused: 'period_total',
    });
  });
});

it('gives a submission and its replacements one late identifier, and late usage that is late again another', () => {
  const first = lateIdentifier('i:acme:calls:w20260615T12:1');
  expect(first).toBe('i:acme:calls:w20260615T12:1~late');
  expect(lateIdentifier('i:acme:calls:w20260615T12:1~7')).toBe(first);
  expect(lateIdentifier(first)).toBe(`${first}2`);
  expect(lateIdentifier(`${first}~3`)).toBe(`${first}2`);
  expect(lateIdentifier(`${first}2`)).toBe(`${first}3`);
});

describe('a correction between the windows of an hour', () => {
  const row = (at: string, quantity: string, planned?: string): PlannableRow => ({
    subject: 'window',
    customerId: 'acme',
    meter: 'calls',
    startMs: ms(at),
    endMs: ms('2026-06-15T13:00:00Z'),
    quantity,
    layout: 1,
    revision: 1,
    ...(planned !== undefined && {
      planned: { sequence: 1, quantity: planned, identifier: 'x', atMs: ms('2026-06-15T12:00:00Z') },
    }),
  });
  const BEFORE = row('2026-06-15T12:00:00Z', '4', '10');
  const AFTER = row('2026-06-15T12:23:45Z', '6');

  it('is told by differences of both signs in an hour that was cut otherwise', () => {
    expect([BEFORE, AFTER].map((each) => isReshapedHour(CUSTOMER, each))).toEqual([true, true]);
    expect(isReshapedHour(CUSTOMER, row('2026-06-14T12:00:00Z', '1'))).toBe(false);
    expect(movesUsage([BEFORE, AFTER])).toBe(true);
    expect(movesUsage([AFTER, { ...BEFORE, quantity: '11' }])).toBe(false);
  });

  it('is unsure while a window may be missing or is of another layout', () => {
    expect(unsureOfHour(CUSTOMER, [BEFORE, AFTER])).toEqual([]);
    expect(unsureOfHour(CUSTOMER, [BEFORE])).toHaveLength(1);
    expect(unsureOfHour(CUSTOMER, [{ ...BEFORE, quantity: '11' }])).toEqual([]);
    expect(unsureOfHour(CUSTOMER, [BEFORE, { ...AFTER, layout: 0 }])).toHaveLength(1);
  });

  it('is late as one unit where one half is', () => {
    const plan = (each: PlannableRow, finals: readonly FinalMeterPeriod[]) =>
      planRow(
        each,
        { quantity: each.quantity, atMs: each.startMs },
        {
          customer: CUSTOMER,
          installation: 'i',
          nowMs: NOW_MS,
          finals,
          policy: 'review',
          mode: 'delta',
        },
      );
    const both = asUnit([BEFORE, AFTER].map((each) => plan(each, [MAY])));
    const units = both.map((each) => (each.kind === 'late' ? each.late : undefined));
    expect(units[0]).toEqual({
      reason: 'invoice_final',
      invoiceId: 'in_1',
      policy: 'review',
      unit: 'i:acme:calls:w20260615T122345:1~late',
    });
    expect(units[1]).toEqual(units[0]);
    const none = [BEFORE, AFTER].map((each) => plan(each, []));
    expect(asUnit(none)).toEqual(none);
  });
});
