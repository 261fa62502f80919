import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type BillingCustomer, unknownCustomer } from '../../src/customers/calendar/billing-customer.ts';
import { calendarsOf } from '../../src/customers/calendar/customer-calendar.ts';
import { type DerivationPlan, planDerivation, STEP_PAIRS_MAX } from '../../src/aggregation/derivation-plan.ts';
import type { Aggregation, Meter } from '../../src/meters/meter.ts';
import { periodContaining } from '../../src/customers/calendar/period.ts';
import { epochHourOf } from '../../src/customers/calendar/window.ts';
import { HOUR_MS } from '../../src/platform/durations.ts';

const ms = (text: string): number => Date.parse(text);
const hourOf = (text: string): number => epochHourOf(ms(text));
const at = (text: string): { fromMs: number } => ({ fromMs: ms(text) });

function meterOf(key: string, aggregation: Aggregation, effectiveFrom?: string): Meter {
  return {
    key,
    displayName: key,
    unit: 'unit',
    eventType: 'call',
    aggregation,
    valueFrom: { kind: 'quantity' },
    where: [],
    groupBy: [],
    createdAtMs: ms('2026-11-10T00:00:00Z'),
    lateUsage: 'review',
    ...(effectiveFrom !== undefined && { effectiveFromMs: ms(effectiveFrom) }),
  };
}

function customerOf(...anchors: (string | undefined)[]): BillingCustomer {
  const changes = anchors.map((anchor, index) => ({
    layout: index + 1,
    ...(anchor !== undefined && { anchor: new Date(anchor), interval: 'month' as const }),
  }));
  return { customerId: 'acme', calendars: calendarsOf(changes) };
}

function planOf(customer: BillingCustomer, hours: readonly number[], meters: readonly Meter[]): DerivationPlan {
  const pairs = hours.map((hour) => ({ customerId: customer.customerId, hour }));
  return planDerivation(pairs, new Map([[customer.customerId, customer]]), meters);
}

const sum = meterOf('sum', 'sum', '2020-01-01T00:00:00Z');
const peak = meterOf('peak', 'max', '2020-01-01T00:00:00Z');

describe('planDerivation', () => {
  it('joins customer-hours of one layout into one step', () => {
    const customers = ['a', 'b', 'c'].map((id) => unknownCustomer(id));
    const pairs = customers.flatMap(({ customerId }) => [1, 2].map((hour) => ({ customerId, hour: 490_000 + hour })));
    const plan = planDerivation(pairs, new Map(customers.map((customer) => [customer.customerId, customer])), [sum]);
    expect(plan.steps).toEqual([
      {
        layout: 0,
        meters: [sum],
        cells: [
          { hour: 490_001, customerIds: ['a', 'b', 'c'] },
          { hour: 490_002, customerIds: ['a', 'b', 'c'] },
        ],
      },
    ]);
    expect(plan).toMatchObject({ emptyWindows: [], periods: [], emptyPeriods: [] });
  });

  it('bounds a step', () => {
    const hours = Array.from({ length: STEP_PAIRS_MAX * 2 + 1 }, (_, index) => 480_000 + index);
    const sizes = planOf(unknownCustomer('acme'), hours, [sum]).steps.map(({ cells }) => cells.length);
    expect(sizes.sort((a, b) => b - a)).toEqual([STEP_PAIRS_MAX, STEP_PAIRS_MAX, 1]);
  });

  it('splits an hour in which a period begins, and derives the period of each part', () => {
    const plan = planOf(customerOf('2026-11-15T10:23:45Z'), [hourOf('2026-11-15T10:00:00Z')], [sum, peak]);
    expect(plan.steps.map(({ window, layout }) => ({ window, layout }))).toEqual([
      { window: { fromMs: ms('2026-11-15T10:00:00Z'), toMs: ms('2026-11-15T10:23:45Z') }, layout: 1 },
      { window: { fromMs: ms('2026-11-15T10:23:45Z'), toMs: ms('2026-11-15T11:00:00Z') }, layout: 1 },
    ]);
    expect(plan.periods.map(({ meter, period }) => [meter, period.fromMs])).toEqual([
      ['peak', ms('2026-10-15T10:23:45Z')],
      ['peak', ms('2026-11-15T10:23:45Z')],
    ]);
  });

  it('derives no period figure for meters whose windows add up', () => {
    expect(planOf(unknownCustomer('acme'), [hourOf('2026-11-15T10:00:00Z')], [sum]).periods).toEqual([]);
  });

  it.each([
    [
      'a window that is gone',
      customerOf('2026-11-15T10:23:45Z', undefined),
      ['2026-11-15T10:00:00Z', '2026-11-15T10:23:45Z'],
    ],
    ['a window that ends elsewhere', customerOf('2026-11-15T10:23:45Z'), ['2026-11-15T10:00:00Z']],
    ['nothing where nothing was cut anew', customerOf('2026-11-15T12:23:45Z'), []],
    [
      'both parts that moved',
      customerOf('2026-11-15T10:23:45Z', '2026-11-15T10:40:00Z'),
      ['2026-11-15T10:00:00Z', '2026-11-15T10:23:45Z'],
    ],
  ] as [string, BillingCustomer, string[]][])('empties %s', (_, customer, expected) => {
    const plan = planOf(customer, [hourOf('2026-11-15T10:00:00Z')], [sum]);
    expect(plan.emptyWindows.map(({ window }) => window.fromMs)).toEqual(expected.map(ms));
  });

  it('empties the periods of an earlier calendar, also one that begins in the last part of an hour', () => {
    const customer = customerOf('2026-11-15T10:23:45Z', '2026-11-20T00:00:00Z');
    const plan = planOf(customer, [hourOf('2026-11-15T10:00:00Z')], [sum, peak]);
    const starts = plan.emptyPeriods.map(({ meter, window }) => [meter, window.fromMs]);
    expect(starts).toHaveLength(3);
    for (const start of ['2026-11-01T00:00:00Z', '2026-10-15T10:23:45Z', '2026-11-15T10:23:45Z']) {
      expect(starts).toContainEqual(['peak', ms(start)]);
    }
  });

  it('derives the period that begins where one did that ended later, and does not empty it', () => {
    const calendars = calendarsOf([{ layout: 1, anchor: new Date('2026-11-01T00:00:00Z'), interval: 'day' }]);
    const plan = planOf({ customerId: 'acme', calendars }, [hourOf('2026-11-20T10:00:00Z')], [peak]);
    expect(plan.emptyPeriods).toEqual([]);
    expect(plan.periods.map(({ period }) => new Date(period.toMs).toISOString().slice(5, 10))).toEqual([
      '11-21',
      '11-02',
    ]);
  });

  it('empties a period that lies within one hour', () => {
    const anchor = new Date('2026-11-15T10:50:00Z');
    const calendars = calendarsOf([
      { layout: 1, anchor, interval: 'month', since: new Date('2026-11-15T10:40:00Z') },
      { layout: 2 },
    ]);
    const plan = planOf({ customerId: 'acme', calendars }, [hourOf('2026-11-15T10:00:00Z')], [peak]);
    expect(plan.emptyPeriods.map(({ window }) => new Date(window.fromMs).toISOString().slice(5, 16))).toEqual([
      '10-15T10:50',
      '11-15T10:40',
      '11-15T10:50',
    ]);
  });

  it('says which hours of a period were cut differently before', () => {
    const customer = customerOf('2026-11-15T10:23:45Z', undefined);
    const [step] = planOf(customer, [hourOf('2026-11-20T00:00:00Z')], [peak]).periods;
    expect(step?.reshapedHours).toContainEqual({
      fromMs: ms('2026-11-15T10:00:00Z'),
      toMs: ms('2026-11-15T11:00:00Z'),
    });
  });

  it('leaves out meters that do not count yet: from effectiveFrom, or from the period they were made in', () => {
    const meters = [meterOf('late', 'sum', '2026-11-20T00:00:00Z'), meterOf('made', 'sum')];
    const keysAt = (text: string, customer = unknownCustomer('acme')): string[] =>
      planOf(customer, [hourOf(text)], meters).steps.flatMap((step) => step.meters.map(({ key }) => key));
    expect(keysAt('2026-10-31T23:00:00Z')).toEqual([]);
    expect(keysAt('2026-11-01T00:00:00Z')).toEqual(['made']);
    expect(keysAt('2026-11-20T00:00:00Z')).toEqual(['late', 'made']);
    // The hour of the anchor: its first part lies before the period that the meter was made in.
    const anchored = { customerId: 'acme', calendars: customerOf('2026-11-05T10:23:45Z').calendars.slice(1) };
    expect(planOf(anchored, [hourOf('2026-11-05T10:00:00Z')], meters).steps.map(({ window }) => window)).toEqual([
      expect.objectContaining(at('2026-11-05T10:23:45Z')),
    ]);
    // What was counted once stays counted when the calendar changes.
    expect(keysAt('2026-11-01T00:00:00Z', customerOf('2026-11-05T10:23:45Z'))).toEqual(['made']);
  });

  it('refuses customers that are missing from its input', () => {
    expect(() => planDerivation([{ customerId: 'x', hour: 1 }], new Map(), [sum])).toThrow(RangeError);
  });

  it('covers every instant of every pair exactly once, within one period, in any order', () => {
    const instants = fc.integer({ min: ms('2026-01-01T00:00:00Z'), max: ms('2027-12-31T00:00:00Z') });
    const anchors = fc.array(
      instants.map((instant) => instant - (instant % 1000)),
      { maxLength: 3 },
    );
    fc.assert(
      fc.property(
        anchors,
        fc.uniqueArray(instants.map(epochHourOf), { minLength: 1, maxLength: 50 }),
        (changes, hours) => {
          const calendars = calendarsOf(
            changes.map((anchorMs, index) => ({
              layout: index + 1,
              anchor: new Date(anchorMs),
              interval: 'month' as const,
            })),
          );
          const customer = { customerId: 'acme', calendars };
          const calendar = calendars.at(-1)?.calendar;
          if (calendar === undefined) throw new Error('no calendar');
          const boundaryHours = hours.map((hour) => epochHourOf(periodContaining(calendar, hour * HOUR_MS).fromMs));
          const all = [...new Set([...hours, ...boundaryHours])];
          const plan = planOf(customer, all, [sum, peak]);
          const pieces = plan.steps.flatMap(({ cells, window }) =>
            cells.map(({ hour }) => window ?? { fromMs: hour * HOUR_MS, toMs: (hour + 1) * HOUR_MS }),
          );
          const covered = pieces.reduce((total, { fromMs, toMs }) => total + toMs - fromMs, 0);
          expect(covered).toBe(all.length * HOUR_MS);
          expect(new Set(pieces.map(({ fromMs }) => fromMs)).size).toBe(pieces.length);
          const periods = new Set(plan.periods.map(({ period }) => period.fromMs));
          for (const piece of pieces) {
            const period = periodContaining(calendar, piece.fromMs);
            expect(piece.toMs).toBeLessThanOrEqual(period.toMs);
            expect(periods).toContain(period.fromMs);
          }
          const other = planOf(customer, all.toReversed(), [sum, peak]);
          const keys = (of: DerivationPlan): string[] => of.periods.map(({ period }) => String(period.fromMs)).sort();
          expect(keys(other)).toEqual(keys(plan));
          expect(other.emptyWindows.length).toBe(plan.emptyWindows.length);
        },
      ),
    );
  });
});
