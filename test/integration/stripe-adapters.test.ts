/** The adapters that read Stripe's totals and take meter events back, against the simulator. */
import type { Stripe } from 'stripe';
import { describe, expect, it } from 'vitest';
import { type ManualClock, systemClock } from '../../src/platform/clock.ts';
import type { Simulator } from '../../packages/stripe-double/src/simulator.ts';
import { EventSummaries } from '../../src/reconciliation/event-summaries-stripe.ts';
import { MeterEventAdjustments } from '../../src/submissions/resolving/meter-event-adjustments-stripe.ts';
import { StripeWrites } from '../../src/stripe/writes.ts';
import { dayMs, hourMs, startMs, withSimulator } from './simulator-fixture.ts';

const ADJUSTMENTS = 'POST /v1/billing/meter_event_adjustments';

interface Account {
  readonly simulator: Simulator;
  readonly stripe: Stripe;
  readonly clock: ManualClock;
  readonly stripeCustomerId: string;
  readonly stripeMeterId: string;
}

/** Lends an account with a customer and a meter `calls`, and usage of 0.1 in each of the last hours. */
function withUsage(hours: number, use: (account: Account) => Promise<void>): Promise<void> {
  return withSimulator({}, async ({ customer, meter, ...account }) => {
    const stripeCustomerId = await customer();
    const { id: stripeMeterId } = await meter('calls');
    for (let hour = 1; hour <= hours; hour += 1) {
      await account.stripe.billing.meterEvents.create({
        event_name: 'calls',
        identifier: `event-${hour}`,
        timestamp: (startMs - hour * hourMs) / 1000,
        payload: { stripe_customer_id: stripeCustomerId, value: '0.1' },
      });
    }
    await use({ ...account, stripeCustomerId, stripeMeterId });
  });
}

describe('event summaries', () => {
  it('are read page by page, and each call is announced: reads are budgeted', () =>
    withUsage(130, async ({ stripe, stripeCustomerId, stripeMeterId }) => {
      const range = { stripeCustomerId, stripeMeterId, fromMs: startMs - 200 * hourMs, toMs: startMs };
      let calls = 0;
      const announce = (): Promise<void> => {
        calls += 1;
        return Promise.resolve();
      };
      const summaries = new EventSummaries(stripe);
      const hourly = await summaries.hourly(range, announce);
      expect([hourly.size, calls]).toEqual([130, 2]);
      expect(hourly.get(startMs - hourMs)).toBe('0.1');
      expect(await summaries.total(range, announce)).toBe('13');
      expect(calls).toBe(3);
    }));
});

describe('cancelling a meter event', () => {
  const call = (identifier: string, number = 1): { identifier: string; eventName: string; idempotencyKey: string } => {
    return { identifier, eventName: 'calls', idempotencyKey: `${identifier}.c${number}` };
  };

  it('takes it out of the total; a second time is refused, and changes nothing', () =>
    withUsage(2, async ({ simulator, stripe, stripeCustomerId: customer }) => {
      const adjustments = new MeterEventAdjustments(writesOf(stripe));
      expect(await adjustments.cancel(call('event-1'))).toEqual({ kind: 'done' });
      expect(await adjustments.cancel(call('event-1', 2))).toMatchObject({ kind: 'refused' });
      expect(simulator.countedTotal({ customer, meter: 'calls' })).toBe('0.1');
    }));

  it('is refused for an event that Stripe does not know, or took more than 24 hours ago', () =>
    withUsage(1, async ({ stripe, clock }) => {
      const adjustments = new MeterEventAdjustments(writesOf(stripe));
      expect(await adjustments.cancel(call('unknown'))).toMatchObject({ kind: 'refused' });
      clock.advance(dayMs + 1);
      expect(await adjustments.cancel(call('event-1'))).toMatchObject({ kind: 'refused' });
    }));

  it.each([
    ['answerLost', 2],
    ['resetBefore', 2],
    ['errorBefore', 1],
    ['errorAfter', 1],
    ['tooManyRequests', 1],
    ['conflict', 1],
  ] as const)('says nothing of the event after %s', (fault, times) =>
    withUsage(1, async ({ simulator, stripe }) => {
      simulator.failNext(fault, { route: ADJUSTMENTS, times });
      expect(await new MeterEventAdjustments(writesOf(stripe)).cancel(call('event-1'))).toMatchObject({
        kind: 'unanswered',
      });
    }),
  );
});

function writesOf(stripe: Stripe): StripeWrites {
  return new StripeWrites({ stripe, pace: () => Promise.resolve(), clock: systemClock, random: Math.random });
}
