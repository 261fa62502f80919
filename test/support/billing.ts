/** Subscriptions at the simulator, what it tells of them, and the guard at work, in a few words. */
import { Stripe } from 'stripe';
import type { WantedJob } from '../../src/invoice-guard/look-at-invoice.ts';
import { topicOf } from '../../src/webhooks/webhook.ts';
import { INVOICE_GUARDS, type InvoiceGuardDocument } from '../../src/invoice-guard/invoice-guards-store.ts';
import type { Pipeline } from './pipeline.ts';

/** A client of the simulator, as a person has one who works at Stripe's dashboard. */
export function stripeOf({ simulator }: Pipeline): Stripe {
  const { host, port } = simulator;
  return new Stripe('sk_test_person', { host, port, protocol: 'http', telemetry: false, maxNetworkRetries: 0 });
}

/** Subscribes a customer of Stripe's to a metered monthly price for each of these event names. */
export async function subscribe(
  pipeline: Pipeline,
  customer: string,
  eventNames: readonly string[],
): Promise<Stripe.Subscription> {
  const stripe = stripeOf(pipeline);
  const meters = (await pipeline.parts.stripe?.listMeters()) ?? [];
  const items = [];
  for (const eventName of eventNames) {
    const meter = meters.find((found) => found.eventName === eventName);
    const price = await stripe.prices.create({
      currency: 'usd',
      product_data: { name: eventName },
      recurring: { interval: 'month', usage_type: 'metered', ...(meter && { meter: meter.id }) },
      unit_amount_decimal: Stripe.Decimal.from('0.5'),
    });
    items.push({ price: price.id });
  }
  return stripe.subscriptions.create({ customer, items });
}

/** Delivers every event of Stripe's that was not delivered yet, and deals with it; also what has to be done again. */
export async function hear(pipeline: Pipeline): Promise<void> {
  const { simulator, stores, clock } = pipeline;
  const events = simulator.events().map(({ id, type, created, data }) => ({
    id,
    kind: 'snapshot' as const,
    type,
    objectId: (data.object as { id: string }).id,
    createdAtMs: created * 1_000,
    isLive: false,
  }));
  const as = { at: new Date(clock.now()), source: 'delivery' as const };
  await stores.webhookInbox.record(events, { ...as, isHandled: (event) => topicOf(event) !== undefined });
  await pipeline.run('process-webhooks');
  await pipeline.run('requeue-usage');
}

/** Lets the guard look, and does what it wants done. */
export async function look(pipeline: Pipeline): Promise<WantedJob[]> {
  const wanted = (await pipeline.run('guard-invoices'))['wanted'] as WantedJob[];
  for (const { job, input } of wanted) await pipeline.run(job, { ...input });
  return wanted;
}

/** Moves to an instant as the daemon lives through it: hears what Stripe tells, looks and reads again where that is due. */
export async function passTime(pipeline: Pipeline, toMs: number): Promise<void> {
  const { simulator, clock, stores } = pipeline;
  for (;;) {
    await hear(pipeline);
    if (await stores.invoiceGuards.hasDue(new Date(clock.now()))) await look(pipeline);
    if (clock.now() >= toMs) return;
    const nextMs = Math.min(toMs, (await nextLookAtMs(pipeline)) ?? toMs, simulator.nextDueAt() ?? toMs);
    await simulator.advanceTo(Math.max(nextMs, clock.now() + 1));
  }
}

async function nextLookAtMs({ stores }: Pipeline): Promise<number | undefined> {
  const guards = stores.database.db.collection<InvoiceGuardDocument>(INVOICE_GUARDS);
  const [next] = await guards
    .find({ checkAt: { $exists: true } })
    .sort({ checkAt: 1 })
    .limit(1)
    .toArray();
  return next?.checkAt?.getTime();
}

/** The latest invoice of a customer at Stripe. */
export async function latestInvoice(pipeline: Pipeline, customer: string): Promise<Stripe.Invoice> {
  const [invoice] = (await stripeOf(pipeline).invoices.list({ customer, limit: 1 })).data;
  if (invoice === undefined) throw new Error('no invoice');
  return invoice;
}

/** The guard of the latest invoice of a customer. */
export async function guardOf(pipeline: Pipeline, customer: string): Promise<InvoiceGuardDocument> {
  const { id } = await latestInvoice(pipeline, customer);
  const guard = await pipeline.stores.invoiceGuards.find(id);
  if (guard === null) throw new Error('no guard');
  return guard;
}

/** The states a guard went through, without repetition. */
export function wayOf({ history }: InvoiceGuardDocument): string[] {
  return history.map(({ state }) => state);
}
