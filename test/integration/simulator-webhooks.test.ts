import { describe, expect, it, vi } from 'vitest';
import { systemClock } from '../../src/platform/clock.ts';
import { hourMs, startSeconds, withMeter } from './simulator-fixture.ts';
import type { MeterFixture } from './simulator-fixture.ts';
import { withEndpoint } from './simulator-webhook-fixture.ts';

/** Lets one report come due: one thin event. */
async function reject({ send, clock }: MeterFixture): Promise<void> {
  await send({ customer: 'cus_none' });
  clock.advance(12_000);
}

describe('webhooks of the Stripe simulator', () => {
  it('signs every attempt anew and retries with growing pauses until it is answered with a 2xx', () =>
    withEndpoint(({ url, secret, received, answers }) =>
      withMeter({ destinations: [{ url, secret, kind: 'thin' }] }, async (fixture) => {
        const { simulator, clock, stripe } = fixture;
        await reject(fixture);
        answers.push(500, 302);
        await simulator.advanceTo(clock.now() + 2 * hourMs);
        expect(simulator.deliveries().map(({ attempt, status, outcome }) => [attempt, status, outcome])).toEqual([
          [1, 500, 'retried'],
          [2, 302, 'retried'],
          [3, 200, 'delivered'],
        ]);
        const timestamps = received.map(({ signature }) => Number(/t=(\d+)/.exec(signature)?.[1]));
        expect(timestamps).toEqual([0, 300, 3_900].map((after) => startSeconds + 12 + after));
        for (const { body, signature } of received) {
          expect(
            stripe.webhooks.signature?.verifyHeader(body, signature, secret, 300, undefined, startSeconds * 1000),
          ).toBe(true);
        }
        expect(new Set(received.map(({ signature }) => signature)).size).toBe(3);
      }),
    ));

  it('gives an event up after the last retry, and sends it again by hand', () =>
    withEndpoint(({ url, secret, received, answers }) =>
      withMeter({ destinations: [{ url, secret, kind: 'thin' }], webhookBackoffMs: [1_000] }, async (fixture) => {
        const { simulator } = fixture;
        await reject(fixture);
        answers.push(400, 400);
        expect((await simulator.settleDeliveries()).map(({ outcome }) => outcome)).toEqual(['retried', 'given-up']);
        expect(simulator.nextDueAt()).toBeUndefined();
        simulator.resend(simulator.thinEvents()[0]?.id ?? '');
        expect((await simulator.deliverDue()).map(({ outcome }) => outcome)).toEqual(['delivered']);
        expect(received).toHaveLength(3);
      }),
    ));

  it('counts no answer as a failure', () =>
    withMeter({}, async (fixture) => {
      const { simulator } = fixture;
      simulator.addDestination({ url: 'http://127.0.0.1:1/nobody', secret: 'whsec_x', kind: 'thin' });
      await reject(fixture);
      expect(await simulator.deliverDue()).toMatchObject([{ status: undefined, outcome: 'retried' }]);
    }));

  it('sends a destination its kind and types only, and nothing off this machine', () =>
    withEndpoint(({ url, secret, received }) =>
      withMeter({}, async (fixture) => {
        const { simulator } = fixture;
        simulator.addDestination({ url, secret });
        simulator.addDestination({ url, secret, kind: 'thin', types: ['v1.billing.meter.no_meter_found'] });
        await reject(fixture);
        expect(await simulator.settleDeliveries()).toEqual([]);
        expect(received).toEqual([]);
        for (const elsewhere of ['https://127.0.0.1/', 'http://example.com/', 'http://10.0.0.1/', 'hooks']) {
          expect(() => simulator.addDestination({ url: elsewhere, secret })).toThrow(RangeError);
        }
      }),
    ));

  it('sends twice and out of order by seed, and with further signatures by switch', () =>
    withEndpoint(({ url, secret, received }) =>
      withMeter(
        {
          destinations: [{ url, secret, kind: 'thin' }],
          webhookDuplicates: 1,
          webhookOrder: 'shuffled',
          webhookV0: true,
          webhookSecondV1: true,
          seed: 7,
        },
        async (fixture) => {
          const { simulator, stripe, clock } = fixture;
          for (let index = 0; index < 6; index += 1) await reject(fixture);
          await simulator.deliverDue();
          const ids = simulator.thinEvents().map(({ id }) => id);
          const got = received.map(({ id }) => id);
          expect(got.slice(0, 6)).not.toEqual(ids);
          expect(got.toSorted()).toEqual([...ids, ...ids].toSorted());
          const [{ body, signature } = { body: '', signature: '' }] = received;
          expect(signature).toMatch(/^t=\d+,v1=[0-9a-f]{64},v1=[0-9a-f]{64},v0=[0-9a-f]{64}$/);
          expect(stripe.webhooks.signature?.verifyHeader(body, signature, secret, 300, undefined, clock.now())).toBe(
            true,
          );
        },
      ),
    ));

  it('is controlled from another process', () =>
    withEndpoint(({ url, secret }) =>
      withMeter({}, async (fixture) => {
        const { raw } = fixture;
        const post = async (path: string, body: object): Promise<unknown> =>
          (await raw(`/_sim/${path}`, { method: 'POST', body: JSON.stringify(body) })).json();
        expect(await post('destinations', { url, secret, kind: 'thin' })).toMatchObject({ id: 'we_1', url });
        expect(await post('switches', { webhookV0: true })).toMatchObject({ switches: { webhookV0: true } });
        expect(await post('switches', { webhookV0: 'yes' })).toEqual({ error: 'webhookV0 is a boolean' });
        await fixture.send({ customer: 'cus_none' });
        await post('advance', { byMs: hourMs });
        const sent = (await (await raw('/_sim/deliveries')).json()) as { deliveries: object[] };
        expect(sent.deliveries).toMatchObject([{ outcome: 'delivered', kind: 'thin' }]);
        expect(await post('destinations/remove', { id: 'we_1' })).toEqual({ removed: true });
      }),
    ));

  it('happen and are sent by themselves where the simulator runs automatically', () =>
    withEndpoint(({ url, secret, received }) =>
      withMeter(
        {
          clock: systemClock,
          automatic: true,
          errorReportWindowMs: 10,
          errorReportDelayMs: 1,
          destinations: [{ url, secret, kind: 'thin' }],
        },
        async ({ raw }) => {
          const body = JSON.stringify({ type: 'v1.billing.meter.error_report_triggered' });
          expect((await raw('/_sim/trigger', { method: 'POST', body })).status).toBe(200);
          await vi.waitFor(() => expect(received).toHaveLength(1), { timeout: 10_000 });
          const unknown = JSON.stringify({ type: 'charge.failed' });
          expect((await raw('/_sim/trigger', { method: 'POST', body: unknown })).status).toBe(400);
        },
      ),
    ));
});
