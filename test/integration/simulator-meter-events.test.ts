import { describe, expect, it } from 'vitest';
import { dayMs, form, refusalOf, startSeconds, withMeter } from './simulator-fixture.ts';

describe('meter events of the Stripe simulator', () => {
  it('takes an event and shows it as it was sent', () =>
    withMeter({}, async ({ stripe, simulator, customerId }) => {
      const payload = { stripe_customer_id: customerId, value: '01.50', region: 'eu' };
      const sent = { event_name: 'calls', payload, identifier: 'id-1', timestamp: startSeconds - 60 };
      const created = await stripe.billing.meterEvents.create(sent);
      expect(created).toEqual({ ...sent, object: 'billing.meter_event', created: startSeconds, livemode: false });
      expect(simulator.meterEvents()).toMatchObject([
        { identifier: 'id-1', customer: customerId, eventName: 'calls', value: '01.50', outcome: 'counted' },
      ]);
    }));

  it('gives an event without identifier and timestamp its own', () =>
    withMeter({}, async ({ send }) => {
      const [first, second] = [await send(), await send()];
      expect(first.timestamp).toBe(startSeconds);
      expect(first.identifier).not.toBe(second.identifier);
    }));

  it('reads customer and value under the keys of the meter', () =>
    withMeter({}, async ({ stripe, simulator, meter, customerId }) => {
      await meter('bytes', {
        customer_mapping: { type: 'by_id', event_payload_key: 'who' },
        value_settings: { event_payload_key: 'size' },
      });
      await stripe.billing.meterEvents.create({ event_name: 'bytes', payload: { who: customerId, size: '7' } });
      expect(simulator.countedTotal({ customer: customerId, meter: 'bytes' })).toBe('7');
    }));

  it.each([
    [['0.1', '0.2'], '0.3'],
    [['999999999999999', '0.000000000001'], '999999999999999.000000000001'],
    [['5', '-7.5'], '-2.5'],
    [['-0'], '0'],
    [['000000000000000000.5'], '0.5'],
    [['100000000000000000000000', '1'], '100000000000000000000001'],
  ])('adds %o up exactly to %s', (values, total) =>
    withMeter({}, async ({ send, simulator, customerId }) => {
      for (const value of values) await send({ value });
      expect(simulator.countedTotal({ customer: customerId, meter: 'calls' })).toBe(total);
    }),
  );

  it('refuses a repeated identifier without a code, and tells the client not to retry', () =>
    withMeter({}, async ({ send, simulator, customerId }) => {
      await send({ identifier: 'id-1' });
      const refused = await refusalOf(send({ identifier: 'id-1', value: '9' }));
      expect(refused).toMatchObject({
        statusCode: 400,
        type: 'StripeInvalidRequestError',
        message: 'An event already exists with identifier id-1.',
      });
      expect(refused?.code).toBeUndefined();
      expect(refused?.headers?.['stripe-should-retry']).toBe('false');
      expect(simulator.countedTotal({ customer: customerId, meter: 'calls' })).toBe('1');
    }));

  it.each([
    ['24 hours by default', {}, dayMs],
    ['for as long as it is told', { identifierHorizonMs: 3 * dayMs }, 3 * dayMs],
  ])('remembers an identifier %s, and then counts it again', (_, options, horizonMs) =>
    withMeter(options, async ({ send, clock, simulator, customerId }) => {
      await send({ identifier: 'id-1' });
      clock.advance(horizonMs - 1);
      expect(await refusalOf(send({ identifier: 'id-1' }))).toMatchObject({ statusCode: 400 });
      clock.advance(1);
      await send({ identifier: 'id-1' });
      expect(simulator.countedTotal({ customer: customerId, meter: 'calls' })).toBe('2');
    }),
  );

  it.each([
    ['account', 400],
    ['meter', undefined],
  ] as const)('keeps identifiers unique per %s when told so', (identifierScope, status) =>
    withMeter({ identifierScope }, async ({ send, meter }) => {
      await meter('bytes');
      await send({ identifier: 'id-1' });
      expect((await refusalOf(send({ identifier: 'id-1', eventName: 'bytes' })))?.statusCode).toBe(status);
    }),
  );

  it.each([
    [-35 * 86_400, undefined],
    [
      -35 * 86_400 - 1,
      /^The event timestamp cannot be more than 35 days in past\. Expected .* or equal to 1777248000\.$/,
    ],
    [300, undefined],
    [301, /^The event timestamp cannot be more than 5 minutes in the future\./],
  ])('judges an event %i seconds from now', (offset, message) =>
    withMeter({}, async ({ send }) => {
      const refused = await refusalOf(send({ timestamp: startSeconds + offset }));
      if (message === undefined) expect(refused).toBeUndefined();
      else expect(refused).toMatchObject({ statusCode: 400, message: expect.stringMatching(message) });
    }),
  );

  it.each(['2026-06-01T00:00:00Z', '1780272000.5', '', 'soon'])('refuses the timestamp %o', (timestamp) =>
    withMeter({}, async ({ raw, customerId }) => {
      const payload = { 'payload[stripe_customer_id]': customerId, 'payload[value]': '1' };
      const answer = await raw('/v1/billing/meter_events', form({ event_name: 'calls', ...payload, timestamp }));
      expect(answer.status).toBe(400);
      expect(await answer.json()).toMatchObject({ error: { code: 'parameter_invalid_integer', param: 'timestamp' } });
    }),
  );

  it('refuses a timestamp in milliseconds as lying in the future', () =>
    withMeter({}, async ({ send }) => {
      const refused = await refusalOf(send({ timestamp: startSeconds * 1000 }));
      expect(refused?.message).toContain('in the future');
    }));

  it.each([
    ['123456789012345', undefined],
    ['1234567890.12345', undefined],
    ['1234567890123456', 'can have at most 15 digits. Received `1234567890123456`.'],
    ['1.234567890123456', 'can have at most 15 digits'],
    ['0.0000000000001', 'at most 12 decimal places'],
    ['1e3', 'must be a number'],
    ['0x10', 'must be a number'],
    ['NaN', 'must be a number'],
    ['1,5', 'must be a number'],
    ['.5', 'must be a number'],
    [' 1', 'must be a number'],
    ['', 'Value settings key value not found in payload.'],
  ])('judges the value %o', (value, message) =>
    withMeter({}, async ({ send, simulator }) => {
      const refused = await refusalOf(send({ value }));
      if (message === undefined) expect(refused).toBeUndefined();
      else expect(refused).toMatchObject({ statusCode: 400, message: expect.stringContaining(message) });
      expect(simulator.meterEventCount).toBe(message === undefined ? 1 : 0);
    }),
  );

  it('counts the digits as written when told so', () =>
    withMeter({}, async ({ send, simulator }) => {
      expect(await refusalOf(send({ value: '1000000000000000' }))).toBeUndefined();
      simulator.switches.countedDigits = 'written';
      expect(await refusalOf(send({ value: '1000000000000000' }))).toMatchObject({ statusCode: 400 });
    }));

  it.each([
    [{ value: '1' }, 'Customer mapping key stripe_customer_id not found in payload.'],
    [{ stripe_customer_id: 'cus_1' }, 'Value settings key value not found in payload.'],
  ])('refuses the payload %o', (payload, message) =>
    withMeter({}, async ({ stripe }) => {
      const refused = await refusalOf(stripe.billing.meterEvents.create({ event_name: 'calls', payload }));
      expect(refused).toMatchObject({ statusCode: 400, message });
    }),
  );

  it.each([
    ['a nested payload', { 'payload[stripe_customer_id][id]': 'cus_1', 'payload[value]': '1' }],
    ['a payload that is a text', { payload: 'x' }],
    ['no payload', {}],
    ['an identifier that is too long', { 'payload[value]': '1', identifier: 'x'.repeat(101) }],
    ['an unknown parameter', { 'payload[value]': '1', idempotency_key: 'x' }],
  ])('refuses %s', (_, entries) =>
    withMeter({}, async ({ raw }) => {
      const answer = await raw('/v1/billing/meter_events', form({ event_name: 'calls', ...entries }));
      expect(answer.status).toBe(400);
      expect(await answer.json()).toMatchObject({ error: { type: 'invalid_request_error' } });
    }),
  );

  it('refuses an event name no meter has, a meter id in its place, and an inactive meter', () =>
    withMeter({}, async ({ send, stripe, meterId }) => {
      const message = (name: string): object => ({ message: `No active meter found for event name "${name}".` });
      expect(await refusalOf(send({ eventName: 'none' }))).toMatchObject({ statusCode: 400, ...message('none') });
      expect(await refusalOf(send({ eventName: meterId }))).toMatchObject(message(meterId));
      await stripe.billing.meters.deactivate(meterId);
      expect(await refusalOf(send())).toMatchObject({ statusCode: 400, ...message('calls') });
      await stripe.billing.meters.reactivate(meterId);
      expect(await refusalOf(send())).toBeUndefined();
    }));

  it.each([
    ['bare', undefined, undefined],
    ['coded', 'no_meter', 'archived_meter'],
  ] as const)('names refusals by code only when they are %s', (refusalCodes, noMeter, archived) =>
    withMeter({ refusalCodes }, async ({ send, stripe, meterId }) => {
      expect((await refusalOf(send({ eventName: 'none' })))?.code).toBe(noMeter);
      await stripe.billing.meters.deactivate(meterId);
      expect((await refusalOf(send()))?.code).toBe(archived);
    }),
  );

  it('answers 200 for an unknown customer, never counts it, and lists the rejection', () =>
    withMeter({}, async ({ stripe, simulator }) => {
      const payload = { stripe_customer_id: 'cus_none', value: '5' };
      await stripe.billing.meterEvents.create(
        { event_name: 'calls', payload, identifier: 'id-1' },
        { idempotencyKey: 'key-1' },
      );
      expect(simulator.countedTotal({ customer: 'cus_none', meter: 'calls' })).toBe('0');
      expect(simulator.meterEvents()).toMatchObject([{ identifier: 'id-1', outcome: 'rejected' }]);
      expect(simulator.asyncRejections).toMatchObject([
        {
          identifier: 'id-1',
          idempotencyKey: 'key-1',
          code: 'meter_event_customer_not_found',
          at: startSeconds * 1000,
        },
      ]);
    }));

  it('refuses an unknown or deleted customer at once when told so', () =>
    withMeter({ unknownCustomer: 'sync' }, async ({ send, stripe, simulator, customerId }) => {
      const refused = { statusCode: 400, code: 'resource_missing' };
      expect(await refusalOf(send({ customer: 'cus_none' }))).toMatchObject(refused);
      await stripe.customers.del(customerId);
      expect(await refusalOf(send())).toMatchObject(refused);
      expect(simulator.meterEventCount).toBe(0);
      expect(simulator.asyncRejections).toEqual([]);
    }));
});
