import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/platform/clock.ts';
import { dayMs, hourMs, periodOf, refusalOf, startSeconds, toInstant, withPrice } from './simulator-fixture.ts';

describe('prices of the Stripe simulator', () => {
  it('are backed by a meter and keep decimals of a cent', () =>
    withPrice({}, async ({ stripe, price, meterId }) => {
      const again = await stripe.prices.retrieve(price.id);
      expect(again).toMatchObject({ type: 'recurring', unit_amount: null, recurring: { meter: meterId } });
      expect(again.unit_amount_decimal?.toString()).toBe('0.5');
      expect((await stripe.prices.list({ recurring: { meter: meterId } })).data).toEqual([again]);
      expect((await stripe.prices.list({ active: false })).data).toEqual([]);
    }));

  it.each([
    [{ recurring: { interval: 'month', usage_type: 'metered' } }, 'parameter_missing'],
    [{ recurring: { interval: 'month', meter: 'mtr_x', usage_type: 'metered' } }, 'resource_missing'],
    [{ unit_amount: 3, unit_amount_decimal: '3' }, undefined],
    [{ tiers_mode: 'volume' }, 'parameter_unknown'],
  ])('are refused with %o', (more, code) =>
    withPrice({}, async ({ stripe }) => {
      const params = { currency: 'usd', product_data: { name: 'x' }, ...more };
      const refusal = await refusalOf(stripe.prices.create(params as unknown as { currency: string }));
      expect(refusal?.statusCode).toBeGreaterThanOrEqual(400);
      expect(refusal?.code).toBe(code);
    }),
  );
});

describe('subscriptions of the Stripe simulator', () => {
  it('have their periods on the items and are active at once', () =>
    withPrice({}, async ({ subscribe, stripe, price }) => {
      const subscription = await subscribe({ metadata: { plan: 'a' } });
      expect(subscription).toMatchObject({
        status: 'active',
        billing_cycle_anchor: startSeconds,
        start_date: startSeconds,
      });
      expect(subscription).not.toHaveProperty('current_period_end');
      expect(periodOf(subscription)).toEqual(['2026-06-01T00:00:00Z', '2026-07-01T00:00:00Z']);
      expect(subscription.items.data[0]?.price).toMatchObject({ id: price.id, recurring: { usage_type: 'metered' } });
      expect(await stripe.subscriptions.retrieve(subscription.id)).toEqual(subscription);
    }));

  it.each([
    ['2026-01-31T10:23:45Z', ['2026-02-28T10:23:45Z', '2026-03-31T10:23:45Z', '2026-04-30T10:23:45Z']],
    ['2028-01-31T23:59:59Z', ['2028-02-29T23:59:59Z', '2028-03-31T23:59:59Z']],
    ['2027-12-30T00:00:00Z', ['2028-01-30T00:00:00Z', '2028-02-29T00:00:00Z', '2028-03-30T00:00:00Z']],
  ])('anchored at %s end their months at the days there are', (start, ends) => {
    const clock = new ManualClock(Date.parse(start));
    return withPrice({ clock }, async ({ simulator, subscribe, stripe }) => {
      const { id } = await subscribe();
      for (const end of ends) {
        expect(periodOf(await stripe.subscriptions.retrieve(id))[1]).toBe(end);
        await simulator.advanceTo(Date.parse(end));
      }
      expect(simulator.invoices().filter(({ billing_reason }) => billing_reason === 'subscription_cycle')).toHaveLength(
        ends.length,
      );
    });
  });

  it('of 29 February end their years on the 28th until there is a 29th again', () => {
    const clock = new ManualClock(Date.parse('2028-02-29T12:00:00Z'));
    return withPrice({ clock }, async ({ simulator, subscribe, stripe, meterId }) => {
      const yearly = await stripe.prices.create({
        currency: 'usd',
        product_data: { name: 'Year' },
        recurring: { interval: 'year', usage_type: 'metered', meter: meterId },
        unit_amount: 1,
      });
      const { id } = await subscribe({ items: [{ price: yearly.id }] });
      await simulator.advanceTo(Date.parse('2031-12-31T00:00:00Z'));
      expect(periodOf(await stripe.subscriptions.retrieve(id))).toEqual([
        '2031-02-28T12:00:00Z',
        '2032-02-29T12:00:00Z',
      ]);
    });
  });

  it('with an anchor ahead begin with a shorter period', () =>
    withPrice({}, async ({ subscribe }) => {
      const anchor = startSeconds + 10 * 86_400;
      const subscription = await subscribe({ billing_cycle_anchor: anchor, proration_behavior: 'none' });
      expect(periodOf(subscription)).toEqual(['2026-06-01T00:00:00Z', '2026-06-11T00:00:00Z']);
      const refusals = [
        subscribe({ billing_cycle_anchor: startSeconds - 1 }),
        subscribe({ billing_cycle_anchor: startSeconds + 40 * 86_400 }),
        subscribe({ items: [] }),
        subscribe({ customer: 'cus_none' }),
        subscribe({ items: [{ price: subscription.items.data[0]?.price.id ?? '', quantity: 2 }] }),
        subscribe({ trial_period_days: 731 }),
        subscribe({ trial_end: startSeconds }),
        subscribe({ trial_end: startSeconds + 60, trial_period_days: 3 }),
      ];
      for (const call of refusals) expect((await refusalOf(call))?.type).toBe('StripeInvalidRequestError');
    }));

  it('move their anchor to now and invoice what was used until then', () =>
    withPrice({}, async ({ simulator, subscribe, stripe, send, clock }) => {
      const { id } = await subscribe();
      await send({ value: '1000.5' });
      clock.advance(10 * dayMs + 5_000);
      const moved = await stripe.subscriptions.update(id, {
        billing_cycle_anchor: { type: 'now' },
        proration_behavior: 'none',
      });
      expect(periodOf(moved)).toEqual(['2026-06-11T00:00:05Z', '2026-07-11T00:00:05Z']);
      const invoice = simulator.invoices().at(-1);
      expect(invoice).toMatchObject({ billing_reason: 'subscription_update', status: 'paid', total: 500 });
      expect(invoice?.lines.data[0]).toMatchObject({ quantity: 1000, quantity_decimal: '1000.5' });
      const updated = simulator.events().findLast(({ type }) => type === 'customer.subscription.updated');
      expect(updated?.data.previous_attributes).toMatchObject({ billing_cycle_anchor: startSeconds });
    }));

  it('can hold items of different intervals, each with its own period', () =>
    withPrice({}, async ({ simulator, subscribe, stripe, price, meterId }) => {
      const weekly = await stripe.prices.create({
        currency: 'usd',
        product_data: { name: 'Week' },
        recurring: { interval: 'week', interval_count: 2, usage_type: 'metered', meter: meterId },
        unit_amount: 1,
      });
      const { id } = await subscribe({ items: [{ price: price.id }, { price: weekly.id }] });
      await simulator.advanceTo(Date.parse('2026-06-20T00:00:00Z'));
      const { items } = await stripe.subscriptions.retrieve(id);
      expect(items.data.map((item) => toInstant(item.current_period_end))).toEqual([
        '2026-07-01T00:00:00Z',
        '2026-06-29T00:00:00Z',
      ]);
    }));

  it('end at once without their usage, or at the end of the period with it', () =>
    withPrice({}, async ({ simulator, subscribe, stripe, send, clock }) => {
      const atOnce = await subscribe();
      const later = await subscribe();
      await send({ value: '100' });
      clock.advance(dayMs);
      expect((await stripe.subscriptions.cancel(atOnce.id)).status).toBe('canceled');
      const pending = await stripe.subscriptions.update(later.id, { cancel_at_period_end: true });
      expect(toInstant(pending.cancel_at)).toBe('2026-07-01T00:00:00Z');
      await simulator.advanceTo(Date.parse('2026-07-01T02:00:00Z'));
      const ended = await stripe.subscriptions.retrieve(later.id);
      expect([ended.status, toInstant(ended.ended_at)]).toEqual(['canceled', '2026-07-01T00:00:00Z']);
      const cycles = simulator.invoices().filter(({ billing_reason }) => billing_reason === 'subscription_cycle');
      expect(cycles).toMatchObject([{ status: 'paid', total: 50 }]);
      await simulator.advanceTo(clock.now() + 90 * dayMs);
      expect(simulator.invoices().at(-1)?.id).toBe(cycles[0]?.id);
      expect((await stripe.subscriptions.list({})).data).toEqual([]);
      expect((await stripe.subscriptions.list({ status: 'all' })).data).toHaveLength(2);
      expect((await refusalOf(stripe.subscriptions.update(later.id, { metadata: { a: '1' } })))?.statusCode).toBe(404);
    }));

  it('end with their customer, or at once with an invoice of what was used', () =>
    withPrice({}, async ({ simulator, subscribe, stripe, send, clock, customerId }) => {
      const [first, second] = [await subscribe(), await subscribe()];
      await send({ value: '100' });
      clock.advance(1_000);
      await stripe.subscriptions.cancel(first.id, { invoice_now: true });
      expect(simulator.invoices().at(-1)).toMatchObject({ total: 50, status: 'paid' });
      await stripe.customers.del(customerId);
      expect((await stripe.subscriptions.retrieve(second.id)).status).toBe('canceled');
      simulator.trigger('invoice.paid');
      expect(simulator.events().slice(-2)).toMatchObject([
        { type: 'customer.subscription.deleted', data: { object: { id: second.id } } },
        { type: 'invoice.paid', data: { object: { id: simulator.invoices().at(-1)?.id } } },
      ]);
    }));

  it('are past due while a payment is retried, and end with the last retry', () =>
    withPrice({ payments: ({ attempt }) => (attempt > 1 ? 'succeed' : 'fail') }, async (fixture) => {
      const { simulator, subscribe, stripe, send, clock } = fixture;
      const { id } = await subscribe();
      await send({ value: '1000' });
      const dueAt = Date.parse('2026-07-01T01:00:00Z');
      await simulator.advanceTo(dueAt);
      const [failed] = (await stripe.invoices.list({ status: 'open' })).data;
      expect(failed).toMatchObject({ attempt_count: 1, next_payment_attempt: (dueAt + 3 * dayMs) / 1000 });
      expect((await stripe.subscriptions.retrieve(id)).status).toBe('past_due');
      await simulator.advanceTo(dueAt + 3 * dayMs);
      expect((await stripe.subscriptions.retrieve(id)).status).toBe('active');
      expect(await stripe.invoices.retrieve(failed?.id ?? '')).toMatchObject({ status: 'paid', attempt_count: 2 });

      simulator.switches.payments = 'fail';
      await send({ value: '1000' });
      await simulator.advanceTo(clock.now() + 60 * dayMs + hourMs);
      const ended = await stripe.subscriptions.retrieve(id);
      expect(ended).toMatchObject({ status: 'canceled', cancellation_details: { reason: 'payment_failed' } });
      const types = simulator.events().map(({ type }) => type);
      expect(types.filter((type) => type === 'invoice.payment_failed')).toHaveLength(5);
      expect(types.at(-1)).toBe('customer.subscription.deleted');
    }));

  it('begin incomplete where the first invoice cannot be paid, and expire after 23 hours', () =>
    withPrice({ payments: 'fail' }, async ({ simulator, subscribe, stripe }) => {
      const licence = await stripe.prices.create({
        currency: 'usd',
        product_data: { name: 'Base' },
        recurring: { interval: 'month' },
        unit_amount: 900,
      });
      const { id } = await subscribe({ items: [{ price: licence.id, quantity: 2 }] });
      expect(simulator.invoices()).toMatchObject([{ status: 'open', total: 1_800 }]);
      expect((await stripe.subscriptions.retrieve(id)).status).toBe('incomplete');
      await simulator.advanceTo((startSeconds + 23 * 3_600) * 1000);
      expect((await stripe.subscriptions.retrieve(id)).status).toBe('incomplete_expired');
      expect(simulator.invoices()).toMatchObject([{ status: 'void' }]);
    }));

  it('go through every period when the clock jumps over several', () =>
    withPrice({ eventTwins: 1 }, async ({ simulator, subscribe, send, clock, customerId }) => {
      const { id } = await subscribe();
      await send({ value: '5' });
      clock.advance(Date.parse('2026-09-01T00:30:00Z') - clock.now());
      expect(simulator.invoices().map(({ status, created }) => [status, toInstant(created)])).toEqual([
        ['paid', '2026-06-01T00:00:00Z'],
        ['paid', '2026-07-01T00:00:00Z'],
        ['paid', '2026-08-01T00:00:00Z'],
        ['draft', '2026-09-01T00:00:00Z'],
      ]);
      expect(simulator.subscriptions()).toMatchObject([{ id, customer: customerId, status: 'active' }]);
      const created = simulator.events().filter(({ type }) => type === 'invoice.created');
      expect(created).toHaveLength(8);
      expect(created[0]?.data).toEqual(created[1]?.data);
      expect(created[0]?.id).not.toBe(created[1]?.id);
    }));
});
