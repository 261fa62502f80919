import type { Stripe } from 'stripe';
import { describe, expect, it } from 'vitest';
import type { SimulatorFixture } from './simulator-fixture.ts';
import { dayMs, hourMs, refusalOf, startSeconds, withSimulator } from './simulator-fixture.ts';

const hour = 3_600;
const day = 24 * hour;

interface Ready extends SimulatorFixture {
  customerId: string;
  meterId: string;
  /** Sends a value stamped so many seconds from the start. */
  send: (atSeconds: number, value: string, identifier?: string) => Promise<void>;
  /** Summaries of a range, in seconds from the start. */
  read: (
    fromSeconds: number,
    toSeconds: number,
    more?: object,
  ) => Promise<Stripe.ApiList<Stripe.Billing.MeterEventSummary>>;
}

/** A simulator whose clock stands a week after the start, with one customer and one meter. */
function withUsage(
  setup: {
    options?: Parameters<typeof withSimulator>[0];
    meter?: Partial<Stripe.Billing.MeterCreateParams>;
  },
  use: (ready: Ready) => Promise<void>,
): Promise<void> {
  return withSimulator(setup.options ?? {}, async (fixture) => {
    fixture.clock.advance(7 * dayMs);
    const customerId = await fixture.customer();
    const { id: meterId } = await fixture.meter('calls', setup.meter);
    await use({
      ...fixture,
      customerId,
      meterId,
      send: async (atSeconds, value, identifier) => {
        await fixture.stripe.billing.meterEvents.create({
          event_name: 'calls',
          payload: { stripe_customer_id: customerId, value },
          timestamp: startSeconds + atSeconds,
          ...(identifier !== undefined && { identifier }),
        });
      },
      read: (fromSeconds, toSeconds, more = {}) =>
        fixture.stripe.billing.meters.listEventSummaries(meterId, {
          customer: customerId,
          start_time: startSeconds + fromSeconds,
          end_time: startSeconds + toSeconds,
          ...more,
        }),
    });
  });
}

/** Rows as [start, value], in seconds from the start. */
function rowsOf(list: Stripe.ApiList<Stripe.Billing.MeterEventSummary>): [number, number][] {
  return list.data.map((row) => [row.start_time - startSeconds, row.aggregated_value]);
}

describe('event summaries of the Stripe simulator', () => {
  it('gives one row for a range, half-open', () =>
    withUsage({}, async ({ send, read, meterId }) => {
      await send(0, '1');
      await send(hour - 1, '0.5');
      await send(hour, '100');
      const list = await read(0, hour);
      expect(list).toMatchObject({ object: 'list', has_more: false });
      expect(list.data).toEqual([
        {
          id: expect.stringMatching(/^mtrusg_/),
          object: 'billing.meter_event_summary',
          aggregated_value: 1.5,
          start_time: startSeconds,
          end_time: startSeconds + hour,
          livemode: false,
          meter: meterId,
        },
      ]);
      expect(rowsOf(await read(hour, 2 * hour))).toEqual([[hour, 100]]);
    }));

  it('counts an event at the very end too when told that the end is inclusive', () =>
    withUsage({ options: { summaryEnd: 'inclusive' } }, async ({ send, read }) => {
      await send(hour, '3');
      expect(rowsOf(await read(0, hour))).toEqual([[0, 3]]);
    }));

  it('groups by hour, newest first, and leaves empty hours out', () =>
    withUsage({}, async ({ send, read }) => {
      for (const [at, value] of [
        [10, '1'],
        [20, '2'],
        [5 * hour, '4'],
        [23 * hour + 3_599, '8'],
        [day, '16'],
      ] as const) {
        await send(at, value);
      }
      const rows = rowsOf(await read(0, day, { value_grouping_window: 'hour' }));
      expect(rows).toEqual([
        [23 * hour, 8],
        [5 * hour, 4],
        [0, 3],
      ]);
    }));

  it('groups by UTC day', () =>
    withUsage({}, async ({ send, read }) => {
      await send(1, '1');
      await send(day - 1, '2');
      await send(3 * day, '4');
      expect(rowsOf(await read(0, 5 * day, { value_grouping_window: 'day' }))).toEqual([
        [3 * day, 4],
        [0, 3],
      ]);
    }));

  it('gives ten rows a page unless told, and pages both ways', () =>
    withUsage({}, async ({ stripe, send, read, customerId, meterId }) => {
      for (let i = 0; i < 25; i += 1) await send(i * hour, '1');
      const window = { value_grouping_window: 'hour' } as const;
      const first = await read(0, 2 * day, window);
      expect(first.data).toHaveLength(10);
      expect(first.has_more).toBe(true);
      const next = await read(0, 2 * day, { ...window, starting_after: first.data[9]?.id ?? '' });
      expect(rowsOf(next)[0]).toEqual([14 * hour, 1]);
      const back = await read(0, 2 * day, { ...window, ending_before: next.data[0]?.id ?? '' });
      expect(back.data).toEqual(first.data);
      expect(back.has_more).toBe(false);
      let rows = 0;
      const range = { start_time: startSeconds, end_time: startSeconds + 2 * day, limit: 7 };
      const all = stripe.billing.meters.listEventSummaries(meterId, { customer: customerId, ...range, ...window });
      for await (const row of all) rows += row.aggregated_value;
      expect(rows).toBe(25);
    }));

  it.each([
    ['none', []],
    ['zero', [[0, 0]]],
  ] as const)('answers an empty range as told: %s', (emptySummary, rows) =>
    withUsage({ options: { emptySummary } }, async ({ read }) => {
      expect(rowsOf(await read(0, day))).toEqual(rows);
      expect(rowsOf(await read(0, day, { value_grouping_window: 'hour' }))).toEqual([]);
    }),
  );

  it.each([
    [[30, hour], {}, 'start_time', 'minute'],
    [[0, hour + 30], {}, 'end_time', 'minute'],
    [[60, hour], { value_grouping_window: 'hour' }, 'start_time', 'hour'],
    [[0, hour], { value_grouping_window: 'day' }, 'end_time', 'day'],
    [[hour, hour], {}, 'end_time', 'after'],
    [[hour, 0], {}, 'end_time', 'after'],
    [[0, hour], { value_grouping_window: 'month' }, 'value_grouping_window', 'hour, day'],
    [[0, hour], { limit: 101 }, 'limit', '100'],
    [[0, hour], { starting_after: 'mtrusg_none' }, 'starting_after', 'mtrusg_none'],
    [[0, hour], { customer: 'cus_none' }, 'customer', 'cus_none'],
    [[0, hour], { customer: '' }, 'customer', 'empty'],
    [[0, hour], { colour: 'red' }, 'colour', 'unknown'],
  ])('refuses the range %o with %o', ([from = 0, to = 0], more, param, word) =>
    withUsage({}, async ({ read }) => {
      expect(await refusalOf(read(from, to, more))).toMatchObject({
        statusCode: 400,
        param,
        message: expect.stringContaining(word),
      });
    }),
  );

  it('takes a range aligned to minutes inside an hour', () =>
    withUsage({}, async ({ send, read }) => {
      await send(29 * 60, '1');
      await send(30 * 60, '2');
      await send(45 * 60, '4');
      expect(rowsOf(await read(30 * 60, 45 * 60))).toEqual([[30 * 60, 2]]);
    }));

  it.each([
    ['sum', 6],
    ['count', 3],
    ['last', 2],
  ] as const)('aggregates by the formula %s', (formula, value) =>
    withUsage({ meter: { default_aggregation: { formula } } }, async ({ send, read }) => {
      await send(30, '1');
      await send(3 * hour, '2');
      await send(2 * hour, '3');
      expect(rowsOf(await read(0, day))).toEqual([[0, value]]);
    }),
  );

  it('takes for last, of several events of one second, the one received last', () =>
    withUsage({ meter: { default_aggregation: { formula: 'last' } } }, async ({ send, read }) => {
      await send(30, '1');
      await send(30, '2');
      await send(29, '3');
      expect(rowsOf(await read(0, day))).toEqual([[0, 2]]);
    }));

  it.each([
    ['hour', 5, 6],
    ['day', 3, 4],
  ] as const)('lets only the event received last in a UTC %s count on a meter with that window', (window, one, two) =>
    withUsage({ meter: { event_time_window: window } }, async ({ send, read }) => {
      await send(50, '1');
      await send(2 * hour, '2');
      await send(10, '2');
      await send(2 * hour + 1, '3');
      expect(rowsOf(await read(0, day))).toEqual([[0, one]]);
      await send(day, '1');
      expect(rowsOf(await read(0, 2 * day))).toEqual([[0, two]]);
    }),
  );

  it('counts every event of the same second on a meter without a window', () =>
    withUsage({}, async ({ send, read }) => {
      await send(5, '1');
      await send(5, '1');
      expect(rowsOf(await read(0, hour))).toEqual([[0, 2]]);
    }));

  it('writes the exact digits into the JSON, also where doubles would not add up', () =>
    withUsage({}, async ({ send, raw, customerId, meterId }) => {
      for (let i = 0; i < 10; i += 1) await send(i, '0.1');
      await send(10, '12345678901.2');
      const query = `customer=${customerId}&start_time=${startSeconds}&end_time=${startSeconds + hour}`;
      const answer = await raw(`/v1/billing/meters/${meterId}/event_summaries?${query}`);
      expect(await answer.text()).toContain('"aggregated_value":12345678902.2,');
    }));

  it('shows an event only after the lag, and a cancellation with the same delay', () =>
    withUsage({ options: { summaryLagMs: hourMs } }, async ({ stripe, simulator, clock, send, read, customerId }) => {
      await send(0, '1', 'id-1');
      await send(0, '2', 'id-2');
      const query = { customer: customerId, meter: 'calls' };
      expect([simulator.countedTotal(query), simulator.visibleTotal(query)]).toEqual(['3', '0']);
      clock.advance(hourMs - 1);
      expect(rowsOf(await read(0, hour))).toEqual([]);
      clock.advance(1);
      expect(rowsOf(await read(0, hour))).toEqual([[0, 3]]);
      const cancel = { event_name: 'calls', type: 'cancel', cancel: { identifier: 'id-1' } } as const;
      expect(await stripe.billing.meterEventAdjustments.create(cancel)).toMatchObject({ status: 'pending' });
      expect([simulator.countedTotal(query), simulator.visibleTotal(query)]).toEqual(['2', '3']);
      clock.advance(hourMs);
      expect(rowsOf(await read(0, hour))).toEqual([[0, 2]]);
      await send(1, '4');
      expect(rowsOf(await read(0, hour))).toEqual([[0, 2]]);
      clock.advance(hourMs);
      expect(rowsOf(await read(0, hour))).toEqual([[0, 6]]);
    }));

  it('lets each event have a lag of its own, so that a later one may show before an earlier one', () =>
    withUsage(
      { options: { summaryLagMs: ({ identifier }) => (identifier === 'slow' ? dayMs : 0) } },
      async ({ clock, send, read }) => {
        await send(0, '1', 'slow');
        await send(1, '2', 'quick');
        expect(rowsOf(await read(0, hour))).toEqual([[0, 2]]);
        clock.advance(dayMs);
        expect(rowsOf(await read(0, hour))).toEqual([[0, 3]]);
      },
    ));

  it('keeps customers and meters apart', () =>
    withUsage({}, async ({ stripe, meter, customer, send, read, customerId }) => {
      const other = await customer();
      await meter('bytes');
      await send(0, '1');
      const timestamp = startSeconds;
      await stripe.billing.meterEvents.create({
        event_name: 'calls',
        payload: { stripe_customer_id: other, value: '10' },
        timestamp,
      });
      await stripe.billing.meterEvents.create({
        event_name: 'bytes',
        payload: { stripe_customer_id: customerId, value: '100' },
        timestamp,
      });
      expect(rowsOf(await read(0, hour))).toEqual([[0, 1]]);
      expect(rowsOf(await read(0, hour, { customer: other }))).toEqual([[0, 10]]);
    }));
});
