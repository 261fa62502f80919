import { describe, expect, it } from 'vitest';
import { startSimulator } from '../../packages/stripe-double/src/simulator.ts';
import { openStripe } from '../../src/stripe/client.ts';

describe('the Stripe client', () => {
  it.each(['answerLost', 'resetBefore'] as const)('sends a change once also when it meets %s', async (fault) => {
    const simulator = await startSimulator({ rateLimitPerSecond: 0 });
    try {
      const stripe = openStripe({ secretKey: 'sk_test_client', apiBase: simulator.url });
      simulator.failNext(fault);
      await expect(stripe.customers.create({ name: 'acme' })).rejects.toMatchObject({ type: 'StripeConnectionError' });
      expect(simulator.requests()['POST /v1/customers']?.requests).toBe(1);
      simulator.failNext(fault);
      // A read changes nothing, so that the package may repeat it.
      expect((await stripe.customers.list()).data).toHaveLength(fault === 'answerLost' ? 1 : 0);
    } finally {
      await simulator.stop();
    }
  });
});
