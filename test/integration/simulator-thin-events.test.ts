import type { Stripe } from 'stripe';
import { describe, expect, it } from 'vitest';
import { dayMs, refusalOf, startMs, withMeter } from './simulator-fixture.ts';
import { withEndpoint } from './simulator-webhook-fixture.ts';

const reportType = 'v1.billing.meter.error_report_triggered';

/** The data of a report, as the SDK types it. */
type ReportData = Stripe.V2.Core.Events.V1BillingMeterErrorReportTriggeredEvent['data'];

describe('rejections reported by the Stripe simulator', () => {
  it('makes one report of those of one meter within a window, about 2 s after its end', () =>
    withMeter({ errorReportSamples: 2 }, async ({ simulator, stripe, send, clock, meterId, meter }) => {
      await meter('bytes');
      for (const identifier of ['a', 'b', 'c']) await send({ identifier, customer: 'cus_none' });
      await send({ identifier: 'd', customer: 'cus_none', eventName: 'bytes' });
      await send({ identifier: 'counted' });
      clock.advance(10_000);
      await send({ identifier: 'e', customer: 'cus_none' });
      clock.advance(1_999);
      expect(simulator.thinEvents()).toEqual([]);
      clock.advance(1);
      expect(simulator.thinEvents()).toHaveLength(2);
      clock.advance(10_000);
      expect(simulator.thinEvents()).toHaveLength(3);

      const { data: events } = await stripe.v2.core.events.list({ object_id: meterId });
      expect(events.map(({ created }) => created)).toEqual(['2026-06-01T00:00:22.000Z', '2026-06-01T00:00:12.000Z']);
      const report = (events[1] as { data?: ReportData } | undefined)?.data;
      expect(report).toEqual({
        developer_message_summary: 'There are 3 invalid events',
        reason: {
          error_count: 3,
          error_types: [
            {
              code: 'meter_event_customer_not_found',
              error_count: 3,
              sample_errors: ['a', 'b'].map((identifier) => ({
                error_message: 'No customer was found for cus_none.',
                request: { identifier },
              })),
            },
          ],
        },
        validation_start: '2026-06-01T00:00:00.000Z',
        validation_end: '2026-06-01T00:00:10.000Z',
      });
    }));

  it('sends a signed notification without data, from which the SDK fetches event and meter', () =>
    withEndpoint(({ url, secret, received }) =>
      withMeter({ destinations: [{ url, secret, kind: 'thin' }] }, async (fixture) => {
        const { simulator, stripe, send, clock, meterId } = fixture;
        await send({ identifier: 'a', customer: 'cus_none' });
        clock.advance(12_000);
        await simulator.deliverDue();
        const [webhook] = received;
        expect(webhook?.body).not.toContain('"data"');
        const { body = '', signature = '' } = webhook ?? {};
        const notification = stripe.parseEventNotification(body, signature, secret, 300, undefined, clock.now());
        if (notification.type !== reportType) throw new Error(`an event of type ${notification.type}`);
        expect((await notification.fetchRelatedObject()).id).toBe(meterId);
        const event = await notification.fetchEvent();
        expect(event.data.reason.error_types[0]?.sample_errors[0]?.request).toEqual({ identifier: 'a' });
      }),
    ));

  it.each([
    ['identifier', { identifier: 'event-1' }],
    ['key-as-identifier', { identifier: 'key-1' }],
    ['idempotency-key', { id: '', idempotency_key: 'key-1' }],
  ] as const)('names an event in the form %s', (errorReportSampleForm, request) =>
    withMeter({ errorReportSampleForm }, async ({ simulator, stripe, clock }) => {
      const payload = { stripe_customer_id: 'cus_none', value: '1' };
      const event = { event_name: 'calls', payload, identifier: 'event-1' };
      await stripe.billing.meterEvents.create(event, { idempotencyKey: 'key-1' });
      clock.advance(12_000);
      const [{ data } = { data: {} }] = simulator.thinEvents();
      expect((data as ReportData).reason.error_types[0]?.sample_errors[0]?.request).toEqual(request);
    }),
  );

  it('reports an unknown meter without a related object, where the switch accepts it first', () =>
    withMeter({ rejectedLater: ['no_meter'] }, async ({ simulator, stripe, send, clock }) => {
      expect(await send({ eventName: 'nothing', identifier: 'x' })).toMatchObject({ identifier: 'x' });
      clock.advance(12_000);
      const [event] = simulator.thinEvents();
      expect(event).toMatchObject({ type: 'v1.billing.meter.no_meter_found' });
      expect(event).not.toHaveProperty('related_object');
      expect(await stripe.v2.core.events.retrieve(event?.id ?? '')).toMatchObject({ id: event?.id });
    }));

  it('rejects later what a test decides, counts none of it and keeps the identifier', () =>
    withMeter(
      { rejectLater: ({ identifier }) => (identifier === 'b' ? 'archived_meter' : undefined) },
      async ({ simulator, send, customerId }) => {
        for (const identifier of ['a', 'b', 'c']) await send({ identifier });
        expect(simulator.countedTotal({ customer: customerId, meter: 'calls' })).toBe('2');
        expect(simulator.asyncRejections).toMatchObject([{ identifier: 'b', code: 'archived_meter' }]);
        expect((await refusalOf(send({ identifier: 'b' })))?.message).toContain('already exists');
        simulator.switches.identifierReuseAfterRejection = true;
        simulator.switches.rejectLater = undefined;
        expect(await refusalOf(send({ identifier: 'b' }))).toBeUndefined();
        expect(simulator.countedTotal({ customer: customerId, meter: 'calls' })).toBe('3');
      },
    ));

  it('lists by type, time and page, and for 30 days', () =>
    withMeter({}, async (fixture) => {
      const { simulator, stripe, send, clock } = fixture;
      for (let index = 0; index < 5; index += 1) {
        await send({ customer: 'cus_none' });
        clock.advance(60_000);
      }
      const all = simulator.thinEvents().map(({ id }) => id);
      const paged: string[] = [];
      for await (const { id } of stripe.v2.core.events.list({ types: [reportType], limit: 2 })) paged.push(id);
      expect(paged).toEqual(all.toReversed());
      expect((await stripe.v2.core.events.list({ types: ['v1.billing.meter.no_meter_found'] })).data).toEqual([]);
      const since = startMs / 1000 + 3 * 60;
      expect((await stripe.v2.core.events.list({ created: { gte: since } })).data).toHaveLength(2);
      const rfc3339 = encodeURIComponent(new Date(since * 1000).toISOString());
      const raw = await fixture.raw(`/v2/core/events?created[gte]=${rfc3339}`);
      expect(((await raw.json()) as { data: object[] }).data).toHaveLength(2);
      clock.advance(30 * dayMs);
      expect((await stripe.v2.core.events.list({})).data).toEqual([]);
      expect((await refusalOf(stripe.v2.core.events.retrieve(all[0] ?? '')))?.statusCode).toBe(404);
    }));
});
