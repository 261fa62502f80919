import { Stripe } from 'stripe';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/platform/clock.ts';
import { startSimulator } from '../../packages/stripe-double/src/simulator.ts';
import { dayMs, form, refusalOf, startMs, withSimulator } from './simulator-fixture.ts';

describe('the Stripe simulator on the wire', () => {
  it.each([
    ['Bearer sk_test_1', 200],
    ['Bearer rk_test_1', 200],
    [`Basic ${btoa('sk_test_1:')}`, 200],
    ['Bearer sk_live_1', 401],
    ['Bearer pk_test_1', 401],
    ['Bearer ', 401],
    [`Basic ${btoa('someone:secret')}`, 401],
    ['sk_test_1', 401],
    ['', 401],
  ])('answers the authorization %o with %i', (authorization, status) =>
    withSimulator({}, async ({ raw }) => {
      expect((await raw('/v1/customers', { headers: { authorization } })).status).toBe(status);
    }),
  );

  it('refuses a live key in a way the SDK knows', () =>
    withSimulator({}, async ({ simulator: { host, port } }) => {
      const live = new Stripe('sk_live_abcdefgh', { host, port, protocol: 'http', telemetry: false });
      const refused = await refusalOf(live.customers.list());
      expect(refused).toMatchObject({ statusCode: 401, type: 'StripeAuthenticationError' });
      expect(refused?.message).not.toContain('abcdefgh');
    }));

  it('answers 404 for what it does not simulate', () =>
    withSimulator({}, async ({ raw }) => {
      for (const path of ['/v1/unknown', '/', '/v1/customers/', '/v1/customers/a/b', '/v1/customers/%E0%A4%A']) {
        expect((await raw(path)).status).toBe(404);
      }
      expect((await raw('/v1/billing/meter_events')).status).toBe(404);
    }));

  it('refuses a form that cannot be decoded, and a body that is too large', () =>
    withSimulator({}, async ({ raw }) => {
      expect((await raw('/v1/customers', { method: 'POST', body: 'name=%E0%A4%A' })).status).toBe(400);
      expect((await raw('/v1/customers', { method: 'POST', body: `name=${'x'.repeat(1024 * 1024)}` })).status).toBe(
        413,
      );
      expect((await raw('/v1/customers', form({ name: 'a' }))).status).toBe(200);
    }));

  it('gives every answer a request id', () =>
    withSimulator({}, async ({ raw }) => {
      const ids = [await raw('/v1/customers'), await raw('/v1/unknown')].map(({ headers }) =>
        headers.get('request-id'),
      );
      expect(new Set(ids).size).toBe(2);
      for (const id of ids) expect(id).toMatch(/^req_/);
    }));

  it('allows 25 calls a second unless told, and says why it refuses more', () =>
    withSimulator({ rateLimitPerSecond: 25 }, async ({ stripe, clock }) => {
      for (let i = 0; i < 25; i += 1) await stripe.customers.list();
      const refused = await refusalOf(stripe.customers.list());
      expect(refused).toMatchObject({ statusCode: 429, type: 'StripeRateLimitError' });
      expect(refused?.headers?.['stripe-rate-limited-reason']).toBe('global-rate');
      clock.advance(40);
      expect(await refusalOf(stripe.customers.list())).toBeUndefined();
      expect(await refusalOf(stripe.customers.list())).toMatchObject({ statusCode: 429 });
      clock.advance(dayMs);
      for (let i = 0; i < 25; i += 1) await stripe.customers.list();
      expect(await refusalOf(stripe.customers.list())).toMatchObject({ statusCode: 429 });
    }));

  it('starts with the limit of a sandbox', async () => {
    const simulator = await startSimulator();
    expect(simulator.switches.rateLimitPerSecond).toBe(25);
    await simulator.stop();
  });

  it.each([
    ['lock-timeout', 429, 'lock_timeout', null],
    ['conflict', 409, 'too_many_concurrent_requests', expect.stringMatching(/^req_/)],
  ] as const)('allows one call in flight per customer and meter: %s', (concurrency, status, code, requestId) =>
    withSimulator({ concurrency }, async ({ simulator, raw, clock, customer, meter }) => {
      const [customerId, otherId] = [await customer(), await customer()];
      await meter('calls');
      await meter('bytes');
      simulator.switches.latencyMs = 1_000;
      const send = (eventName: string, id: string, identifier: string): Promise<Response> =>
        raw('/v1/billing/meter_events', {
          ...form({ event_name: eventName, 'payload[stripe_customer_id]': id, 'payload[value]': '1', identifier }),
          headers: { 'idempotency-key': identifier },
        });
      const started = [send('calls', customerId, 'a'), send('bytes', customerId, 'b'), send('calls', otherId, 'c')];
      await systemClock.sleep(50);
      const refused = await send('calls', customerId, 'd');
      expect(refused.status).toBe(status);
      expect(await refused.json()).toMatchObject({ error: { code } });
      expect(refused.headers.get('request-id')).toEqual(requestId);
      expect(refused.headers.get('stripe-rate-limited-reason')).toBeNull();
      clock.advance(1_000);
      expect((await Promise.all(started)).map((answer) => answer.status)).toEqual([200, 200, 200]);
      simulator.switches.latencyMs = 0;
      const again = await send('calls', customerId, 'd');
      expect(again.status).toBe(200);
      expect(again.headers.get('idempotent-replayed')).toBeNull();
    }),
  );

  it('lets calls that arrive together meet the lock, however quick they are', () =>
    withSimulator({}, async ({ simulator, customer, meter }) => {
      const customerId = await customer();
      await meter('calls');
      const call = {
        method: 'POST',
        path: '/v1/billing/meter_events',
        form: `event_name=calls&payload[stripe_customer_id]=${customerId}&payload[value]=1`,
        authorization: 'Bearer sk_test_1',
        idempotencyKey: undefined,
      };
      const outcomes = await Promise.all([simulator.respond(call), simulator.respond(call)]);
      expect(outcomes.map(({ answer }) => answer?.status)).toEqual([200, 429]);
    }));

  it('lets calls overlap when told not to lock', () =>
    withSimulator({ concurrency: 'off' }, async ({ stripe, simulator, customer, meter }) => {
      await meter('calls');
      const payload = { stripe_customer_id: await customer(), value: '1' };
      await Promise.all(
        Array.from({ length: 10 }, () => stripe.billing.meterEvents.create({ event_name: 'calls', payload })),
      );
      expect(simulator.meterEventCount).toBe(10);
    }));

  it('counts requests by route and status', () =>
    withSimulator({}, async ({ simulator, stripe, customer }) => {
      const id = await customer();
      await stripe.customers.retrieve(id);
      await refusalOf(stripe.customers.retrieve('cus_none'));
      simulator.failNext('resetBefore', { times: 2 });
      await refusalOf(stripe.customers.retrieve(id));
      expect(simulator.requests()).toEqual({
        'POST /v1/customers': { requests: 1, statuses: { 200: 1 } },
        'GET /v1/customers/{id}': { requests: 4, statuses: { 0: 2, 200: 1, 404: 1 } },
      });
    }));

  it('forgets everything but clock and switches on reset', () =>
    withSimulator({ unknownCustomer: 'sync' }, async ({ simulator, stripe, clock, customer, meter }) => {
      const id = await customer();
      await meter('calls');
      clock.advance(dayMs);
      simulator.failNext('errorBefore');
      simulator.reset();
      expect(simulator.requests()).toEqual({});
      expect((await stripe.customers.list()).data).toEqual([]);
      expect((await stripe.billing.meters.list()).data).toEqual([]);
      expect(await refusalOf(stripe.customers.retrieve(id))).toMatchObject({ statusCode: 404 });
      expect(simulator.clock.now()).toBe(startMs + dayMs);
      expect(simulator.switches.unknownCustomer).toBe('sync');
    }));

  it('makes the same ids from the same seed', async () => {
    const ids: string[] = [];
    for (const seed of [1, 1, 2])
      await withSimulator({ seed }, async ({ customer }) => void ids.push(await customer()));
    expect(ids[0]).toBe(ids[1]);
    expect(ids[2]).not.toBe(ids[0]);
  });

  it('stops while a call is in flight', async () => {
    let answered: Promise<unknown> = Promise.resolve();
    await withSimulator({ latencyMs: dayMs }, async ({ stripe }) => {
      answered = refusalOf(stripe.customers.create());
      await systemClock.sleep(50);
    });
    await answered;
  });
});
