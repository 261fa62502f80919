import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/platform/clock.ts';
import type { FaultKind } from '../../packages/stripe-double/src/faults.ts';
import { refusalOf, startMs, withSimulator } from './simulator-fixture.ts';

const create = 'POST /v1/customers';

describe('faults of the Stripe simulator', () => {
  it.each([
    ['tooManyRequests', 'StripeRateLimitError', 429, 0],
    ['conflict', 'StripeAPIError', 409, 0],
    ['errorBefore', 'StripeAPIError', 500, 0],
    ['errorDuring', 'StripeAPIError', 500, 0],
    ['errorAfter', 'StripeAPIError', 500, 1],
    ['answerLost', 'StripeConnectionError', undefined, 1],
    ['resetBefore', 'StripeConnectionError', undefined, 0],
  ] as const)('%s shows to the client as %s %s', (kind, type, statusCode, effects) =>
    withSimulator({}, async ({ simulator, stripe }) => {
      simulator.failNext(kind, { route: create, times: 2 });
      const refused = await refusalOf(stripe.customers.create({}, { idempotencyKey: 'k' }));
      expect(refused?.type).toBe(type);
      expect(refused?.statusCode).toBe(statusCode);
      expect((await stripe.customers.list()).data).toHaveLength(effects);
    }),
  );

  it('stores the answer that was lost, so that the same key gets it', () =>
    withSimulator({}, async ({ simulator, stripe }) => {
      simulator.failNext('answerLost', { route: create, times: 2 });
      expect(await refusalOf(stripe.customers.create({}, { idempotencyKey: 'k' }))).toBeDefined();
      const again = await stripe.customers.create({}, { idempotencyKey: 'k' });
      expect(again.lastResponse.headers).toMatchObject({ 'idempotent-replayed': 'true' });
      expect((await stripe.customers.list()).data).toMatchObject([{ id: again.id }]);
    }));

  it('hides one lost answer behind the one retry of the SDK', () =>
    withSimulator({}, async ({ simulator, stripe }) => {
      simulator.failNext('answerLost', { route: create });
      const created = await stripe.customers.create({}, { idempotencyKey: 'k' });
      expect(created.lastResponse.headers).toMatchObject({ 'idempotent-replayed': 'true' });
      expect(simulator.requests()[create]).toEqual({ requests: 2, statuses: { 0: 1, 200: 1 } });
    }));

  it('holds a slow call until its time has come, with its effect at the end', () =>
    withSimulator({ slowMs: 5_000 }, async ({ simulator, stripe, clock }) => {
      simulator.failNext('slow', { route: create });
      const slow = stripe.customers.create({ name: 'slow' });
      await systemClock.sleep(50);
      await stripe.customers.create({ name: 'quick' });
      clock.advance(4_999);
      expect((await stripe.customers.list()).data).toHaveLength(1);
      clock.advance(1);
      expect(await slow).toMatchObject({ name: 'slow', created: startMs / 1000 + 5 });
    }));

  it('uses scripts up in their order, each on its own route', () =>
    withSimulator({}, async ({ simulator, stripe }) => {
      simulator.failNext('errorBefore', { route: create, times: 2 });
      simulator.failNext('tooManyRequests', { route: create });
      const statuses: (number | undefined)[] = [];
      for (let i = 0; i < 4; i += 1) statuses.push((await refusalOf(stripe.customers.create()))?.statusCode);
      expect(statuses).toEqual([500, 500, 429, undefined]);
      simulator.failNext('errorBefore', { route: create });
      expect(await refusalOf(stripe.customers.list())).toBeUndefined();
      expect(await refusalOf(stripe.customers.create())).toBeDefined();
    }));

  it('draws the same faults from the same seed, near the probability asked for', async () => {
    const runs: string[] = [];
    for (const seed of [7, 7, 8]) {
      await withSimulator({ seed, faults: { errorBefore: 0.2, tooManyRequests: 0.1 } }, async ({ raw }) => {
        const statuses: number[] = [];
        for (let i = 0; i < 300; i += 1) statuses.push((await raw('/v1/customers')).status);
        runs.push(statuses.join());
        expect(statuses.filter((status) => status === 500).length).toBeGreaterThan(35);
        expect(statuses.filter((status) => status === 500).length).toBeLessThan(90);
        expect(statuses.filter((status) => status === 429).length).toBeGreaterThan(12);
      });
    }
    expect(runs[0]).toBe(runs[1]);
    expect(runs[2]).not.toBe(runs[0]);
  });

  it('limits random faults to routes, and switches them off while it runs', () =>
    withSimulator({ faults: { errorBefore: { probability: 1, routes: [create] } } }, async ({ simulator, stripe }) => {
      expect(await refusalOf(stripe.customers.create())).toMatchObject({ statusCode: 500 });
      expect(await refusalOf(stripe.customers.list())).toBeUndefined();
      simulator.setFaults({});
      expect(await refusalOf(stripe.customers.create())).toBeUndefined();
      simulator.setFaults({ errorBefore: 1 });
      simulator.failNext('tooManyRequests');
      simulator.clearFaults();
      expect(await refusalOf(stripe.customers.list())).toBeUndefined();
    }));

  it('does not let a misspelt fault or route pass for a test that cannot fail', () =>
    withSimulator({}, ({ simulator }) => {
      expect(() => simulator.failNext('explode' as FaultKind)).toThrow(RangeError);
      expect(() => simulator.failNext('slow', { route: 'POST /v1/customer' })).toThrow(RangeError);
      expect(() => simulator.failNext('slow', { times: 0 })).toThrow(RangeError);
      expect(() => simulator.setFaults({ slow: 1.5 })).toThrow(RangeError);
      expect(() => simulator.setFaults({ slow: { probability: 1, routes: ['GET /'] } })).toThrow(RangeError);
      expect(() => simulator.countedTotal({ customer: 'cus_1', meter: 'none' })).toThrow(RangeError);
      return Promise.resolve();
    }));

  it('ends with every event counted exactly once when a client retries through all faults', () =>
    withSimulator({ seed: 3 }, async ({ simulator, stripe, customer, meter }) => {
      const id = await customer();
      await meter('calls');
      const faults = { tooManyRequests: 0.05, conflict: 0.05, errorBefore: 0.05, errorDuring: 0.05, errorAfter: 0.1 };
      simulator.setFaults({ ...faults, answerLost: 0.03, resetBefore: 0.03 });
      for (let i = 0; i < 40; i += 1) {
        const payload = { stripe_customer_id: id, value: '0.1' };
        const event = { event_name: 'calls', payload, identifier: `e${i}` };
        for (let attempt = 0; ; attempt += 1) {
          const options = { idempotencyKey: `e${i}.r${attempt}` };
          const refused = await refusalOf(stripe.billing.meterEvents.create(event, options));
          if (refused === undefined || refused.message.startsWith('An event already exists')) break;
        }
      }
      expect(simulator.countedTotal({ customer: id, meter: 'calls' })).toBe('4');
      const { statuses } = simulator.requests()['POST /v1/billing/meter_events'] ?? { statuses: {} };
      expect(Object.keys(statuses)).toEqual(['0', '200', '400', '409', '429', '500']);
    }));
});

describe('the control routes of the Stripe simulator', () => {
  it('tell totals and requests, script faults and move the clock', () =>
    withSimulator({}, async ({ simulator, stripe, customer, meter }) => {
      const post = (path: string, body: object): Promise<Response> =>
        fetch(`${simulator.url}/_sim/${path}`, { method: 'POST', body: JSON.stringify(body) });
      const read = async (path: string): Promise<unknown> => (await fetch(`${simulator.url}/_sim/${path}`)).json();
      const [id, { id: meterId }] = [await customer(), await meter('calls')];
      const payload = { stripe_customer_id: id, value: '0.5' };
      await stripe.billing.meterEvents.create({ event_name: 'calls', payload });
      expect(await read('totals')).toEqual({
        totals: [{ customer: id, meterId, eventName: 'calls', total: '0.5', events: 1 }],
        asyncRejections: 0,
      });
      expect(await read('requests')).toMatchObject({ requests: { [create]: { requests: 1, statuses: { 200: 1 } } } });

      expect((await post('faults', { next: [{ kind: 'errorBefore', route: create }] })).status).toBe(200);
      expect(await refusalOf(stripe.customers.create())).toMatchObject({ statusCode: 500 });
      expect((await post('faults', { plan: { errorBefore: 1 } })).status).toBe(200);
      expect(await refusalOf(stripe.customers.create())).toMatchObject({ statusCode: 500 });
      expect((await post('faults', { clear: true })).status).toBe(200);
      expect(await refusalOf(stripe.customers.create())).toBeUndefined();

      expect(await (await post('clock', { advanceMs: 1_000 })).json()).toEqual({ now: '2026-06-01T00:00:01.000Z' });
      expect(simulator.clock.now()).toBe(startMs + 1_000);
      expect((await post('clock', { advanceMs: -1 })).status).toBe(400);
      expect((await post('faults', { plan: { explode: 1 } })).status).toBe(400);
      expect((await fetch(`${simulator.url}/_sim/faults`, { method: 'POST', body: '{' })).status).toBe(400);
      expect((await fetch(`${simulator.url}/_sim/other`)).status).toBe(404);
    }));

  it('do not move the clock of the machine', () =>
    withSimulator({ clock: systemClock }, async ({ simulator }) => {
      const answer = await fetch(`${simulator.url}/_sim/clock`, { method: 'POST', body: '{"advanceMs":1}' });
      expect(answer.status).toBe(409);
    }));
});
