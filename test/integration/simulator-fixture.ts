import { Stripe } from 'stripe';
import { ManualClock } from '../../src/platform/clock.ts';
import { startSimulator } from '../../packages/stripe-double/src/simulator.ts';
import type { Simulator, SimulatorOptions } from '../../packages/stripe-double/src/simulator.ts';

/** Where the manual clock of a simulator test starts: a UTC midnight. */
export const startMs = Date.parse('2026-06-01T00:00:00Z');
export const startSeconds = startMs / 1000;
export const hourMs = 3_600_000;
export const dayMs = 24 * hourMs;

export interface SimulatorFixture {
  simulator: Simulator;
  stripe: Stripe;
  clock: ManualClock;
  /** A request without the SDK. */
  raw: (path: string, init?: RequestInit) => Promise<Response>;
  /** A new customer's id. */
  customer: () => Promise<string>;
  /** A new meter on this event name, `sum` unless told. */
  meter: (eventName: string, options?: Partial<Stripe.Billing.MeterCreateParams>) => Promise<Stripe.Billing.Meter>;
}

/** Runs `use` with a simulator on a manual clock, without a rate limit unless told, and the real SDK on it. */
export async function withSimulator(
  options: SimulatorOptions,
  use: (fixture: SimulatorFixture) => Promise<void>,
): Promise<void> {
  const clock = new ManualClock(startMs);
  const simulator = await startSimulator({ clock, rateLimitPerSecond: 0, ...options });
  const { host, port } = simulator;
  const stripe = new Stripe('sk_test_123', { host, port, protocol: 'http', telemetry: false, maxNetworkRetries: 0 });
  try {
    await use({
      simulator,
      stripe,
      clock,
      raw: (path, init = {}) =>
        fetch(`${simulator.url}${path}`, {
          ...init,
          headers: {
            authorization: 'Bearer sk_test_123',
            'content-type': 'application/x-www-form-urlencoded',
            ...(init.headers as Record<string, string> | undefined),
          },
        }),
      customer: async () => (await stripe.customers.create()).id,
      meter: (eventName, more = {}) =>
        stripe.billing.meters.create({
          event_name: eventName,
          display_name: eventName,
          default_aggregation: { formula: 'sum' },
          ...more,
        }),
    });
  } finally {
    await simulator.stop();
  }
}

export interface MeterFixture extends SimulatorFixture {
  customerId: string;
  meterId: string;
  send: (overrides?: {
    identifier?: string;
    timestamp?: number;
    value?: string;
    customer?: string;
    eventName?: string;
  }) => ReturnType<Stripe['billing']['meterEvents']['create']>;
}

/** A simulator with one customer and the sum meter `calls`. */
export function withMeter(options: SimulatorOptions, use: (ready: MeterFixture) => Promise<void>): Promise<void> {
  return withSimulator(options, async (fixture) => {
    const customerId = await fixture.customer();
    const { id: meterId } = await fixture.meter('calls');
    await use({
      ...fixture,
      customerId,
      meterId,
      send: ({ eventName = 'calls', customer = customerId, value = '1', ...rest } = {}) =>
        fixture.stripe.billing.meterEvents.create({
          event_name: eventName,
          payload: { stripe_customer_id: customer, value },
          ...rest,
        }),
    });
  });
}

export interface SubscriptionFixture extends MeterFixture {
  /** Monthly, metered, 0.5 cents a unit. */
  price: Stripe.Price;
  subscribe: (options?: Partial<Stripe.SubscriptionCreateParams>) => Promise<Stripe.Subscription>;
}

/** A simulator with one customer, the sum meter `calls` and a monthly price on it. */
export function withPrice(
  options: SimulatorOptions,
  use: (ready: SubscriptionFixture) => Promise<void>,
): Promise<void> {
  return withMeter(options, async (fixture) => {
    const { stripe, customerId, meterId } = fixture;
    const price = await stripe.prices.create({
      currency: 'usd',
      product_data: { name: 'Calls' },
      recurring: { interval: 'month', usage_type: 'metered', meter: meterId },
      unit_amount_decimal: Stripe.Decimal.from('0.5'),
    });
    await use({
      ...fixture,
      price,
      subscribe: (more = {}) =>
        stripe.subscriptions.create({ customer: customerId, items: [{ price: price.id }], ...more }),
    });
  });
}

/** The period of the only item of a subscription, as instants. */
export function periodOf({ items }: Stripe.Subscription): [from: string, to: string] {
  const [item] = items.data;
  if (item === undefined) throw new Error('a subscription without items');
  return [toInstant(item.current_period_start), toInstant(item.current_period_end)];
}

/** Unix seconds as an instant to the second. */
export function toInstant(seconds: number | null): string {
  return seconds === null ? 'never' : new Date(seconds * 1000).toISOString().replace('.000Z', 'Z');
}

/** What a refused call says, or `undefined` where it succeeded. */
export async function refusalOf(call: Promise<unknown>): Promise<Stripe.errors.StripeError | undefined> {
  try {
    await call;
    return undefined;
  } catch (err) {
    if (err instanceof Stripe.errors.StripeError) return err;
    throw err;
  }
}

/** The body of a form request. */
export function form(entries: Record<string, string>): RequestInit {
  return { method: 'POST', body: new URLSearchParams(entries).toString() };
}
