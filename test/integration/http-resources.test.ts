/** The routes of customers, meters, usage and raw events over real jobs and a real database. */
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import { fastify } from 'fastify';
import type { Db } from 'mongodb';
import { describe, expect, it } from 'vitest';
import { SeenValues } from '../../src/usage/seen-values-store.ts';
import { meterWarnings } from '../../src/daemon/silent-conditions.ts';
import { putCustomer } from '../../src/customers/put-customer.ts';
import { putMeter } from '../../src/meters/put-meter.ts';
import { readEvents } from '../../src/usage/read-events.ts';
import { readUsage } from '../../src/aggregation/read-usage.ts';
import { ManualClock } from '../../src/platform/clock.ts';
import { DaemonError } from '../../src/platform/errors.ts';
import { registerCustomerEvents } from '../../src/usage/customer-events-routes.ts';
import { registerCustomers } from '../../src/customers/customers-routes.ts';
import { registerMeters } from '../../src/meters/meters-routes.ts';
import { registerUsage } from '../../src/aggregation/usage-routes.ts';
import { Customers } from '../../src/customers/customers-store.ts';
import { ensureIndexes } from '../../src/daemon/indexes-store.ts';
import { withLiveUsage } from '../../src/aggregation/live-usage-store.ts';
import { Meters, toMeter } from '../../src/meters/meters-store.ts';
import { UnbilledUsageList } from '../../src/reconciliation/unbilled-usage-store.ts';
import { UsageAggregates } from '../../src/aggregation/usage-aggregates-store.ts';
import { RawFacts } from '../../src/usage/raw-facts-store.ts';
import { withDatabase } from '../support/services.ts';
import { deriveWaiting, ingestEvents, ms } from '../support/usage.ts';

type Call = (
  method: 'GET' | 'PUT',
  url: string,
  body?: object,
) => Promise<{ status: number; body: Record<string, unknown> }>;

/** The four resources on a server of their own: what a failure becomes is the application's, and tested there. */
function withRoutes(use: (call: Call, db: Db) => Promise<void>): Promise<void> {
  return withDatabase(async (db) => {
    await ensureIndexes(db);
    const clock = new ManualClock(ms('2026-11-21T05:30:00Z'));
    const customers = new Customers(db);
    const meters = new Meters(db);
    const rawFacts = new RawFacts(db);
    const app = fastify({ ajv: { customOptions: { coerceTypes: false } } }).withTypeProvider<TypeBoxTypeProvider>();
    app.setErrorHandler((error, _request, reply) =>
      error instanceof DaemonError ? reply.code(409).send({ code: error.code }) : reply.send(error),
    );
    const usage = new UsageAggregates(db);
    registerCustomers(app, {
      putCustomer: (input) => putCustomer({ clock, customers, usage }, input),
      findCustomer: (customerId) => customers.find(customerId),
      listCustomers: (query) => customers.list(query),
      unbilledOf: (customerId) => new UnbilledUsageList(db).list({ customerId, limit: 10 }),
    });
    registerMeters(app, {
      putMeter: (input) => putMeter({ clock, meters }, input),
      findMeter: (key) => meters.find(key),
      listMeters: () => meters.list(),
      warnings: () => meterWarnings({ meters, seenValues: new SeenValues(db) }),
    });
    registerUsage(app, {
      readUsage: (query) => readUsage({ clock, withLiveUsage: (work) => withLiveUsage(db, work) }, query),
    });
    const findMeter = async (key: string): Promise<ReturnType<typeof toMeter> | undefined> => {
      const found = await meters.find(key);
      return found === null ? undefined : toMeter(found);
    };
    registerCustomerEvents(app, {
      readEvents: (input) => readEvents({ clock, customers, findMeter, rawFacts }, input),
    });
    try {
      await use(async (method, url, body) => {
        const answer = await app.inject({
          method,
          url,
          ...(body && { payload: body }),
        });
        return {
          status: answer.statusCode,
          body: answer.json<Record<string, unknown>>(),
        };
      }, db);
    } finally {
      await app.close();
    }
  });
}

describe('the routes of customers', () => {
  it('put, change, clear and show a customer', async () => {
    await withRoutes(async (call) => {
      const put = await call('PUT', '/v1/customers/acme%2Fberlin', {
        stripeCustomerId: 'cus_1',
        name: 'Acme',
        billingAnchor: '2026-01-15T12:23:45+02:00',
      });
      const shown = {
        customerId: 'acme/berlin',
        stripeCustomerId: 'cus_1',
        name: 'Acme',
        billingAnchor: '2026-01-15T10:23:45.000Z',
        billingCalendar: { anchor: '2026-01-15T10:23:45.000Z', interval: 'month', intervalCount: 1, source: 'stated' },
        submitFrom: '2026-11-15T10:23:45.000Z',
        createdAt: '2026-11-21T05:30:00.000Z',
        updatedAt: '2026-11-21T05:30:00.000Z',
      };
      expect(put).toEqual({ status: 200, body: shown });
      expect(await call('GET', '/v1/customers/acme%2Fberlin')).toEqual(put);
      const { name: _, ...cleared } = shown;
      expect((await call('PUT', '/v1/customers/acme%2Fberlin', { name: null })).body).toEqual(cleared);
      expect((await call('GET', '/v1/customers/nobody')).body).toEqual({
        code: 'customer_not_found',
      });
    });
  });

  it('list customers page by page, and those that are not mapped', async () => {
    await withRoutes(async (call) => {
      for (const id of ['a', 'b', 'c']) await call('PUT', `/v1/customers/${id}`, {});
      await call('PUT', '/v1/customers/d', { stripeCustomerId: 'cus_1' });
      const seen: unknown[] = [];
      let cursor: string | null = null;
      do {
        const query = cursor === null ? '' : `&cursor=${cursor}`;
        const { body } = await call('GET', `/v1/customers?limit=2${query}`);
        seen.push((body['data'] as { customerId: string }[]).map(({ customerId }) => customerId));
        cursor = body['nextCursor'] as string | null;
        expect(body['hasMore']).toBe(cursor !== null);
      } while (cursor !== null);
      expect(seen).toEqual([
        ['a', 'b'],
        ['c', 'd'],
      ]);
      expect((await call('GET', '/v1/customers?unmapped=true')).body['data']).toHaveLength(3);
    });
  });

  it.each([{ billingInterval: 'week' }, { name: { first: 'A' } }])('refuse %o', async (body) => {
    await withRoutes(async (call) => {
      expect((await call('PUT', '/v1/customers/acme', body)).status).toBe(400);
    });
  });
});

describe('the routes of meters', () => {
  it('put, show and list meters as they were put', async () => {
    await withRoutes(async (call) => {
      const meter = {
        displayName: 'Calls',
        unit: 'call',
        eventType: 'call',
        aggregation: 'sum',
        valueFrom: 'properties.size',
        where: [{ property: 'plan', in: ['pro', 1.5, false] }],
        groupBy: ['userId'],
        effectiveFrom: '2026-11-01T00:00:00.000Z',
        lateUsage: 'next_period',
        stripe: { eventName: 'calls' },
      };
      const put = await call('PUT', '/v1/meters/calls', meter);
      expect(put).toMatchObject({
        status: 200,
        body: { key: 'calls', inUse: false, ...meter },
      });
      expect(await call('GET', '/v1/meters/calls')).toEqual(put);
      await call('PUT', '/v1/meters/more', {
        eventType: 'call',
        aggregation: 'count',
      });
      const first = await call('GET', '/v1/meters?limit=1');
      expect(first.body).toMatchObject({
        data: [{ key: 'calls' }],
        hasMore: true,
      });
      const second = await call('GET', `/v1/meters?cursor=${String(first.body['nextCursor'])}`);
      expect(second.body).toMatchObject({
        data: [{ key: 'more' }],
        hasMore: false,
        nextCursor: null,
      });
      const { body } = await call('PUT', '/v1/meters/calls', {
        where: null,
        stripe: null,
        effectiveFrom: null,
      });
      expect(body).toMatchObject({ where: [] });
      expect(body).not.toHaveProperty('stripe');
      expect((await call('GET', '/v1/meters/none')).body).toEqual({
        code: 'meter_not_found',
      });
    });
  });

  it('refuse an aggregation that is none', async () => {
    await withRoutes(async (call) => {
      const { status } = await call('PUT', '/v1/meters/calls', {
        eventType: 'call',
        aggregation: 'average',
      });
      expect(status).toBe(400);
    });
  });
});

describe('the route of usage', () => {
  it('shows live figures by window and by group', async () => {
    await withRoutes(async (call, db) => {
      await call('PUT', '/v1/meters/calls', {
        eventType: 'call',
        aggregation: 'sum',
        groupBy: ['plan', 'userId'],
      });
      await ingestEvents(db, [
        {
          at: '2026-11-20T05:00:00Z',
          quantity: '0.000000000001',
          properties: { plan: 'pro' },
        },
      ]);
      await deriveWaiting(db);
      await ingestEvents(db, [{ at: '2026-11-21T05:00:00Z', quantity: 2, properties: { plan: 5 } }]);
      const { status, body } = await call('GET', '/v1/customers/acme/usage?meter=calls&window=day&groupBy=plan');
      expect(status).toBe(200);
      expect(body).toEqual({
        customerId: 'acme',
        from: '2026-11-01T00:00:00.000Z',
        to: '2026-12-01T00:00:00.000Z',
        asOf: '2026-11-21T05:30:00.000Z',
        meters: [
          {
            meter: 'calls',
            unit: 'unit',
            quantity: '2.000000000001',
            eventCount: 2,
            windows: [
              {
                from: '2026-11-20T00:00:00.000Z',
                to: '2026-11-21T00:00:00.000Z',
                quantity: '0.000000000001',
                eventCount: 1,
              },
              {
                from: '2026-11-21T00:00:00.000Z',
                to: '2026-11-22T00:00:00.000Z',
                quantity: '2',
                eventCount: 1,
              },
            ],
            groups: [
              { by: { 'properties.plan': '5' }, quantity: '2', eventCount: 1 },
              {
                by: { 'properties.plan': 'pro' },
                quantity: '0.000000000001',
                eventCount: 1,
              },
            ],
          },
        ],
      });
      const byUser = await call('GET', '/v1/customers/acme/usage?groupBy=userId');
      expect(byUser.body['meters']).toMatchObject([{ groups: [{ by: { userId: null }, quantity: '2.000000000001' }] }]);
    });
  });

  it('says what is wrong with a question', async () => {
    await withRoutes(async (call) => {
      await call('PUT', '/v1/meters/calls', {
        eventType: 'call',
        aggregation: 'sum',
      });
      const code = async (query: string): Promise<unknown> =>
        (await call('GET', `/v1/customers/acme/usage?${query}`)).body['code'];
      expect(await code('groupBy=plan')).toBe('group_by_not_kept');
      expect(await code('meter=none')).toBe('meter_not_found');
      expect(await code('from=2026-11-21T00:00:00Z')).toBe('range_invalid');
      expect((await call('GET', '/v1/customers/acme/usage?window=week')).status).toBe(400);
    });
  });
});

describe('the route of raw events', () => {
  const keysOf = (body: Record<string, unknown>): string[] =>
    (body['data'] as { idempotencyKey: string }[]).map(({ idempotencyKey }) => idempotencyKey);

  it('shows events in time order, page by page, also many of one instant', async () => {
    await withRoutes(async (call, db) => {
      const at = ['2026-11-03T05:00:00Z', '2026-11-03T05:00:00Z', '2026-11-03T05:00:00Z', '2026-11-19T00:00:00Z'];
      await ingestEvents(db, [
        ...at.map((instant, index) => ({ at: instant, key: `k${index}` })),
        { at: '2026-10-31T23:59:59Z', key: 'before' },
        { at: '2026-11-03T05:00:00Z', key: 'other', customerId: 'other' },
      ]);
      const first = await call('GET', '/v1/customers/acme/events?limit=2');
      expect(keysOf(first.body)).toEqual(['k0', 'k1']);
      const second = await call('GET', `/v1/customers/acme/events?limit=2&cursor=${String(first.body['nextCursor'])}`);
      expect(keysOf(second.body)).toEqual(['k2', 'k3']);
      expect(second.body).toMatchObject({ hasMore: false, nextCursor: null });
    });
  });

  it('shows what a meter looks at, with numbers as exact texts', async () => {
    await withRoutes(async (call, db) => {
      await call('PUT', '/v1/meters/calls', {
        eventType: 'call',
        aggregation: 'sum',
        where: [{ property: 'plan', in: ['pro', 0.5] }],
        effectiveFrom: '2026-11-03T05:00:00Z',
      });
      await ingestEvents(db, [
        {
          at: '2026-11-03T05:00:00Z',
          key: 'k1',
          properties: { plan: 'pro' },
          quantity: '0.000000000001',
          userId: 'u',
        },
        {
          at: '2026-11-03T05:00:00Z',
          key: 'k2',
          properties: { plan: 'basic' },
        },
        { at: '2026-11-03T05:00:00Z', key: 'k3' },
        {
          at: '2026-11-03T05:00:00Z',
          key: 'k4',
          properties: { plan: 'pro' },
          eventType: 'upload',
        },
        { at: '2026-11-03T04:59:59Z', key: 'k5', properties: { plan: 'pro' } },
      ]);
      const { body } = await call('GET', '/v1/customers/acme/events?meter=calls');
      expect(body['data']).toEqual([
        {
          idempotencyKey: 'k1',
          customerId: 'acme',
          eventType: 'call',
          occurredAt: '2026-11-03T05:00:00.000Z',
          receivedAt: '2026-11-03T05:00:00.000Z',
          quantity: '0.000000000001',
          userId: 'u',
          properties: { plan: 'pro' },
        },
      ]);
    });
  });
});
