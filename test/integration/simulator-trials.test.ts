import { describe, expect, it } from 'vitest';
import { dayMs, periodOf, startMs, startSeconds, withPrice } from './simulator-fixture.ts';

const DAY = 86_400;

describe('a trial at the Stripe simulator', () => {
  it('is one period until its end, announced three days before, and then periods are counted from there', () =>
    withPrice({}, async ({ simulator, subscribe, stripe, send }) => {
      const { id, ...created } = await subscribe({ trial_period_days: 45 });
      expect(created).toMatchObject({
        status: 'trialing',
        trial_start: startSeconds,
        trial_end: startSeconds + 45 * DAY,
        billing_cycle_anchor: startSeconds + 45 * DAY,
      });
      const [first] = simulator.invoices();
      expect(first).toMatchObject({ billing_reason: 'subscription_create', status: 'paid', total: 0 });
      await send({ value: '1000' });
      await simulator.advanceTo(startMs + 42 * dayMs - 1);
      expect(simulator.events().map(({ type }) => type)).not.toContain('customer.subscription.trial_will_end');
      await simulator.advanceTo(startMs + 46 * dayMs);
      const told = simulator.events().filter(({ type }) => type === 'customer.subscription.trial_will_end');
      expect(told.map(({ created: at }) => at)).toEqual([startSeconds + 42 * DAY]);
      const ended = await stripe.subscriptions.retrieve(id);
      expect(ended.status).toBe('active');
      expect(periodOf(ended)).toEqual(['2026-07-16T00:00:00Z', '2026-08-16T00:00:00Z']);
      const invoice = simulator.invoices().at(-1);
      expect(invoice).toMatchObject({ billing_reason: 'subscription_cycle', status: 'paid', total: 0 });
      expect(invoice?.lines.data[0]).toMatchObject({
        quantity: 0,
        period: { start: startSeconds, end: startSeconds + 45 * DAY },
      });
      await send({ value: '1000', timestamp: startSeconds + 46 * DAY });
      await simulator.advanceTo(startMs + 80 * dayMs);
      expect(simulator.invoices().at(-1)).toMatchObject({ billing_reason: 'subscription_cycle', total: 500 });
    }));

  it('may show what was used, free of charge', () =>
    withPrice({}, async ({ simulator, subscribe, send }) => {
      simulator.switches.trialUsageLine = 'counted';
      await subscribe({ trial_end: startSeconds + DAY });
      await send({ value: '1000' });
      await simulator.advanceTo(startMs + 2 * dayMs);
      expect(simulator.invoices().at(-1)).toMatchObject({ total: 0, lines: { data: [{ quantity: 1000, amount: 0 }] } });
      const told = simulator.events().filter(({ type }) => type === 'customer.subscription.trial_will_end');
      expect(told).toHaveLength(1);
    }));

  it('is given to a subscription later, moved, and ended at once', () =>
    withPrice({}, async ({ simulator, subscribe, stripe, send, clock }) => {
      const { id } = await subscribe();
      await send({ value: '1000' });
      clock.advance(10 * dayMs);
      const given = await stripe.subscriptions.update(id, { trial_end: startSeconds + 70 * DAY });
      expect(given).toMatchObject({ status: 'trialing', trial_start: startSeconds + 10 * DAY });
      expect(periodOf(given)).toEqual(['2026-06-11T00:00:00Z', '2026-08-10T00:00:00Z']);
      expect(simulator.invoices().at(-1)).toMatchObject({ billing_reason: 'subscription_update', total: 500 });
      const moved = await stripe.subscriptions.update(id, { trial_end: startSeconds + 40 * DAY });
      expect(periodOf(moved)).toEqual(['2026-06-11T00:00:00Z', '2026-07-11T00:00:00Z']);
      await send({ value: '1000', timestamp: startSeconds + 10 * DAY });
      clock.advance(5 * dayMs);
      const ended = await stripe.subscriptions.update(id, { trial_end: 'now' });
      expect(ended).toMatchObject({ status: 'active', trial_end: startSeconds + 15 * DAY });
      expect(periodOf(ended)).toEqual(['2026-06-16T00:00:00Z', '2026-07-16T00:00:00Z']);
      expect(simulator.invoices().at(-1)).toMatchObject({ billing_reason: 'subscription_update', total: 0 });
      await simulator.advanceTo(startMs + 60 * dayMs);
      expect(simulator.events().map(({ type }) => type)).not.toContain('customer.subscription.trial_will_end');
    }));

  it('leads into a fixed cycle where one is asked for', () =>
    withPrice({}, async ({ simulator, subscribe, stripe }) => {
      const anchor = startSeconds + 30 * DAY;
      const { id } = await subscribe({
        trial_period_days: 7,
        billing_cycle_anchor: anchor,
        proration_behavior: 'none',
      });
      await simulator.advanceTo(startMs + 8 * dayMs);
      expect(periodOf(await stripe.subscriptions.retrieve(id))).toEqual([
        '2026-06-08T00:00:00Z',
        '2026-07-01T00:00:00Z',
      ]);
    }));
});
