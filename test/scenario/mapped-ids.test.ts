/** Usage that comes under a Stripe customer's own id while a customer of the team's is mapped to it. */
import { describe, expect, it } from 'vitest';
import { HOUR_MS } from '../../src/platform/durations.ts';
import { openStripe } from '../../src/stripe/client.ts';
import { type LentDaemon, withDaemon } from '../support/daemon.ts';

interface Sent {
  readonly accepted: number;
  readonly duplicates: number;
  readonly warnings?: readonly { readonly code: string; readonly detail: string }[];
}

interface Mapped extends LentDaemon {
  /** Stripe's id, which `acme` is mapped to. */
  readonly id: string;
  readonly send: (customerId: string, key: string, quantity: string) => Promise<Sent>;
  /** Aggregates and submits; what Stripe has counted then. */
  total(): Promise<string>;
  readonly decide: (body: object) => Promise<{ status: number; body: Record<string, unknown> }>;
}

const occurredAt = new Date(Math.floor(Date.now() / HOUR_MS) * HOUR_MS - HOUR_MS).toISOString();

function withMapped(use: (mapped: Mapped) => Promise<void>): Promise<void> {
  return withDaemon({}, async (daemon) => {
    const stripe = openStripe({ secretKey: 'sk_test_daemon', apiBase: daemon.simulator.url });
    const { id } = await stripe.customers.create({ name: 'acme' });
    const meter = { eventType: 'call', aggregation: 'sum', stripe: { eventName: 'n' } };
    expect((await daemon.call('PUT', '/v1/meters/n', meter)).status).toBe(200);
    await daemon.run('sync-meters');
    expect((await daemon.call('PUT', '/v1/customers/acme', { stripeCustomerId: id })).status).toBe(200);
    await use({
      ...daemon,
      id,
      send: async (customerId, idempotencyKey, quantity) => {
        const event = { idempotencyKey, customerId, eventType: 'call', occurredAt, quantity };
        return (await (await daemon.call('POST', '/v1/events', event)).json()) as Sent;
      },
      total: async () => {
        for (const job of ['requeue-usage', 'aggregate-usage', 'submit-meter-events']) await daemon.run(job);
        return daemon.simulator.countedTotal({ customer: id, meter: 'n' });
      },
      decide: async (body) => {
        const answer = await daemon.call('POST', `/v1/customers/${id}/decide`, {
          actor: 'ann',
          reason: 'why',
          ...body,
        });
        return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
      },
    });
  });
}

async function blocked(mapped: Mapped): Promise<unknown> {
  return (await mapped.get<{ blocked: unknown }>('/v1/status')).blocked;
}

describe('usage under a Stripe customer id that another customer is mapped to', () => {
  it(
    'is told at once, has a reason of its own, and counts once with the mapped customer when a person says so',
    { timeout: 300_000 },
    () =>
      withMapped(async (mapped) => {
        const { id, send, decide } = mapped;
        await send('acme', 'a', '5');
        await send('acme', 'c', '1');
        const told = await send(id, 'b', '7');
        expect(told).toMatchObject({ accepted: 1, warnings: [{ code: 'customer_mapped_elsewhere' }] });
        expect(told.warnings?.[0]?.detail).toContain('"acme" is mapped to');
        // The same work under both ids, and a key that was used for something else.
        await send(id, 'a', '5');
        await send(id, 'c', '2');
        expect(await mapped.total()).toBe('6');
        expect(await blocked(mapped)).toEqual([{ reason: 'customer_mapped_elsewhere', count: 1 }]);

        expect(await decide({ decision: 'count', dryRun: true })).toMatchObject({
          status: 200,
          body: { mappedTo: 'acme', blocked: 1 },
        });
        expect(await mapped.run('settle-mapped-ids')).toMatchObject({ ids: 0 });
        expect((await decide({ decision: 'count' })).status).toBe(200);
        // The decision rings by itself; what two runs do is done once.
        await Promise.all([mapped.run('settle-mapped-ids'), mapped.run('settle-mapped-ids')]);
        expect(await mapped.run('settle-mapped-ids')).toMatchObject({ counted: 0, duplicates: 2, conflicts: 1 });
        expect(await mapped.total()).toBe('13');
        expect(await blocked(mapped)).toEqual([]);
        const rejected = await mapped.get<{ data: unknown[] }>('/v1/rejected-events');
        expect(rejected.data).toMatchObject([{ code: 'event_conflict', idempotencyKey: 'c', customerId: 'acme' }]);

        // From now on it counts at once; a retry under the old id is a duplicate.
        await new Promise((resolve) => setTimeout(resolve, 3_500));
        expect(await send(id, 'd', '3')).toMatchObject({
          accepted: 1,
          warnings: [{ code: 'customer_mapped_elsewhere' }],
        });
        expect(await send(id, 'd', '3')).toMatchObject({ accepted: 0, duplicates: 1 });
        expect(await send(id, 'b', '7')).toMatchObject({ accepted: 0, duplicates: 1 });
        expect(await mapped.total()).toBe('16');
        const explained = await mapped.get<object>('/v1/customers/acme/explain?meter=n');
        expect(explained).toMatchObject({
          equal: true,
          totals: { sent: '16', submitted: '16', windows: '16', raw: '16' },
        });
        const ofId = await mapped.get<object>(`/v1/customers/${id}/explain?meter=n`);
        expect(ofId).toMatchObject({ totals: { sent: '0', raw: '14' }, between: { late: '14', unexplained: '0' } });
        expect(await mapped.run('reconcile-usage')).toMatchObject({ healed: 0, waiting: 0 });
        expect(await mapped.run('verify-usage', { period: occurredAt.slice(0, 7) })).toMatchObject({ differences: [] });
        expect(await decide({ decision: 'set_aside' })).toMatchObject({
          status: 409,
          body: { code: 'mapped_id_counted' },
        });
        expect((await decide({ decision: 'count' })).status).toBe(200);
      }),
  );

  it('is never billed once a person set it aside, which holds for what came so far', { timeout: 300_000 }, () =>
    withMapped(async (mapped) => {
      const { id, send, decide } = mapped;
      await send(id, 'b', '7');
      expect(await mapped.total()).toBe('0');
      expect((await decide({ decision: 'set_aside' })).status).toBe(200);
      await mapped.run('settle-mapped-ids');
      expect(await mapped.total()).toBe('0');
      expect(await blocked(mapped)).toEqual([]);
      const late = await mapped.get<{ data: unknown[] }>(`/v1/late-usage?customerId=${id}`);
      expect(late.data).toMatchObject([
        {
          quantity: '7',
          reason: 'customer_mapped_elsewhere',
          state: 'dismissed',
          decision: { policy: 'dismiss', actor: 'ann', reason: 'why' },
        },
      ]);
      await send(id, 'e', '1');
      expect(await mapped.total()).toBe('0');
      expect(await blocked(mapped)).toEqual([{ reason: 'customer_mapped_elsewhere', count: 1 }]);
      expect((await decide({ decision: 'count' })).status).toBe(200);
      await mapped.run('settle-mapped-ids');
      expect(await mapped.total()).toBe('8');
      expect(await blocked(mapped)).toEqual([]);
    }),
  );

  it('cannot be adjusted, mapped to itself, or decided where nobody is mapped', { timeout: 300_000 }, () =>
    withMapped(async (mapped) => {
      const { id } = mapped;
      const adjustment = {
        idempotencyKey: 'x',
        customerId: id,
        meter: 'n',
        occurredAt,
        quantity: '1',
        reason: 'r',
        actor: 'ann',
      };
      const adjusted = await mapped.call('POST', '/v1/adjustments', adjustment);
      expect([adjusted.status, await adjusted.json()]).toMatchObject([409, { code: 'customer_mapped_elsewhere' }]);
      const put = await mapped.call('PUT', `/v1/customers/${id}`, { stripeCustomerId: id });
      expect([put.status, await put.json()]).toMatchObject([
        409,
        { code: 'stripe_customer_taken', detail: expect.stringContaining('tallystick customers decide') },
      ]);
      const nobody = await mapped.call('POST', '/v1/customers/cus_Nobody/decide', {
        decision: 'count',
        actor: 'a',
        reason: 'r',
      });
      expect([nobody.status, await nobody.json()]).toMatchObject([409, { code: 'customer_not_mapped_elsewhere' }]);
    }),
  );
});
