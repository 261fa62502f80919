import { DAY_MS } from '../../../src/platform/durations.ts';
import { openStripe, toStripeDecimal } from '../../../src/stripe/client.ts';
import { SIMULATOR_KEY } from '../local-stack.ts';

/** How far back drafts are looked for that are final only now. */
const DRAFT_SECONDS_MAX = (40 * DAY_MS) / 1_000;
const NAME = 'made by tallystick dev trigger';
const EVENT_NAME = 'dev_trigger';

/** What a usage line of a finished invoice bills. */
export interface BilledLine {
  readonly invoice: string;
  readonly status: string;
  readonly stripeCustomerId: string;
  readonly eventName: string;
  /** Half-open, UTC milliseconds. */
  readonly fromMs: number;
  readonly toMs: number;
  readonly quantity: string;
  readonly amountMinor: number;
  readonly currency: string;
}

/** A draft that Stripe would finalise by itself. */
export interface Draft {
  readonly id: string;
  readonly finalizesAtMs: number | undefined;
  readonly autoAdvance: boolean;
}

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

/** The active meter of an event name; undefined when there is none. */
export async function findMeterOf(simulatorUrl: string, eventName: string): Promise<string | undefined> {
  for await (const meter of connect(simulatorUrl).billing.meters.list({ status: 'active', limit: 100 })) {
    if (meter.event_name === eventName) return meter.id;
  }
  return undefined;
}

/** Makes a customer, which nothing is sold to yet. */
export async function makeCustomer(simulatorUrl: string, name: string): Promise<string> {
  return (await connect(simulatorUrl).customers.create({ name })).id;
}

export interface MeteredPrice {
  readonly customer: string;
  readonly meter: string;
  readonly name: string;
  /** Of one unit, in the currency's minor unit; may have decimals. */
  readonly unitAmount: string;
  readonly currency: string;
}

/** Makes a product with a monthly price on a meter, and subscribes a customer to it. Returns kind → id. */
export async function subscribeTo(simulatorUrl: string, wanted: MeteredPrice): Promise<Record<string, string>> {
  const stripe = connect(simulatorUrl);
  const { customer, meter, name, unitAmount, currency } = wanted;
  const price = await stripe.prices.create({
    currency,
    unit_amount_decimal: toStripeDecimal(unitAmount),
    recurring: { interval: 'month', usage_type: 'metered', meter },
    product_data: { name },
  });
  const subscription = await stripe.subscriptions.create({ customer, items: [{ price: price.id }] });
  const product = typeof price.product === 'string' ? price.product : price.product.id;
  return { product, price: price.id, customer, subscription: subscription.id };
}

/** Invoices of a period's end that are not finalised. */
export async function listDrafts(simulatorUrl: string): Promise<Draft[]> {
  const drafts: Draft[] = [];
  for await (const invoice of connect(simulatorUrl).invoices.list({ status: 'draft', limit: 100 })) {
    const { id, automatically_finalizes_at: at, auto_advance: autoAdvance } = invoice;
    drafts.push({
      id,
      finalizesAtMs: typeof at === 'number' ? at * 1_000 : undefined,
      autoAdvance: autoAdvance === true,
    });
  }
  return drafts;
}

/** The usage lines of invoices that ended a period and became final at or after an instant, oldest first. */
export async function listBilledLines(simulatorUrl: string, sinceMs: number): Promise<BilledLine[]> {
  const stripe = connect(simulatorUrl);
  const lines: BilledLine[] = [];
  const eventNames = new Map<string, string>();
  for await (const meter of stripe.billing.meters.list({ limit: 100 })) eventNames.set(meter.id, meter.event_name);
  // A draft may have been held back for days before it became final.
  const since = Math.floor(sinceMs / 1_000);
  const created = { gte: since - DRAFT_SECONDS_MAX };
  for await (const invoice of stripe.invoices.list({ created, limit: 100 })) {
    if (invoice.billing_reason !== 'subscription_cycle' || invoice.status === 'draft') continue;
    if ((invoice.status_transitions.finalized_at ?? invoice.created) < since) continue;
    for await (const line of stripe.invoices.listLineItems(invoice.id, { limit: 100 })) {
      const price = line.pricing?.price_details?.price;
      const { recurring } = await stripe.prices.retrieve(typeof price === 'string' ? price : (price?.id ?? ''));
      const eventName = eventNames.get(recurring?.meter ?? '');
      if (eventName === undefined) continue;
      lines.push({
        invoice: invoice.id,
        status: invoice.status ?? '',
        stripeCustomerId: typeof invoice.customer === 'string' ? invoice.customer : (invoice.customer?.id ?? ''),
        eventName,
        fromMs: line.period.start * 1_000,
        toMs: line.period.end * 1_000,
        quantity: line.quantity_decimal?.toString() ?? '0',
        amountMinor: line.amount,
        currency: line.currency,
      });
    }
  }
  return lines.toReversed();
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
