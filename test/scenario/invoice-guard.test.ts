/** The guard in a running daemon: one webhook, and everything that follows from it by itself. */
import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/platform/clock.ts';
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../../src/platform/durations.ts';
import { openStripe } from '../../src/stripe/client.ts';
import { type LentDaemon, withDaemon } from '../support/daemon.ts';

const SECRET = 'whsec_scenario_guard';

interface Guards {
  readonly data: readonly { invoiceId: string; state: string; lines: readonly { local?: string; stripe?: string }[] }[];
}

/** Asks until an answer is as it is to be. */
async function until<T>(ask: () => Promise<T> | T, isRight: (found: T) => boolean): Promise<T> {
  for (let tries = 0; tries < 200; tries += 1) {
    const found = await ask();
    if (isRight(found)) return found;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error('it never came to be');
}

async function put(daemon: LentDaemon, path: string, body: unknown): Promise<void> {
  const response = await daemon.call('PUT', path, body);
  if (!response.ok) throw new Error(`PUT ${path} answered ${response.status}: ${await response.text()}`);
}

/** A customer subscribed to a price by the day, whose period ends at an instant. Returns Stripe's id of it. */
async function subscribe(daemon: LentDaemon): Promise<string> {
  const stripe = openStripe({ secretKey: 'sk_test_person', apiBase: daemon.simulator.url });
  await put(daemon, '/v1/meters/calls', {
    displayName: 'Calls',
    unit: 'call',
    eventType: 'call',
    aggregation: 'sum',
    stripe: { eventName: 'calls' },
  });
  await daemon.run('sync-meters');
  const [meter] = (await stripe.billing.meters.list()).data;
  const { id: customer } = await stripe.customers.create({});
  const submitFrom = new Date(daemon.simulator.clock.now()).toISOString();
  await put(daemon, '/v1/customers/acme', { stripeCustomerId: customer, submitFrom });
  const price = await stripe.prices.create({
    currency: 'usd',
    product_data: { name: 'Calls' },
    recurring: { interval: 'day', usage_type: 'metered', ...(meter && { meter: meter.id }) },
    unit_amount: 1,
  });
  await stripe.subscriptions.create({ customer, items: [{ price: price.id }] });
  return customer;
}

describe('the invoice guard of a daemon', () => {
  it('has the rest of the period sent when a draft is made, and lets a person speak first', { timeout: 60_000 }, () => {
    const nowMs = Date.now();
    // Not in the first minute of an hour: what two periods use in one minute is compared together.
    const agoMs = new Date(nowMs - MINUTE_MS).getUTCMinutes() === 0 ? 3 * MINUTE_MS : MINUTE_MS;
    const endMs = Math.floor((nowMs - agoMs) / 1_000) * 1_000;
    const clock = new ManualClock(endMs - DAY_MS);
    const environment = { STRIPE_WEBHOOK_SECRET: SECRET };
    return withDaemon({ environment, simulator: { clock, webhookDelayMs: 0 } }, async (daemon) => {
      const { simulator, url } = daemon;
      const customer = await subscribe(daemon);
      await simulator.advanceTo(endMs - MINUTE_MS);
      await daemon.run('catch-up-events');
      await daemon.run('process-webhooks');
      await daemon.run('requeue-usage');
      // The last is the next period's, in a window that has not ended.
      const nextMs = Math.max(endMs, Math.floor(nowMs / HOUR_MS) * HOUR_MS);
      const usage = [endMs - 5 * HOUR_MS, endMs - 1, nextMs].map((atMs, index) => ({
        idempotencyKey: `use-${index}`,
        customerId: 'acme',
        eventType: 'call',
        occurredAt: new Date(atMs).toISOString(),
        quantity: `${10 ** index}.5`,
      }));
      expect((await daemon.call('POST', '/v1/events', usage)).status).toBe(200);
      simulator.addDestination({ url: `${url}/v1/stripe/webhooks`, secret: SECRET });
      await simulator.advanceTo(nowMs);

      // Nobody asks for aggregation or submission.
      await until(
        () => simulator.countedTotal({ customer, meter: 'calls' }),
        (counted) => counted === '12',
      );
      const held = await until(
        () => daemon.get<Guards>('/v1/invoice-guards?state=watching'),
        ({ data }) => data.length === 1,
      );
      const invoiceId = held.data[0]?.invoiceId ?? '';
      const release = { actor: 'dana', reason: 'a gift' };
      expect((await daemon.call('POST', `/v1/invoice-guards/${invoiceId}/release`, release)).status).toBe(200);
      await until(
        () => daemon.get(`/v1/invoice-guards/${invoiceId}`),
        (guard) => (guard as { state: string }).state === 'released',
      );
      expect(await daemon.get(`/v1/invoice-guards/${invoiceId}`)).toMatchObject({
        customerId: 'acme',
        releasedBy: 'dana',
        reason: 'a gift',
        lines: [{ meter: 'calls', local: '12', stripe: '12', verdict: 'match' }],
      });
      const metrics = await (await daemon.call('GET', '/metrics')).text();
      expect(metrics).toMatch(/invoice_guards\{state="released"\} 1/);
    });
  });
});
