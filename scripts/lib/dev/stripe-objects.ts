import { openStripe } from '../../../src/stripe/client.ts';
import { SIMULATOR_KEY } from '../local-stack.ts';

const NAME = 'made by tallystick dev trigger';
const EVENT_NAME = 'dev_trigger';

/** The newest active meter at the double. */
export async function findMeter(simulatorUrl: string): Promise<string | undefined> {
  const { data } = await connect(simulatorUrl).billing.meters.list({ status: 'active', limit: 1 });
  return data[0]?.id;
}

/** The newest subscription at the double, ended ones included. */
export async function findSubscription(simulatorUrl: string): Promise<string | undefined> {
  const { data } = await connect(simulatorUrl).subscriptions.list({ status: 'all', limit: 1 });
  return data[0]?.id;
}

/**
 * Makes a customer that subscribes to usage, with its first invoice: on the newest meter, or on one that is made too.
 * @returns what was made: kind → id.
 */
export async function makeSubscription(simulatorUrl: string): Promise<Record<string, string>> {
  const stripe = connect(simulatorUrl);
  const present = await findMeter(simulatorUrl);
  const meter = present ?? (await makeMeter(simulatorUrl));
  const customer = await stripe.customers.create({ name: NAME });
  const price = await stripe.prices.create({
    currency: 'usd',
    unit_amount: 1,
    recurring: { interval: 'month', usage_type: 'metered', meter },
    product_data: { name: NAME },
  });
  const subscription = await stripe.subscriptions.create({ customer: customer.id, items: [{ price: price.id }] });
  return {
    ...(present === undefined && { meter }),
    customer: customer.id,
    price: price.id,
    subscription: subscription.id,
  };
}

async function makeMeter(simulatorUrl: string): Promise<string> {
  const { id } = await connect(simulatorUrl).billing.meters.create({
    display_name: NAME,
    event_name: EVENT_NAME,
    default_aggregation: { formula: 'sum' },
  });
  return id;
}

function connect(simulatorUrl: string): ReturnType<typeof openStripe> {
  return openStripe({ secretKey: SIMULATOR_KEY, apiBase: simulatorUrl });
}
