import type { Stripe } from 'stripe';
import { describe, expect, it } from 'vitest';
import { dayMs, hourMs, refusalOf, startSeconds, withMeter } from './simulator-fixture.ts';

describe('meter event adjustments of the Stripe simulator', () => {
  const cancel = (stripe: Stripe, identifier: string, eventName = 'calls') =>
    stripe.billing.meterEventAdjustments.create({ event_name: eventName, type: 'cancel', cancel: { identifier } });

  it('takes a cancelled event out of what is counted', () =>
    withMeter({}, async ({ send, stripe, simulator, customerId }) => {
      await send({ identifier: 'id-1', value: '3' });
      await send({ identifier: 'id-2', value: '4' });
      expect(await cancel(stripe, 'id-1')).toEqual({
        object: 'billing.meter_event_adjustment',
        cancel: { identifier: 'id-1' },
        event_name: 'calls',
        livemode: false,
        status: 'complete',
        type: 'cancel',
      });
      expect(simulator.countedTotal({ customer: customerId, meter: 'calls' })).toBe('4');
      expect(simulator.meterEvents().map(({ outcome }) => outcome)).toEqual(['cancelled', 'counted']);
    }));

  it('cancels within 24 hours of receipt, whatever the timestamp of the event', () =>
    withMeter({}, async ({ send, stripe, clock, simulator, customerId }) => {
      await send({ identifier: 'old', timestamp: startSeconds - 30 * 86_400 });
      await send({ identifier: 'late' });
      clock.advance(dayMs);
      await cancel(stripe, 'old');
      clock.advance(1);
      expect(await refusalOf(cancel(stripe, 'late'))).toMatchObject({ statusCode: 400 });
      expect(simulator.countedTotal({ customer: customerId, meter: 'calls' })).toBe('1');
    }));

  it('refuses an unknown identifier, another meter, and a cancellation of nothing', () =>
    withMeter({}, async ({ send, stripe, meter }) => {
      await meter('bytes');
      await send({ identifier: 'id-1' });
      expect(await refusalOf(cancel(stripe, 'none'))).toMatchObject({ statusCode: 400 });
      expect(await refusalOf(cancel(stripe, 'id-1', 'bytes'))).toMatchObject({ statusCode: 400 });
      expect(await refusalOf(cancel(stripe, 'id-1', 'none'))).toMatchObject({ statusCode: 400 });
      const empty = stripe.billing.meterEventAdjustments.create({ event_name: 'calls', type: 'cancel' });
      expect(await refusalOf(empty)).toMatchObject({ statusCode: 400 });
    }));

  it.each([
    ['refuse', 400],
    ['accept', undefined],
  ] as const)('answers a second cancellation as told: %s', (secondCancel, status) =>
    withMeter({ secondCancel }, async ({ send, stripe, simulator, customerId }) => {
      await send({ identifier: 'id-1' });
      await cancel(stripe, 'id-1');
      expect((await refusalOf(cancel(stripe, 'id-1')))?.statusCode).toBe(status);
      expect(simulator.countedTotal({ customer: customerId, meter: 'calls' })).toBe('0');
    }),
  );

  it.each([
    [false, '0'],
    [true, '1'],
  ])('lets a cancelled identifier be used again as told: %s', (identifierReuseAfterCancel, total) =>
    withMeter({ identifierReuseAfterCancel }, async ({ send, stripe, simulator, clock, customerId }) => {
      await send({ identifier: 'id-1' });
      await cancel(stripe, 'id-1');
      clock.advance(hourMs);
      await refusalOf(send({ identifier: 'id-1' }));
      expect(simulator.countedTotal({ customer: customerId, meter: 'calls' })).toBe(total);
    }),
  );
});
