import { describe, expect, it } from 'vitest';
import { changeCustomer, type Customer, type CustomerChange, mirrorCalendar } from '../../src/customers/customer.ts';
import { calendarInForce, calendarsOf, type MirroredCalendar } from '../../src/customers/calendar/customer-calendar.ts';
import { periodContaining } from '../../src/customers/calendar/period.ts';
import type { HourCuts } from '../../src/customers/calendar/window.ts';
import { DAY_MS } from '../../src/platform/durations.ts';

const ms = (text: string): number => Date.parse(text);
const at = (text: string): Date => new Date(text);
const NOW_MS = ms('2026-11-21T05:30:00Z');

const monthly = (anchor: string): HourCuts['calendar'] => ({ anchorMs: ms(anchor), interval: 'month' });
const ANCHOR = '2026-11-15T10:23:45Z';
const WEEKLY: HourCuts = { calendar: { anchorMs: ms('2026-11-18T10:00:30Z'), interval: 'week', count: 2 } };

/** A customer after changes and mirrors, in order; undefined mirrors nothing. */
function after(...steps: (CustomerChange | { mirrored: MirroredCalendar | undefined })[]): Customer | undefined {
  let customer: Customer | undefined;
  for (const step of steps) {
    const input = { customerId: 'acme', nowMs: NOW_MS };
    customer =
      'mirrored' in step
        ? mirrorCalendar(customer, { ...input, mirrored: step.mirrored })
        : changeCustomer(customer, { ...input, change: step });
  }
  return customer;
}

const sourceOf = (customer: Customer | undefined): string => {
  const { source, calendar } = calendarInForce(customer?.calendars ?? []);
  return `${source} ${new Date(calendar.anchorMs).toISOString()} ${calendar.interval} ${calendar.count ?? 1}`;
};

describe('the billing calendar of a customer', () => {
  it('is the month, what was stated, or that of its subscriptions, which wins', () => {
    const stated = { billingAnchor: ANCHOR, billingInterval: 'year' as const };
    expect(sourceOf(after({ name: 'Acme' }))).toBe('default 2000-01-01T00:00:00.000Z month 1');
    expect(sourceOf(after(stated))).toBe('stated 2026-11-15T10:23:45.000Z year 1');
    expect(sourceOf(after(stated, { mirrored: WEEKLY }))).toBe('subscription 2026-11-18T10:00:30.000Z week 2');
    expect(sourceOf(after({ mirrored: WEEKLY }, stated))).toBe('subscription 2026-11-18T10:00:30.000Z week 2');
  });

  it('is what is stated once no subscription bills usage any more', () => {
    const customer = after({ mirrored: WEEKLY }, { billingAnchor: ANCHOR }, { mirrored: undefined });
    expect(sourceOf(customer)).toBe('stated 2026-11-15T10:23:45.000Z month 1');
    expect(customer?.calendars.map(({ layout }) => layout)).toEqual([1, 2]);
    expect(sourceOf(after({ mirrored: WEEKLY }, { mirrored: undefined }))).toMatch(/^default/);
    expect(after({ mirrored: undefined })).toBeUndefined();
  });

  it('splits hours at every subscription, and gets no new layout for what splits none', () => {
    const cuts: HourCuts = {
      calendar: monthly(ANCHOR),
      also: [monthly('2026-11-16T10:50:00Z'), monthly('2026-11-17T09:00:01Z')],
      splitsMs: [ms('2026-11-02T00:00:01Z'), ms('2026-11-03T07:30:00.5Z')],
    };
    const customer = after({ mirrored: cuts });
    expect(calendarsOf(customer?.calendars ?? []).at(-1)).toEqual({
      layout: 1,
      calendar: monthly(ANCHOR),
      also: cuts.also,
      splitsMs: [ms('2026-11-02T00:00:01Z'), ms('2026-11-03T07:30:00Z')],
    });
    const alike: HourCuts = {
      calendar: { ...cuts.calendar, count: 1 },
      also: [...(cuts.also ?? []).toReversed(), monthly(ANCHOR), monthly('2026-01-01T09:00:00Z')],
      splitsMs: [...(cuts.splitsMs ?? []), ms('2026-10-15T10:23:45Z'), ms('2026-11-04T00:00:00Z')],
    };
    expect(after({ mirrored: cuts }, { mirrored: alike })).toEqual(customer);
    expect(after({ mirrored: cuts }, { mirrored: { calendar: cuts.calendar } })?.calendars).toHaveLength(2);
  });

  it('goes on to split hours where periods of another subscription began before they were moved', () => {
    const [first, moved] = [monthly('2026-10-16T10:50:01Z'), monthly('2026-11-17T11:00:02Z')];
    const customer = after(
      { mirrored: { calendar: monthly(ANCHOR), also: [first] } },
      { mirrored: { calendar: monthly(ANCHOR), also: [moved] } },
    );
    expect(calendarsOf(customer?.calendars ?? []).at(-1)?.also).toEqual([first, moved]);
  });

  it('keeps its layout when subscriptions say what was stated', () => {
    const customer = after({ billingAnchor: ANCHOR }, { mirrored: { calendar: monthly(ANCHOR) } });
    expect(customer?.calendars).toEqual([{ layout: 1, source: 'subscription', anchor: at(ANCHOR), interval: 'month' }]);
    expect(customer?.revision).toBe(2);
  });

  it.each([
    ['the earlier start of the open period', { calendar: monthly(ANCHOR) }, '2026-11-01T00:00:00Z'],
    [
      'the period before, while its invoice may be a draft',
      { calendar: monthly('2026-11-20T00:00:10Z') },
      '2026-10-20T00:00:10Z',
    ],
    [
      'the open period of a further subscription',
      { calendar: monthly(ANCHOR), also: [monthly('2026-10-25T10:00:01Z')] },
      '2026-10-25T10:00:01Z',
    ],
    [
      'where a subscription began',
      { calendar: monthly(ANCHOR), splitsMs: [ms('2026-10-30T10:00:01Z')] },
      '2026-10-30T10:00:01Z',
    ],
  ] as [string, HourCuts, string][])('when it changes, has usage split anew from %s', (_, mirrored, expected) => {
    expect(after({ name: 'Acme' }, { mirrored })?.requeueFrom).toEqual(at(expected));
  });

  it('moves back where submission begins when its open period began earlier than it seemed', () => {
    const mirrored = { calendar: monthly('2026-10-25T00:00:00Z') };
    expect(after({ stripeCustomerId: 'cus_1' }, { mirrored })?.submitFrom).toEqual(at('2026-10-25T00:00:00Z'));
  });

  describe('over time', () => {
    const days = (customer: Customer | undefined, ...instants: string[]): string[] => {
      const calendar = calendarsOf(customer?.calendars ?? []).at(-1)?.calendar;
      return instants.map((instant) => {
        if (calendar === undefined) throw new Error('no calendar');
        const { fromMs, toMs } = periodContaining(calendar, ms(instant));
        return [fromMs, toMs].map((end) => new Date(end).toISOString().slice(5, 10)).join(' ');
      });
    };
    const of = (subscription: string, anchor: string, since: string): { mirrored: MirroredCalendar } => ({
      mirrored: { calendar: monthly(anchor), subscription, sinceMs: ms(since), anchoredAtMs: ms(anchor) },
    });

    it('begins where the subscription does, also between two anchors', () => {
      const customer = after(of('sub_1', '2026-11-20T00:00:00Z', '2026-11-05T00:00:00Z'));
      const expected = ['11-01 11-05', '11-05 11-20', '11-20 12-20'];
      expect(days(customer, '2026-11-03', '2026-11-10', '2026-11-25')).toEqual(expected);
    });

    it('keeps the periods from before an anchor was set anew', () => {
      const first = of('sub_1', '2026-09-05T00:00:00Z', '2026-09-05T00:00:00Z');
      const reset = of('sub_1', '2026-11-12T00:00:00Z', '2026-09-05T00:00:00Z');
      const customer = after(first, reset);
      const expected = ['10-05 11-05', '11-05 11-12', '11-12 12-12'];
      expect(days(customer, '2026-10-20', '2026-11-10', '2026-11-25')).toEqual(expected);
      expect(after(first, reset, reset)).toEqual(customer);
    });

    it('keeps the periods of a subscription that another one follows, once however often it is mirrored', () => {
      const first = of('sub_1', '2026-09-05T00:00:00Z', '2026-09-05T00:00:00Z');
      const second = of('sub_2', '2026-11-12T00:00:00Z', '2026-11-12T00:00:00Z');
      const customer = after(first, second);
      expect(days(customer, '2026-11-10', '2026-11-25')).toEqual(['11-05 11-12', '11-12 12-12']);
      expect(after(first, second, second)).toEqual(customer);
      expect(days(after(first, second, first), '2026-11-10')).toEqual(['11-05 12-05']);
    });

    const trialOf = (subscription: string, from: string, to: string): { mirrored: MirroredCalendar } => {
      const { mirrored } = of(subscription, to, to);
      return { mirrored: { ...mirrored, trial: { fromMs: ms(from), toMs: ms(to) } } };
    };

    it('has one period for a trial, not calendar months, and the one before ends where it begins', () => {
      const trial = trialOf('sub_1', '2026-09-10T00:00:00Z', '2026-11-25T12:00:01Z');
      const customer = after(trial);
      const expected = ['09-01 09-10', '09-10 11-25', '09-10 11-25', '11-25 12-25'];
      expect(days(customer, '2026-09-09', '2026-10-01', '2026-11-25T12:00:00Z', '2026-11-26')).toEqual(expected);
      expect(after(trial, trial)).toEqual(customer);
    });

    it('follows a trial that is given, extended by whole months or ended at once in the midst of a subscription', () => {
      const first = of('sub_1', '2026-09-05T00:00:00Z', '2026-09-05T00:00:00Z');
      const trial = trialOf('sub_1', '2026-10-12T00:00:00Z', '2026-10-26T00:00:00Z');
      const extended = trialOf('sub_1', '2026-10-12T00:00:00Z', '2026-12-26T00:00:00Z');
      const ended = trialOf('sub_1', '2026-10-12T00:00:00Z', '2026-10-20T00:00:00Z');
      const instants = ['2026-09-20', '2026-10-11', '2026-10-13', '2026-12-27'] as const;
      expect(days(after(first, trial), ...instants)).toEqual([
        '09-05 10-05',
        '10-05 10-12',
        '10-12 10-26',
        '12-26 01-26',
      ]);
      expect(days(after(first, trial, extended), ...instants)[2]).toBe('10-12 12-26');
      expect(days(after(first, trial, ended), ...instants).slice(2)).toEqual(['10-12 10-20', '12-20 01-20']);
    });

    it('keeps periods that were moved after a trial', () => {
      const trial = trialOf('sub_1', '2026-10-12T00:00:00Z', '2026-11-01T00:00:00Z');
      const moved = (to: string): { mirrored: MirroredCalendar } => ({
        mirrored: { ...trial.mirrored, calendar: monthly(to), anchoredAtMs: ms(to) },
      });
      const customer = after(trial, moved('2026-11-12T00:00:00Z'), moved('2026-11-20T00:00:00Z'));
      const expected = ['10-12 11-01', '11-01 11-12', '11-12 11-20', '11-20 12-20'];
      expect(days(customer, '2026-10-20', '2026-11-10', '2026-11-15', '2026-11-25')).toEqual(expected);
    });

    it('remembers only so many', () => {
      const steps = Array.from({ length: 40 }, (_, index) => {
        const at = new Date(ms('2026-01-01T00:00:00Z') + index * DAY_MS).toISOString();
        return of(`sub_${index}`, at, at);
      });
      const text = JSON.stringify(after(...steps)?.calendars.at(-1));
      expect(text.split('former').length - 1).toBe(11);
    });
  });
});
