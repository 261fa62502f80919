/** A Stripe account that tells nobody anything: what its lists hold is enough. */
import { Stripe } from 'stripe';
import { afterEach, describe, expect, it } from 'vitest';
import { recordWebhook } from '../../src/webhooks/record-webhook.ts';
import { checkWebhooks } from '../../scripts/commands/doctor/webhooks-check.ts';
import { readBoundaryNames } from '../../scripts/lib/torture/boundaries.ts';
import { onBoundary } from '../../src/platform/boundary.ts';
import { mirroredCalendar } from '../../src/mirror/subscription.ts';
import { SNAPSHOT_TYPES, toWebhookEvent } from '../../src/webhooks/webhook.ts';
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../../src/platform/durations.ts';
import { openStripe } from '../../src/stripe/client.ts';
import { type Pipeline, START_MS, withPipeline } from '../support/pipeline.ts';

afterEach(() => onBoundary(undefined));

interface Account {
  readonly stripe: Stripe;
  readonly meterId: string;
  readonly priceId: string;
  readonly stripeCustomerId: string;
  readonly subscriptionId: string;
}

/** The customer `acme` with a monthly subscription to metered calls, which begins at 12:00:00 on 15 June. */
async function openAccount(pipeline: Pipeline): Promise<Account> {
  const { stripeSecretKey = '', stripeApiBase = '' } = pipeline.parts.config;
  const stripe = openStripe({ secretKey: stripeSecretKey, apiBase: stripeApiBase });
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
  const stripeCustomerId = await pipeline.mapCustomer('acme');
  const { id } = await stripe.subscriptions.create({ customer: stripeCustomerId, items: [{ price: price.id }] });
  return { stripe, meterId: meter.id, priceId: price.id, stripeCustomerId, subscriptionId: id };
}

/** Whatever the order and however often it was stopped: the mirror is what Stripe has, and calendars follow from it. */
async function expectMirrored({ simulator, stores, parts }: Pipeline): Promise<void> {
  const { subscriptions, invoices } = parts.stripe?.objects ?? {};
  for (const { id } of simulator.subscriptions()) {
    expect(await stores.subscriptions.find(id)).toMatchObject((await subscriptions?.fetch(id)) ?? {});
  }
  for (const { id } of simulator.invoices()) {
    expect(await stores.invoices.find(id)).toMatchObject((await invoices?.fetch(id)) ?? {});
  }
  const acme = await stores.customers.find('acme');
  const cuts = mirroredCalendar(await stores.subscriptions.ofCustomer(acme?.stripeCustomerId ?? ''));
  expect(acme?.calendars.at(-1)).toMatchObject({
    source: 'subscription',
    anchor: new Date(cuts?.calendar.anchorMs ?? 0),
  });
  expect(await stores.webhookInbox.census()).toEqual([]);
  expect(await stores.database.db.collection('subscriptions').countDocuments({ calendarDue: true })).toBe(0);
}

/** Catches up, deals with what was found, and queues what changed. */
async function catchUp(pipeline: Pipeline): Promise<Record<string, unknown>> {
  const result = await pipeline.run('catch-up-events');
  await pipeline.run('process-webhooks');
  await pipeline.run('requeue-usage');
  return result;
}

const openPeriod = { fromMs: START_MS, toMs: Date.parse('2026-07-15T12:00:00Z') };

describe('catching up with Stripe', () => {
  it('mirrors the account at first, and what Stripe lists from then on', { timeout: 30_000 }, () =>
    withPipeline({}, async (pipeline) => {
      const { simulator, stores, clock } = pipeline;
      const { stripe, stripeCustomerId, meterId, subscriptionId } = await openAccount(pipeline);
      expect(await catchUp(pipeline)).toEqual({ recorded: 0, listed: 2, calendars: 1 });
      expect(await stores.customers.find('acme')).toMatchObject({
        calendars: [{ source: 'subscription', anchor: new Date(START_MS), interval: 'month' }],
      });
      // Stripe's list still has the events of the beginning; none of them was ever delivered.
      clock.advance(1_000);
      const events = simulator.events().filter(({ type }) => SNAPSHOT_TYPES.includes(type));
      expect(events.length).toBeGreaterThan(2);
      expect(await pipeline.run('catch-up-events')).toMatchObject({ recorded: events.length, listed: 0 });
      expect(await pipeline.run('catch-up-events')).toMatchObject({ recorded: 0 });

      await simulator.advanceTo(openPeriod.toMs + 30 * MINUTE_MS);
      await catchUp(pipeline);
      const [draft] = await stores.invoices.drafts('', 10);
      expect(draft).toMatchObject({
        stripeCustomerId,
        subscriptionId,
        billingReason: 'subscription_cycle',
        automaticallyFinalizesAt: new Date(openPeriod.toMs + HOUR_MS),
        lines: [{ stripeMeterId: meterId, from: new Date(openPeriod.fromMs), to: new Date(openPeriod.toMs) }],
      });
      expect(await stores.invoices.finalised([stripeCustomerId])).toEqual(new Map());

      await simulator.advanceTo(openPeriod.toMs + 3 * HOUR_MS);
      await catchUp(pipeline);
      const closed = {
        ...openPeriod,
        stripeMeterId: meterId,
        finalizedAtMs: openPeriod.toMs + HOUR_MS,
        invoiceId: draft?._id,
      };
      expect(await stores.invoices.finalised([stripeCustomerId])).toEqual(new Map([[stripeCustomerId, [closed]]]));
      expect(await stores.invoices.finalised([stripeCustomerId], new Date(openPeriod.toMs + 1))).toEqual(new Map());
      expect(await stores.subscriptions.find(subscriptionId)).toMatchObject({
        items: [{ stripeMeterId: meterId, currentPeriodStart: new Date(openPeriod.toMs) }],
      });

      // Away for longer than Stripe lists events, and the subscription ended meanwhile.
      await stripe.subscriptions.cancel(subscriptionId);
      clock.advance(31 * DAY_MS);
      expect(await catchUp(pipeline)).toMatchObject({ recorded: 0, listed: 3 });
      expect(await stores.subscriptions.find(subscriptionId)).toMatchObject({ status: 'canceled' });
    }),
  );

  it.each(['when the account is mirrored', 'from events'])(
    'splits hours at a boundary that only an invoice tells of, %s',
    { timeout: 30_000 },
    (how) =>
      withPipeline({}, async (pipeline) => {
        const { simulator, stores } = pipeline;
        const { stripe, subscriptionId } = await openAccount(pipeline);
        if (how === 'from events') await catchUp(pipeline);
        const resets = [START_MS + 3 * HOUR_MS + 61_000, START_MS + 5 * HOUR_MS + 62_000];
        for (const resetMs of resets) {
          await simulator.advanceTo(resetMs);
          await stripe.subscriptions.update(subscriptionId, { billing_cycle_anchor: { type: 'now' } });
        }
        await catchUp(pipeline);
        const [middle = 0, last = 0] = resets;
        const acme = await stores.customers.find('acme');
        expect(acme?.calendars.at(-1)).toMatchObject({ anchor: new Date(last), splits: [new Date(middle)] });
      }),
  );

  it('is taken over with the same end wherever it is stopped', { timeout: 60_000 }, () =>
    withPipeline({}, async (pipeline) => {
      const { clock, simulator, stores } = pipeline;
      const { stripe, stripeCustomerId, priceId } = await openAccount(pipeline);
      const places = readBoundaryNames().filter((name) => /^(webhook|mirror|catchup)\./.test(name));
      expect(places.length).toBeGreaterThan(8);
      await catchUp(pipeline);
      for (const place of places) {
        // A new subscription with another anchor takes the place of the one before.
        clock.advance(1.3 * DAY_MS);
        await stripe.subscriptions.cancel(simulator.subscriptions().at(-1)?.id ?? '');
        await stripe.subscriptions.create({ customer: stripeCustomerId, items: [{ price: priceId }] });
        clock.advance(1_000);
        const { db } = stores.database;
        if (/listed$|account/.test(place)) {
          for (const name of ['event_coverage', 'subscriptions', 'invoices']) await db.collection(name).deleteMany({});
        }
        const stopped = stopAt(place);
        const work = async (): Promise<void> => {
          await recordNewest(pipeline);
          await pipeline.run('catch-up-events');
          await pipeline.run('process-webhooks');
        };
        expect(await Promise.race([work(), stopped])).toBe(place);
        onBoundary(undefined);
        await catchUp(pipeline);
        await expectMirrored(pipeline);
      }
    }),
  );

  it('is what doctor asks for webhooks instead of, where subscriptions bill usage', { timeout: 30_000 }, () =>
    withPipeline({}, async (pipeline) => {
      const config = { ...pipeline.parts.config, mongodbDatabase: pipeline.stores.database.db.databaseName };
      const context = { config, isAskedFor: false };
      expect(await checkWebhooks(context)).toEqual([]);
      await openAccount(pipeline);
      await catchUp(pipeline);
      expect((await checkWebhooks(context)).map(({ what }) => what.split(' ')[0])).toEqual([
        'STRIPE_WEBHOOK_SECRET',
        'STRIPE_EVENTS_SECRET',
      ]);
      const secrets = { stripeWebhookSecret: ['whsec_one'], stripeEventsSecret: ['whsec_two'] };
      expect(await checkWebhooks({ ...context, config: { ...config, ...secrets } })).toEqual([]);
    }),
  );

  it('reads all pages of items and lines', { timeout: 30_000 }, () =>
    withPipeline({}, async (pipeline) => {
      const { parts } = pipeline;
      const { stripe, stripeCustomerId, meterId } = await openAccount(pipeline);
      const prices = await Promise.all(
        Array.from({ length: 14 }, () =>
          stripe.prices.create({
            currency: 'usd',
            product_data: { name: 'Calls' },
            recurring: { interval: 'month', usage_type: 'metered', meter: meterId },
            unit_amount: 1,
          }),
        ),
      );
      const { id, latest_invoice: invoice } = await stripe.subscriptions.create({
        customer: stripeCustomerId,
        items: prices.map(({ id: price }) => ({ price })),
      });
      const mirrored = await parts.stripe?.objects.subscriptions.fetch(id);
      expect(mirrored?.items).toHaveLength(14);
      expect(await parts.stripe?.objects.invoices.fetch(typeof invoice === 'string' ? invoice : '')).toMatchObject({
        lines: Array.from({ length: 14 }, () => ({ stripeMeterId: meterId })),
      });
    }),
  );

  it('knows what Stripe does not have, and lists reports since an instant', { timeout: 30_000 }, () =>
    withPipeline({ simulator: { rejectLater: () => 'meter_event_invalid_value' } }, async (pipeline) => {
      const { clock, parts, simulator } = pipeline;
      const { stripe, stripeCustomerId } = await openAccount(pipeline);
      const { subscriptions, invoices, events } = parts.stripe?.objects ?? {};
      expect(await subscriptions?.fetch('sub_none')).toBeUndefined();
      expect(await invoices?.fetch('in_none')).toBeUndefined();
      await expect(events?.fetchReport('evt_none')).rejects.toMatchObject({ kind: 'rejected', code: 'stripe_refused' });
      for (const identifier of ['first', 'second', 'third']) {
        await stripe.billing.meterEvents.create({
          event_name: 'calls',
          identifier,
          payload: { stripe_customer_id: stripeCustomerId, value: '1' },
        });
        clock.advance(HOUR_MS);
        simulator.catchUp();
      }
      const list = async (sinceMs: number): Promise<string[]> => {
        const found: string[] = [];
        for await (const { id } of events?.listThin(sinceMs, rethrow) ?? []) {
          const report = await events?.fetchReport(id);
          found.push(...(report?.samples ?? []).map(({ identifier }) => identifier));
        }
        return found.sort();
      };
      expect(await list(0)).toEqual(['first', 'second', 'third']);
      expect(await list(START_MS + 1.5 * HOUR_MS)).toEqual(['third']);
      expect(await list(clock.now())).toEqual([]);
    }),
  );
});

/** Lets whoever comes to a boundary first go no further; tells when somebody has. */
function stopAt(place: string): Promise<string> {
  return new Promise((resolve) => {
    onBoundary((name) => {
      if (name !== place) return undefined;
      onBoundary(undefined);
      resolve(place);
      return new Promise(() => {});
    });
  });
}

/** The newest event comes as a delivery. */
async function recordNewest({ simulator, stores, clock }: Pipeline): Promise<void> {
  const newest = toWebhookEvent(simulator.events().at(-1), 'snapshot');
  const deps = { verify: () => Promise.resolve(newest), inbox: stores.webhookInbox, ring: () => {}, clock };
  await recordWebhook(deps, { kind: 'snapshot', body: new Uint8Array(), signature: undefined });
}

function rethrow(_: string, error: unknown): never {
  throw error;
}
