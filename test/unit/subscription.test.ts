import { describe, expect, it } from 'vitest';
import { finalPeriods, type Invoice } from '../../src/mirror/invoice.ts';
import { periodContaining } from '../../src/customers/calendar/period.ts';
import { mirroredCalendar, type Subscription, type SubscriptionItem } from '../../src/mirror/subscription.ts';
import { readRejectionReport } from '../../src/webhooks/webhook-rejections.ts';

const at = (text: string): Date => new Date(text);
const ms = (text: string): number => Date.parse(text);

function item(fields: Partial<SubscriptionItem> = {}): SubscriptionItem {
  return {
    id: 'si_1',
    priceId: 'price_1',
    stripeMeterId: 'mtr_1',
    interval: 'month',
    intervalCount: 1,
    currentPeriodStart: at('2026-01-31T10:23:45Z'),
    currentPeriodEnd: at('2026-02-28T10:23:45Z'),
    ...fields,
  };
}

function subscription(id: string, fields: Partial<Subscription> = {}): Subscription {
  return {
    _id: id,
    stripeCustomerId: 'cus_1',
    status: 'active',
    items: [item()],
    billingCycleAnchor: at('2026-01-31T10:23:45Z'),
    startAt: at('2026-01-31T10:23:45Z'),
    ...fields,
  };
}

describe('the calendar of a customer from its subscriptions', () => {
  it('is none without a subscription that bills usage', () => {
    const { stripeMeterId: _none, ...licensed } = item();
    expect(mirroredCalendar([])).toBeUndefined();
    expect(mirroredCalendar([subscription('sub_1', { items: [licensed] })])).toBeUndefined();
    expect(mirroredCalendar([subscription('sub_1', { status: 'incomplete' })])).toBeUndefined();
    expect(mirroredCalendar([subscription('sub_1', { status: 'incomplete_expired' })])).toBeUndefined();
    expect(mirroredCalendar([subscription('sub_1', { items: [item({ interval: 'decade' })] })])).toBeUndefined();
  });

  it('is that of the one that started first of those that have not ended, and is split at every start and end', () => {
    const ended = subscription('sub_1', { startAt: at('2025-01-01T00:00:00Z'), endedAt: at('2026-01-31T10:23:45Z') });
    const first = subscription('sub_3', {
      startAt: at('2026-02-01T00:00:00Z'),
      billingCycleAnchor: at('2026-02-05T08:00:00Z'),
      items: [item({ interval: 'week', intervalCount: 2 })],
    });
    const second = subscription('sub_2', { startAt: at('2026-03-01T00:00:00Z'), status: 'past_due' });
    const expected = {
      calendar: { anchorMs: ms('2026-02-05T08:00:00Z'), interval: 'week', count: 2 },
      also: [{ anchorMs: ms('2026-01-31T10:23:45Z'), interval: 'month', count: 1 }],
      splitsMs: ['2025-01-01T00:00:00Z', '2026-01-31T10:23:45Z', '2026-02-01T00:00:00Z', '2026-03-01T00:00:00Z'].map(
        ms,
      ),
      subscription: 'sub_3',
      sinceMs: ms('2026-02-01T00:00:00Z'),
      anchoredAtMs: ms('2026-02-05T08:00:00Z'),
    };
    expect(mirroredCalendar([ended, first, second])).toEqual(expected);
    expect(mirroredCalendar([second, ended, first])).toEqual(expected);
    const boundaries = ['2026-03-05T07:00:01Z', '2026-02-01T00:00:00Z', '2026-02-03T07:00:01Z'].map(at);
    expect(mirroredCalendar([ended, first, second], boundaries)?.splitsMs).toEqual(
      [...expected.splitsMs, ms('2026-02-03T07:00:01Z'), ms('2026-03-05T07:00:01Z')].sort((a, b) => a - b),
    );
  });

  it.each([
    ['its start', {}, '2026-01-31T10:23:45Z'],
    [
      'its start, also before its first anchor',
      { billingCycleAnchor: at('2026-02-20T00:00:00Z') },
      '2026-01-31T10:23:45Z',
    ],
    ['where it was anchored anew', { billingCycleAnchor: at('2026-05-20T00:00:00Z') }, '2026-05-20T00:00:00Z'],
  ] as const)('holds from %s on', (_, fields, since) => {
    expect(mirroredCalendar([subscription('sub_1', fields)])?.sinceMs).toBe(ms(since));
  });

  it('holds from the end of a trial on, which is a period of its own however long it is', () => {
    const fields = { trialStart: at('2026-01-31T10:23:45Z'), status: 'trialing' };
    for (const end of ['2026-02-14T10:23:45Z', '2026-05-20T12:00:01Z', '2027-05-20T12:00:01Z']) {
      const trialing = subscription('sub_1', { ...fields, trialEnd: at(end), billingCycleAnchor: at(end) });
      const mirrored = mirroredCalendar([trialing]);
      expect(mirrored).toMatchObject({
        sinceMs: ms(end),
        trial: { fromMs: ms('2026-01-31T10:23:45Z'), toMs: ms(end) },
        also: [],
      });
      expect(mirroredCalendar([{ ...trialing, status: 'active' }])).toEqual(mirrored);
    }
    const moved = subscription('sub_1', { ...fields, trialEnd: at('2026-02-14T00:00:00Z') });
    expect(mirroredCalendar([{ ...moved, billingCycleAnchor: at('2026-08-01T00:00:00Z') }])?.trial).toBeUndefined();
  });

  it('holds from the end of the one that decided before, and splits its own hours before that', () => {
    const ended = subscription('sub_1', { startAt: at('2025-06-01T00:00:00Z'), endedAt: at('2026-03-01T00:00:00Z') });
    const fields = { startAt: at('2026-02-10T10:00:01Z'), billingCycleAnchor: at('2026-02-10T10:00:01Z') };
    const mirrored = mirroredCalendar([ended, subscription('sub_2', fields)]);
    expect(mirrored?.sinceMs).toBe(ms('2026-03-01T00:00:00Z'));
    expect(mirrored?.also).toContainEqual(mirrored?.calendar);
  });

  it('is that of the one that ended last when all have', () => {
    const early = subscription('sub_1', { endedAt: at('2026-03-01T00:00:00Z') });
    const late = subscription('sub_2', {
      endedAt: at('2026-04-01T00:00:00Z'),
      billingCycleAnchor: at('2026-02-10T00:00:00Z'),
    });
    expect(mirroredCalendar([early, late])?.calendar.anchorMs).toBe(ms('2026-02-10T00:00:00Z'));
  });

  it('follows the shortest period of a subscription whose prices have several', () => {
    const items = [item({ interval: 'year' }), item({ id: 'si_2' }), item({ id: 'si_3', intervalCount: 3 })];
    const { calendar, also } = mirroredCalendar([subscription('sub_1', { items })]) ?? {};
    expect(calendar).toMatchObject({ interval: 'month', count: 1 });
    expect(also).toMatchObject([{ interval: 'month', count: 3 }, { interval: 'year' }]);
  });

  it('returns to a chosen day of the month that the first month did not have', () => {
    const billingCycleAnchor = at('2026-04-30T10:23:45Z');
    const of = (fields: Partial<Subscription>) =>
      mirroredCalendar([subscription('sub_1', { billingCycleAnchor, ...fields })]);
    const calendar = of({ anchorDay: 31 })?.calendar;
    expect(calendar?.anchorMs).toBe(ms('2026-05-31T10:23:45Z'));
    const start = (text: string) => calendar && new Date(periodContaining(calendar, ms(text)).fromMs).toISOString();
    expect(start('2026-05-15T00:00:00Z')).toBe('2026-04-30T10:23:45.000Z');
    expect(start('2026-07-15T00:00:00Z')).toBe('2026-06-30T10:23:45.000Z');
    expect(start('2028-03-15T00:00:00Z')).toBe('2028-02-29T10:23:45.000Z');
    expect(of({ anchorDay: 30 })?.calendar.anchorMs).toBe(billingCycleAnchor.getTime());
    const yearly = of({ anchorDay: 31, items: [item({ interval: 'year' })] });
    expect(yearly?.calendar.anchorMs).toBe(billingCycleAnchor.getTime());
  });
});

describe('the periods that an invoice closes', () => {
  const invoice: Invoice = {
    _id: 'in_1',
    stripeCustomerId: 'cus_1',
    status: 'open',
    billingReason: 'subscription_cycle',
    autoAdvance: true,
    createdAt: at('2026-02-28T10:23:45Z'),
    finalizedAt: at('2026-02-28T11:30:00Z'),
    lines: [
      { id: 'il_1', stripeMeterId: 'mtr_1', from: at('2026-01-31T10:23:45Z'), to: at('2026-02-28T10:23:45Z') },
      { id: 'il_2', from: at('2026-02-28T10:23:45Z'), to: at('2026-03-31T10:23:45Z') },
    ],
  };
  const { finalizedAt: _finalizedAt, ...unfinished } = invoice;
  const closed = {
    stripeMeterId: 'mtr_1',
    fromMs: ms('2026-01-31T10:23:45Z'),
    toMs: ms('2026-02-28T10:23:45Z'),
    finalizedAtMs: ms('2026-02-28T11:30:00Z'),
    invoiceId: 'in_1',
  };

  it.each(['open', 'paid', 'uncollectible', 'void'])(
    'are those of its lines that bill usage once it is %s',
    (status) => {
      expect(finalPeriods({ ...invoice, status })).toEqual([closed]);
    },
  );

  it('are none while it is a draft', () => {
    expect(finalPeriods({ ...unfinished, status: 'draft' })).toEqual([]);
  });

  it('are none that end after it was finalised, nor any of an invoice over a threshold', () => {
    const first = { ...invoice, billingReason: 'subscription_create', finalizedAt: at('2026-01-31T10:23:46Z') };
    expect(finalPeriods(first)).toEqual([]);
    expect(finalPeriods({ ...invoice, billingReason: 'subscription_threshold' })).toEqual([]);
  });
});

describe('a report of meter events that were refused', () => {
  const report = (request: unknown): unknown => ({
    developer_message_summary: 'There is 1 invalid event',
    reason: {
      error_count: 7,
      error_types: [
        { code: 'no_meter', error_count: 7, sample_errors: [{ error_message: 'No meter was found.', request }] },
      ],
    },
  });

  it.each([
    ['identifier', { identifier: 'tly-1' }],
    ['idempotency key', { id: '', idempotency_key: 'tly-1' }],
    ['identifier where both are told', { identifier: 'tly-1', idempotency_key: 'other' }],
  ])('names its samples by the %s', (_name, request) => {
    expect(readRejectionReport('evt_1', report(request))).toEqual({
      eventId: 'evt_1',
      errorCount: 7,
      samples: [{ code: 'no_meter', message: 'No meter was found.', identifier: 'tly-1' }],
    });
  });

  it.each([
    ['a sample that names nothing', report({ id: 'req_1' }), 7],
    ['a sample without a request', report(null), 7],
    ['no data', undefined, 0],
    ['data of another form', { reason: { error_types: 'none' } }, 0],
  ])('has no samples in %s', (_name, data, errorCount) => {
    expect(readRejectionReport('evt_1', data)).toEqual({ eventId: 'evt_1', errorCount, samples: [] });
  });
});
