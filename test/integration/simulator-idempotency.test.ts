import { describe, expect, it } from 'vitest';
import { dayMs, form, refusalOf, withSimulator } from './simulator-fixture.ts';

const customersRoute = 'POST /v1/customers';

describe('idempotency keys in the Stripe simulator', () => {
  it('replays the stored answer, says so, and has the effect once', () =>
    withSimulator({}, async ({ stripe }) => {
      const first = await stripe.customers.create({ name: 'a' }, { idempotencyKey: 'k' });
      const second = await stripe.customers.create({ name: 'a' }, { idempotencyKey: 'k' });
      expect(second.id).toBe(first.id);
      expect(first.lastResponse.headers).toMatchObject({ 'idempotency-key': 'k' });
      expect(first.lastResponse.headers).not.toHaveProperty('idempotent-replayed');
      expect(second.lastResponse.headers).toMatchObject({ 'idempotency-key': 'k', 'idempotent-replayed': 'true' });
      expect((await stripe.customers.list()).data).toHaveLength(1);
    }));

  it('replays the answer as it was, not the object as it is', () =>
    withSimulator({}, async ({ stripe }) => {
      const { id } = await stripe.customers.create({ name: 'a' }, { idempotencyKey: 'k' });
      await stripe.customers.update(id, { name: 'b' });
      expect(await stripe.customers.create({ name: 'a' }, { idempotencyKey: 'k' })).toMatchObject({ id, name: 'a' });
    }));

  it('replays a meter event byte for byte', () =>
    withSimulator({}, async ({ raw, customer, meter }) => {
      await meter('calls');
      const payload = { 'payload[stripe_customer_id]': await customer(), 'payload[value]': '1.50', 'payload[x]': 'y' };
      const request = {
        ...form({ event_name: 'calls', ...payload, identifier: 'i' }),
        headers: { 'idempotency-key': 'k' },
      };
      const first = await raw('/v1/billing/meter_events', request);
      const second = await raw('/v1/billing/meter_events', request);
      expect([first.status, second.status]).toEqual([200, 200]);
      expect(await second.text()).toBe(await first.text());
      expect(second.headers.get('idempotent-replayed')).toBe('true');
    }));

  it('takes the same parameters in another order for the same request', () =>
    withSimulator({}, async ({ raw }) => {
      const headers = { 'idempotency-key': 'k' };
      const first = await raw('/v1/customers', { ...form({ name: 'a', phone: '1' }), headers });
      const second = await raw('/v1/customers', { ...form({ phone: '1', name: 'a' }), headers });
      expect(await second.json()).toEqual(await first.json());
    }));

  it.each([
    ['other parameters', '/v1/customers', { name: 'b' }],
    ['another endpoint', '/v1/billing/meters', { name: 'a' }],
  ])('refuses a key used again with %s', (_, path, entries) =>
    withSimulator({}, async ({ stripe, raw }) => {
      await stripe.customers.create({ name: 'a' }, { idempotencyKey: 'k' });
      const answer = await raw(path, { ...form(entries), headers: { 'idempotency-key': 'k' } });
      expect(answer.status).toBe(400);
      expect(await answer.json()).toMatchObject({ error: { type: 'idempotency_error' } });
      const refused = await refusalOf(stripe.customers.create({ name: 'c' }, { idempotencyKey: 'k' }));
      expect(refused?.type).toBe('StripeIdempotencyError');
    }),
  );

  it('forgets a key after 24 hours, and then carries the request out again', () =>
    withSimulator({}, async ({ stripe, clock }) => {
      const first = await stripe.customers.create({ name: 'a' }, { idempotencyKey: 'k' });
      clock.advance(dayMs - 1);
      expect((await stripe.customers.create({ name: 'a' }, { idempotencyKey: 'k' })).id).toBe(first.id);
      clock.advance(1);
      expect((await stripe.customers.create({ name: 'a' }, { idempotencyKey: 'k' })).id).not.toBe(first.id);
    }));

  it('answers 409 while the first request with the key is in flight, and replays it afterwards', () =>
    withSimulator({ latencyMs: 1_000 }, async ({ simulator, stripe, clock }) => {
      const first = stripe.customers.create({ name: 'a' }, { idempotencyKey: 'k' });
      const refused = await refusalOf(stripe.customers.create({ name: 'a' }, { idempotencyKey: 'k' }));
      expect(refused).toMatchObject({ statusCode: 409, code: 'idempotency_key_in_use' });
      clock.advance(1_000);
      const { id } = await first;
      simulator.switches.latencyMs = 0;
      expect((await stripe.customers.create({ name: 'a' }, { idempotencyKey: 'k' })).id).toBe(id);
    }));

  it.each(['errorAfter', 'errorDuring'] as const)('stores and replays the 500 of %s', (kind) =>
    withSimulator({}, async ({ simulator, stripe }) => {
      simulator.failNext(kind, { route: customersRoute });
      for (let attempt = 0; attempt < 3; attempt += 1) {
        const refused = await refusalOf(stripe.customers.create({ name: 'a' }, { idempotencyKey: 'k' }));
        expect(refused).toMatchObject({ statusCode: 500, type: 'StripeAPIError' });
        expect(refused?.headers?.['idempotent-replayed']).toBe(attempt === 0 ? undefined : 'true');
      }
      expect((await stripe.customers.list()).data).toHaveLength(kind === 'errorAfter' ? 1 : 0);
    }),
  );

  it.each(['errorBefore', 'tooManyRequests', 'conflict'] as const)('does not spend the key on %s', (kind) =>
    withSimulator({}, async ({ simulator, stripe }) => {
      simulator.failNext(kind);
      expect(await refusalOf(stripe.customers.create({}, { idempotencyKey: 'k' }))).toBeDefined();
      const created = await stripe.customers.create({}, { idempotencyKey: 'k' });
      expect(created.lastResponse.headers).not.toHaveProperty('idempotent-replayed');
    }),
  );

  it('does not store the refusal of a parameter', () =>
    withSimulator({}, async ({ raw }) => {
      const headers = { 'idempotency-key': 'k' };
      expect((await raw('/v1/customers', { ...form({ colour: 'red' }), headers })).status).toBe(400);
      expect((await raw('/v1/customers', { ...form({ name: 'a' }), headers })).status).toBe(200);
    }));

  it.each([
    [true, 400],
    [false, undefined],
  ])('stores a refusal of the endpoint itself as told: %s', (refusalsReplayed, status) =>
    withSimulator({ refusalsReplayed }, async ({ stripe, customer, meter }) => {
      const payload = { stripe_customer_id: await customer(), value: '1' };
      const send = () =>
        stripe.billing.meterEvents.create({ event_name: 'calls', payload }, { idempotencyKey: 'before the meter' });
      expect(await refusalOf(send())).toMatchObject({ statusCode: 400 });
      await meter('calls');
      expect((await refusalOf(send()))?.statusCode).toBe(status);
    }),
  );

  it('refuses a second event under a new key by its identifier', () =>
    withSimulator({}, async ({ stripe, simulator, customer, meter }) => {
      await meter('calls');
      const payload = { stripe_customer_id: await customer(), value: '1' };
      const event = { event_name: 'calls', payload, identifier: 'i' };
      await stripe.billing.meterEvents.create(event, { idempotencyKey: 'i' });
      await stripe.billing.meterEvents.create(event, { idempotencyKey: 'i' });
      expect(await refusalOf(stripe.billing.meterEvents.create(event, { idempotencyKey: 'i.r1' }))).toMatchObject({
        message: 'An event already exists with identifier i.',
      });
      expect(simulator.meterEventCount).toBe(1);
    }));

  it('refuses a key of more than 255 characters', () =>
    withSimulator({}, async ({ stripe }) => {
      expect(await refusalOf(stripe.customers.create({}, { idempotencyKey: 'k'.repeat(256) }))).toMatchObject({
        statusCode: 400,
      });
      expect(await refusalOf(stripe.customers.create({}, { idempotencyKey: 'k'.repeat(255) }))).toBeUndefined();
    }));

  it('ignores the key of a read', () =>
    withSimulator({}, async ({ stripe, raw }) => {
      const { id } = await stripe.customers.create({ name: 'a' });
      const headers = { 'idempotency-key': 'k' };
      await raw(`/v1/customers/${id}`, { headers });
      await stripe.customers.update(id, { name: 'b' });
      expect(await (await raw(`/v1/customers/${id}`, { headers })).json()).toMatchObject({ name: 'b' });
    }));
});
