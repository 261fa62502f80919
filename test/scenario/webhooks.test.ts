/** Stripe tells the daemon what happens: late, twice, in any order, signed anew for every attempt. */
import { Stripe } from 'stripe';
import { describe, expect, it } from 'vitest';
import { openStripe } from '../../src/stripe/client.ts';
import { type LentDaemon, withDaemon } from '../support/daemon.ts';

const SNAPSHOT_SECRET = 'whsec_scenario_snapshot';
const THIN_SECRET = 'whsec_scenario_thin';
const ENVIRONMENT = { STRIPE_WEBHOOK_SECRET: `whsec_old_secret,${SNAPSHOT_SECRET}`, STRIPE_EVENTS_SECRET: THIN_SECRET };

interface InboxPage {
  readonly data: readonly { eventId: string; type: string; state: string; source: string }[];
}

describe('webhooks of Stripe', () => {
  it('keep the mirror, and bring what Stripe rejects later', { timeout: 60_000 }, () =>
    withDaemon(
      {
        environment: ENVIRONMENT,
        simulator: {
          webhookOrder: 'shuffled',
          webhookDuplicates: 0.5,
          webhookSecondV1: true,
          webhookV0: true,
          eventTwins: 0.3,
          webhookDelayMs: 0,
          errorReportWindowMs: 1,
          errorReportDelayMs: 0,
          rejectLater: () => 'meter_event_invalid_value',
        },
      },
      async (daemon) => {
        const { simulator, url } = daemon;
        simulator.addDestination({ url: `${url}/v1/stripe/webhooks`, secret: SNAPSHOT_SECRET });
        simulator.addDestination({ url: `${url}/v1/stripe/events`, secret: THIN_SECRET, kind: 'thin' });
        const { stripe, stripeCustomerId } = await openAccount(daemon);

        // Told before anybody is mapped: the mirror waits for the customer.
        await simulator.settleDeliveries();
        expect(simulator.deliveries().every(({ status }) => status === 200)).toBe(true);
        await daemon.run('process-webhooks');
        await put(daemon, '/v1/customers/acme', { stripeCustomerId, submitFrom: hoursAgo(4) });
        await daemon.run('requeue-usage');
        const [subscription] = simulator.subscriptions();
        const anchor = new Date((subscription?.billing_cycle_anchor ?? 0) * 1000).toISOString();
        expect(await daemon.get('/v1/customers/acme')).toMatchObject({
          billingCalendar: { anchor, source: 'subscription' },
        });

        // Taken with a 200, and rejected afterwards: a report names it by a sample.
        await put(daemon, '/v1/meters/calls', {
          displayName: 'Calls',
          unit: 'call',
          eventType: 'call',
          aggregation: 'sum',
          stripe: { eventName: 'calls' },
        });
        const fact = { idempotencyKey: 'a', customerId: 'acme', eventType: 'call', occurredAt: hoursAgo(2) };
        await daemon.call('POST', '/v1/events', fact);
        await daemon.run('aggregate-usage');
        await daemon.run('submit-meter-events');
        expect(simulator.asyncRejections).toHaveLength(1);
        await simulator.settleDeliveries();
        await daemon.run('process-webhooks');
        const submissions = await daemon.get<{ data: unknown[] }>('/v1/submissions?state=rejected');
        expect(submissions.data).toMatchObject([{ customerId: 'acme', reason: 'meter_event_invalid_value' }]);

        await stripe.subscriptions.cancel(subscription?.id ?? '');
        await simulator.settleDeliveries();
        await daemon.run('process-webhooks');
        await daemon.run('catch-up-events');
        const inbox = await daemon.get<InboxPage>('/v1/stripe/inbox?limit=1000');
        expect(inbox.data.filter(({ state }) => state !== 'done')).toEqual([]);
        expect(inbox.data.map(({ type }) => type)).toEqual(
          expect.arrayContaining(['customer.subscription.deleted', 'v1.billing.meter.error_report_triggered']),
        );
        expect(simulator.deliveries().filter(({ outcome }) => outcome !== 'delivered')).toEqual([]);
      },
    ),
  );
});

/** A metered subscription of one customer. */
async function openAccount({ simulator }: LentDaemon): Promise<{ stripe: Stripe; stripeCustomerId: string }> {
  const stripe = openStripe({ secretKey: 'sk_test_daemon', apiBase: simulator.url });
  const meter = await stripe.billing.meters.create({
    event_name: 'calls',
    display_name: 'Calls',
    default_aggregation: { formula: 'sum' },
  });
  const price = await stripe.prices.create({
    currency: 'usd',
    product_data: { name: 'Calls' },
    recurring: { interval: 'month', usage_type: 'metered', meter: meter.id },
    unit_amount_decimal: Stripe.Decimal.from('0.5'),
  });
  const { id } = await stripe.customers.create({ name: 'Acme' });
  await stripe.subscriptions.create({ customer: id, items: [{ price: price.id }] });
  return { stripe, stripeCustomerId: id };
}

async function put(daemon: LentDaemon, path: string, body: unknown): Promise<void> {
  const response = await daemon.call('PUT', path, body);
  expect(response.status).toBe(200);
}

function hoursAgo(hours: number): string {
  return new Date(Date.now() - hours * 3_600_000).toISOString();
}
