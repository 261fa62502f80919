import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type BillingCustomer, unknownCustomer } from '../../src/customers/calendar/billing-customer.ts';
import { calendarsOf } from '../../src/customers/calendar/customer-calendar.ts';
import { addQuantities, canonicalQuantity, isZeroQuantity, significantDigits } from '../../src/platform/quantity.ts';
import { countStamps, presentPeriodsOver, type StampedEntry } from '../../src/submissions/planning/stamped-figure.ts';
import { runningStampMs } from '../../src/submissions/planning/submission-mode.ts';
import { type PlanContext, type PlannableRow, planRow } from '../../src/submissions/planning/submission-plan.ts';
import { planTakeOver } from '../../src/submissions/planning/take-over.ts';

const ms = (text: string): number => Date.parse(text);
const NOW_MS = ms('2026-06-15T12:00:00Z');
const START_MS = ms('2026-06-01T00:00:00Z');

function contextOf(customer: BillingCustomer, mode: PlanContext['mode'] = 'delta'): PlanContext {
  return { customer, mode, installation: 'i', nowMs: NOW_MS, finals: [], policy: 'review' };
}

function rowOf(given: Partial<PlannableRow> = {}): PlannableRow {
  return {
    subject: 'period',
    customerId: 'cus_1',
    meter: 'm',
    startMs: START_MS,
    endMs: ms('2026-07-01T00:00:00Z'),
    quantity: '0',
    layout: 0,
    revision: 1,
    ...given,
  };
}

/** Any figure that sums of quantities can come to: 18 digits before and 12 after the point, of either sign. */
const figures = fc
  .tuple(fc.bigInt({ min: -(10n ** 30n) + 1n, max: 10n ** 30n - 1n }), fc.integer({ min: 0, max: 12 }))
  .map(([digits, fraction]) => canonicalQuantity(`${digits}e-${fraction}`));

describe('planRow', () => {
  it('reaches any figure from any other in few parts of at most 15 digits that add up', () => {
    fc.assert(
      fc.property(figures, figures, (from, to) => {
        let row = rowOf({
          quantity: to,
          planned: { sequence: 1, quantity: from, identifier: 'before', atMs: START_MS },
        });
        const parts: string[] = [];
        for (let steps = 0; steps < 6; steps += 1) {
          const plan = planRow(row, { quantity: to, atMs: START_MS }, contextOf(unknownCustomer('cus_1')));
          if (plan.kind !== 'submit') break;
          const { submission } = plan;
          expect(significantDigits(submission.value)).toBeLessThanOrEqual(15);
          expect(isZeroQuantity(submission.value)).toBe(false);
          expect(submission.value).toMatch(/^-?(0|[1-9][0-9]*)(\.[0-9]{1,12})?$/);
          expect(submission.sequence).toBe(parts.length + 2);
          parts.push(submission.value);
          const { sequence, identifier, toQuantity: quantity } = submission;
          expect(plan.complete).toBe(quantity === to);
          row = { ...row, planned: { sequence, identifier, quantity, atMs: START_MS } };
        }
        expect(row.planned?.quantity).toBe(to);
        expect(addQuantities(from, ...parts)).toBe(to);
        expect(parts.length).toBeLessThanOrEqual(3);
      }),
    );
  });

  it('sends the figure itself where Stripe keeps the last one, also when it falls', () => {
    const planned = { sequence: 4, quantity: '100', identifier: 'x', atMs: START_MS };
    const next = { quantity: '12.5', atMs: START_MS + 3_600_000 };
    const plan = planRow(
      rowOf({ planned, quantity: '12.5' }),
      next,
      contextOf(unknownCustomer('cus_1'), 'period_total'),
    );
    expect(plan).toMatchObject({
      kind: 'submit',
      complete: true,
      submission: { value: '12.5', fromQuantity: '100', toQuantity: '12.5', sequence: 5, mode: 'period_total' },
    });
  });
});

describe('a running stamp', () => {
  const endMs = START_MS + 10_000;
  it.each([
    ['that of the window', START_MS + 5_999, undefined, START_MS + 5_000],
    ['a second after the one before', START_MS, START_MS + 2_000, START_MS + 3_000],
    ['that of the window where that is later', START_MS + 5_000, START_MS + 2_000, START_MS + 5_000],
    ['none beyond the period', START_MS, START_MS + 9_000, undefined],
  ])('is %s', (_, windowFromMs, earlierMs, expected) => {
    expect(runningStampMs(windowFromMs, { earlierMs, endMs, nowMs: NOW_MS })).toBe(expected);
  });

  it('is none in the future', () => {
    expect(runningStampMs(START_MS, { earlierMs: START_MS, endMs, nowMs: START_MS + 999 })).toBeUndefined();
  });
});

describe('what was planned of a period whose calendar changed', () => {
  const entry = (at: string, value: string, given: Partial<StampedEntry> = {}): StampedEntry => ({
    identifier: at,
    value,
    timestampMs: ms(at),
    mode: 'delta',
    ...given,
  });
  const entries = [
    entry('2026-06-05T00:00:00Z', '-3'),
    entry('2026-06-02T00:00:00Z', '10'),
    entry('2026-06-03T00:00:00Z', '99', { mode: 'period_total' }),
  ];
  const planned = { sequence: 7, quantity: '1000', identifier: 'own', atMs: START_MS };

  it('is what is stamped inside it, under the numbers of its own submissions', () => {
    expect(countStamps(rowOf({ planned }), entries, 'delta').planned).toEqual({
      sequence: 7,
      quantity: '7',
      identifier: 'own',
      atMs: ms('2026-06-05T00:00:00Z'),
    });
    expect(countStamps(rowOf(), entries, 'delta').planned).toMatchObject({ sequence: 0, quantity: '7' });
  });

  it('is the figure stamped last where Stripe keeps that, and waits for the answer to it', () => {
    expect(countStamps(rowOf({ planned }), entries, 'period_total').planned).toMatchObject({
      sequence: 7,
      quantity: '99',
      identifier: '2026-06-03T00:00:00Z',
    });
  });

  it('is nothing where nothing is stamped', () => {
    expect(countStamps(rowOf({ planned }), [], 'delta').planned).toMatchObject({ sequence: 7, quantity: '0' });
    expect(countStamps(rowOf(), [], 'delta')).not.toHaveProperty('planned');
  });

  it('is taken over once by an entry without value, from what is stamped in it', () => {
    const customer = unknownCustomer('cus_1');
    const counted = countStamps(rowOf({ planned, isRelaid: true, quantity: '7' }), entries, 'delta');
    expect(planTakeOver(counted, { customer, installation: 'i' })).toMatchObject({
      complete: true,
      stampedIn: [],
      submission: { sequence: 8, fromQuantity: '7', toQuantity: '7', value: '0' },
    });
    expect(
      planTakeOver(countStamps(rowOf({ planned }), entries, 'delta'), { customer, installation: 'i' }),
    ).toBeUndefined();
  });

  it('ends with an entry that has no value, and has the periods in its place counted again', () => {
    const calendars = calendarsOf([{ layout: 1, anchor: new Date('2026-06-10T10:00:00Z'), interval: 'week' }]);
    const customer = { ...unknownCustomer('cus_1'), calendars };
    const stampedIn = presentPeriodsOver(customer, { fromMs: START_MS, toMs: ms('2026-06-15T00:00:00Z') });
    expect(stampedIn.map((at) => new Date(at).toISOString().slice(5, 10))).toEqual(['05-27', '06-03', '06-10']);
    expect(planTakeOver(rowOf({ planned, isFormer: true }), { customer, installation: 'i' })).toMatchObject({
      complete: true,
      stampedIn: presentPeriodsOver(customer, { fromMs: START_MS, toMs: ms('2026-07-01T00:00:00Z') }),
      submission: { sequence: 8, fromQuantity: '1000', toQuantity: '0', value: '0' },
    });
  });
});
