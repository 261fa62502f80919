import type { Stripe } from 'stripe';
import { describe, expect, it } from 'vitest';
import { hourMs, refusalOf, toInstant, withPrice } from './simulator-fixture.ts';
import { withEndpoint } from './simulator-webhook-fixture.ts';

const periodEnd = Date.parse('2026-07-01T00:00:00Z');

/** The latest invoice, through the API. */
async function latest(stripe: Stripe, params: Stripe.InvoiceListParams = {}): Promise<Stripe.Invoice> {
  const [invoice] = (await stripe.invoices.list({ limit: 1, ...params })).data;
  if (invoice === undefined) throw new Error('no invoice');
  return invoice;
}

function quantityOf(invoice: Stripe.Invoice): string | undefined {
  return invoice.lines.data[0]?.quantity_decimal?.toString();
}

describe('invoices of the Stripe simulator', () => {
  it('begin with one that is final at once and makes nothing final', () =>
    withPrice({}, async ({ simulator, stripe, subscribe }) => {
      const subscription = await subscribe();
      const first = await latest(stripe);
      expect(first).toMatchObject({ billing_reason: 'subscription_create', status: 'paid', total: 0 });
      expect(first.lines.data).toMatchObject([{ quantity: 0, period: { end: periodEnd / 1000 } }]);
      expect(simulator.events().map(({ type }) => type)).toEqual([
        'customer.subscription.created',
        'invoice.created',
        'invoice.updated',
        'invoice.finalized',
        'invoice.paid',
      ]);
      simulator.switches.firstInvoiceMeteredLine = 'none';
      await subscribe();
      expect((await latest(stripe)).lines.data).toEqual([]);
      expect((await latest(stripe, { subscription: subscription.id })).id).toBe(first.id);
    }));

  it('are drafted at the end of the period and take the usage of the period as it is an hour later', () =>
    withPrice({}, async ({ simulator, stripe, subscribe, send, price }) => {
      const subscription = await subscribe();
      await send({ value: '100.25' });
      await simulator.advanceTo(periodEnd);
      const draft = await latest(stripe);
      expect(draft).toMatchObject({
        status: 'draft',
        billing_reason: 'subscription_cycle',
        auto_advance: true,
        parent: { type: 'subscription_details', subscription_details: { subscription: subscription.id } },
      });
      expect(toInstant(draft.automatically_finalizes_at)).toBe('2026-07-01T01:00:00Z');
      expect(quantityOf(draft)).toBe('100.25');

      await simulator.advanceTo(periodEnd + hourMs - 1_000);
      await send({ value: '0.000000000001', timestamp: periodEnd / 1000 - 1 });
      await send({ value: '7', timestamp: periodEnd / 1000 });
      await simulator.advanceTo(periodEnd + hourMs);
      const final = await stripe.invoices.retrieve(draft.id);
      expect(final).toMatchObject({ status: 'paid', total: 50, auto_advance: false, amount_paid: 50 });
      expect(final.number).toMatch(/^[A-Z0-9]{8}-0002$/);
      expect(toInstant(final.status_transitions.finalized_at)).toBe('2026-07-01T01:00:00Z');
      const [line] = (await stripe.invoices.listLineItems(final.id)).data;
      expect(line).toMatchObject({
        quantity: 100,
        amount: 50,
        period: { start: Date.parse('2026-06-01T00:00:00Z') / 1000, end: periodEnd / 1000 },
        parent: { subscription_item_details: { subscription_item: subscription.items.data[0]?.id } },
        pricing: { price_details: { price: price.id } },
      });
      expect(line?.quantity_decimal?.toString()).toBe('100.250000000001');
    }));

  it('never bill what arrives after the finalisation, though the summaries show it', () =>
    withPrice({}, async ({ simulator, stripe, subscribe, send, customerId, meterId }) => {
      await subscribe();
      await simulator.advanceTo(periodEnd + 2 * hourMs);
      await send({ value: '40', timestamp: periodEnd / 1000 - 60 });
      await send({ value: '3' });
      const range = { start_time: periodEnd / 1000 - 3_600, end_time: periodEnd / 1000 };
      const { data } = await stripe.billing.meters.listEventSummaries(meterId, { customer: customerId, ...range });
      expect(data.map((row) => row.aggregated_value)).toEqual([40]);
      await simulator.advanceTo(Date.parse('2026-08-01T02:00:00Z'));
      const cycles = simulator.invoices().filter(({ billing_reason }) => billing_reason === 'subscription_cycle');
      expect(cycles.map(({ lines }) => lines.data[0]?.quantity_decimal)).toEqual(['0', '3']);
    }));

  it('bill nothing where the period adds up to less than nothing', () =>
    withPrice({}, async ({ simulator, stripe, subscribe, send }) => {
      await subscribe();
      await send({ value: '-5' });
      await simulator.advanceTo(periodEnd + hourMs);
      expect(await latest(stripe)).toMatchObject({ status: 'paid', total: 0 });
    }));

  it('are held by auto_advance=false and finalise when they are released', () =>
    withPrice({}, async ({ simulator, stripe, subscribe, send }) => {
      await subscribe();
      await simulator.advanceTo(periodEnd);
      const { id } = await latest(stripe);
      const held = await stripe.invoices.update(id, { auto_advance: false, metadata: { held: 'yes' } });
      expect(held).toMatchObject({ auto_advance: false, automatically_finalizes_at: null });
      await simulator.advanceTo(periodEnd + 100 * hourMs);
      expect((await stripe.invoices.retrieve(id)).status).toBe('draft');
      await send({ value: '10', timestamp: periodEnd / 1000 - 1 });
      await stripe.invoices.update(id, { auto_advance: true });
      const released = await stripe.invoices.retrieve(id);
      expect(released.status).toBe('paid');
      expect(quantityOf(released)).toBe('10');
      const updates = simulator.events().filter(({ type }) => type === 'invoice.updated');
      expect(updates.at(-3)?.data.previous_attributes).toMatchObject({ auto_advance: true, metadata: {} });
    }));

  it('finalise later where they are told when', () =>
    withPrice({}, async ({ simulator, stripe, subscribe }) => {
      await subscribe();
      await simulator.advanceTo(periodEnd);
      const { id } = await latest(stripe);
      await stripe.invoices.update(id, { automatically_finalizes_at: (periodEnd + 5 * hourMs) / 1000 });
      await simulator.advanceTo(periodEnd + 6 * hourMs);
      const final = await stripe.invoices.retrieve(id);
      expect(toInstant(final.status_transitions.finalized_at)).toBe('2026-07-01T05:00:00Z');
    }));

  it('wait for a 2xx to invoice.created, an hour from it and 72 hours at most', () =>
    withEndpoint(({ url, secret, answers }) =>
      withPrice({ destinations: [{ url, secret, types: ['invoice.created'] }] }, async (fixture) => {
        const { simulator, stripe, subscribe } = fixture;
        await subscribe();
        await simulator.settleDeliveries();
        answers.push(500, 500);
        await simulator.advanceTo(periodEnd + 2 * hourMs);
        const waiting = await latest(stripe);
        expect([waiting.status, toInstant(waiting.webhooks_delivered_at)]).toEqual(['draft', '2026-07-01T01:05:00Z']);
        expect(toInstant(waiting.automatically_finalizes_at)).toBe('2026-07-01T02:05:00Z');
        await simulator.advanceTo(periodEnd + 3 * hourMs);
        const final = await stripe.invoices.retrieve(waiting.id);
        expect(toInstant(final.status_transitions.finalized_at)).toBe('2026-07-01T02:05:00Z');

        answers.push(500, 500, 500, 500);
        await simulator.advanceTo(Date.parse('2026-08-04T00:00:00Z'));
        const never = await latest(stripe);
        expect([never.webhooks_delivered_at, toInstant(never.status_transitions.finalized_at)]).toEqual([
          null,
          '2026-08-04T00:00:00Z',
        ]);
      }),
    ));

  it('are finalised, paid, voided and given up by hand', () =>
    withPrice({ payments: 'fail', paymentRetriesMs: [], afterLastRetry: 'unpaid' }, async (fixture) => {
      const { simulator, stripe, subscribe, send } = fixture;
      const { id: subscriptionId } = await subscribe();
      await send({ value: '1000' });
      await simulator.advanceTo(periodEnd);
      const { id } = await latest(stripe);
      expect((await stripe.invoices.finalizeInvoice(id, { auto_advance: false })).status).toBe('open');
      expect((await refusalOf(stripe.invoices.finalizeInvoice(id)))?.code).toBe('invoice_not_editable');
      expect((await refusalOf(stripe.invoices.pay(id)))?.type).toBe('StripeCardError');
      expect(await stripe.invoices.pay(id, { paid_out_of_band: true })).toMatchObject({ status: 'paid' });

      await send({ value: '1000' });
      await simulator.advanceTo(Date.parse('2026-08-01T01:00:00Z'));
      expect((await stripe.subscriptions.retrieve(subscriptionId)).status).toBe('unpaid');
      const { id: second } = await latest(stripe);
      expect((await stripe.invoices.markUncollectible(second)).status).toBe('uncollectible');
      expect((await stripe.subscriptions.retrieve(subscriptionId)).status).toBe('active');
      expect((await stripe.invoices.voidInvoice(second)).status).toBe('void');
      const types = simulator.events().map(({ type }) => type);
      expect(types.slice(-4)).toEqual([
        'customer.subscription.updated',
        'invoice.marked_uncollectible',
        'customer.subscription.updated',
        'invoice.voided',
      ]);
    }));

  it('count what the summaries show where the switch says so', () =>
    withPrice({ invoiceUsage: 'visible', summaryLagMs: 6 * hourMs }, async (fixture) => {
      const { simulator, stripe, subscribe, send, clock } = fixture;
      await subscribe();
      await send({ value: '5' });
      clock.advance(periodEnd - clock.now() - hourMs);
      await send({ value: '6' });
      await simulator.advanceTo(periodEnd + hourMs);
      expect(quantityOf(await latest(stripe))).toBe('5');
    }));

  it('are told as events that can be listed, with the object as it was', () =>
    withPrice({}, async ({ stripe, subscribe, clock }) => {
      await subscribe();
      clock.advance(periodEnd - clock.now() + 2 * hourMs);
      const types = ['invoice.created', 'invoice.finalized', 'invoice.paid'];
      const created = { gte: periodEnd / 1000 };
      const { data } = await stripe.events.list({ types, created });
      expect(data.map((event) => [event.type, toInstant(event.created)])).toEqual([
        ['invoice.paid', '2026-07-01T01:00:00Z'],
        ['invoice.finalized', '2026-07-01T01:00:00Z'],
        ['invoice.created', '2026-07-01T00:00:00Z'],
      ]);
      expect(data.map((event) => (event.data.object as Stripe.Invoice).status)).toEqual(['paid', 'open', 'draft']);
      expect(data[0]).toMatchObject({ livemode: false, api_version: '2026-10-28.endive', pending_webhooks: 0 });
      const one = await stripe.events.retrieve(data[0]?.id ?? '');
      expect(one).toEqual(data[0]);
      const page = await stripe.events.list({ types, created, limit: 1, starting_after: data[0]?.id ?? '' });
      expect([page.data.map(({ id }) => id), page.has_more]).toEqual([[data[1]?.id], true]);
      expect((await stripe.events.list({ delivery_success: false })).data).toEqual([]);
    }));
});
