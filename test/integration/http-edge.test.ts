import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { Authenticator } from '../../src/platform/http/auth.ts';
import { decodeCursor, encodeCursor } from '../../src/platform/http/cursor.ts';
import { needs } from '../../src/platform/http/route.ts';
import { ManualClock } from '../../src/platform/clock.ts';
import { DaemonError } from '../../src/platform/errors.ts';
import { Type } from 'typebox';
import { ADMIN_KEY, type EventsApp, NOW_MS, withEventsApp } from '../support/http-app.ts';

const HEADERS = { authorization: `Bearer ${ADMIN_KEY}` };

const GOOD = {
  idempotencyKey: 'req:1',
  customerId: 'acme',
  eventType: 'api.call',
  occurredAt: '2026-11-21T05:00:00Z',
};

async function call({ app }: EventsApp, request: string, payload?: object) {
  const [method = 'GET', url = ''] = request.split(' ');
  const response = await app.inject({
    method: method as 'GET',
    url,
    headers: HEADERS,
    ...(payload !== undefined && { payload }),
  });
  const body = response.body === '' ? {} : (JSON.parse(response.body) as Record<string, unknown>);
  return { status: response.statusCode, body };
}

interface List {
  data: { id: string; code: string; count: number; text: string }[];
  nextCursor: string | null;
  hasMore: boolean;
}

async function list(lent: EventsApp, query = ''): Promise<List> {
  return (await call(lent, `GET /v1/rejected-events${query}`)).body as unknown as List;
}

describe('rejected events', () => {
  it('are listed newest first, page by page, each once', async () => {
    await withEventsApp({}, async (lent) => {
      for (const quantity of ['a', 'b', 'c', 'd', 'e']) {
        await call(lent, 'POST /v1/events', { ...GOOD, quantity });
        lent.clock.advance(1_000);
      }
      const first = await list(lent, '?limit=2');
      expect(first.hasMore).toBe(true);
      const second = await list(lent, `?limit=2&cursor=${first.nextCursor}`);
      const third = await list(lent, `?limit=2&cursor=${second.nextCursor}`);
      expect(third).toMatchObject({ hasMore: false, nextCursor: null });
      const seen = [first, second, third].flatMap(({ data }) =>
        data.map(({ text }) => (JSON.parse(text) as { quantity: string }).quantity),
      );
      expect(seen).toEqual(['e', 'd', 'c', 'b', 'a']);
      expect((await list(lent, '?code=field_missing')).data).toEqual([]);
    });
  });

  it('are replayed with a correction and then gone', async () => {
    await withEventsApp({}, async (lent) => {
      await call(lent, 'POST /v1/events', { ...GOOD, quantity: 'x' });
      const [entry] = (await list(lent)).data;
      const path = `POST /v1/rejected-events/${entry?.id}/replay`;
      const refused = await call(lent, path);
      expect(refused).toMatchObject({
        status: 422,
        body: { code: 'event_rejected', errors: [{ pointer: '/quantity' }] },
      });
      const replayed = await call(lent, path, { event: { ...GOOD, quantity: '5' } });
      expect(replayed).toMatchObject({ status: 200, body: { outcome: 'accepted', idempotencyKey: 'req:1' } });
      expect((await list(lent)).data).toEqual([]);
      expect(await call(lent, path)).toMatchObject({ status: 404, body: { code: 'rejected_event_not_found' } });
      expect(await lent.db.collection('usage_events').countDocuments()).toBe(1);
    });
  });

  it('are replayed as they are once they are allowed', async () => {
    await withEventsApp({}, async (lent) => {
      await call(lent, 'POST /v1/events', { ...GOOD, occurredAt: '2026-11-21T05:40:00Z' });
      lent.clock.advance(600_000);
      const [entry] = (await list(lent)).data;
      const replayed = await call(lent, `POST /v1/rejected-events/${entry?.id}/replay`);
      expect(replayed).toMatchObject({ status: 200, body: { outcome: 'accepted' } });
    });
  });

  it('stay when their correction conflicts, and can be deleted once', async () => {
    await withEventsApp({}, async (lent) => {
      await call(lent, 'POST /v1/events', [GOOD, { ...GOOD, quantity: '2' }]);
      const [entry] = (await list(lent)).data;
      expect(entry?.code).toBe('event_conflict');
      const path = `/v1/rejected-events/${entry?.id}`;
      expect(await call(lent, `POST ${path}/replay`)).toMatchObject({ status: 409, body: { code: 'event_conflict' } });
      expect((await call(lent, `DELETE ${path}`)).status).toBe(204);
      expect((await call(lent, `DELETE ${path}`)).status).toBe(404);
    });
  });

  it('that were cut off or are no JSON need a correction', async () => {
    await withEventsApp({}, async (lent) => {
      await call(lent, 'POST /v1/events', { ...GOOD, userId: 'x'.repeat(20_000) });
      const [entry] = (await list(lent)).data;
      const path = `POST /v1/rejected-events/${entry?.id}/replay`;
      expect(await call(lent, path)).toMatchObject({ status: 422, body: { code: 'rejected_event_unreadable' } });
      expect(await call(lent, path, GOOD)).toMatchObject({ status: 200 });
    });
  });
});

describe('a query', () => {
  it('is neither converted nor guessed at', async () => {
    await withEventsApp({}, async (lent) => {
      for (const query of ['?limit=0', '?limit=1001', '?limit=1.5', '?limit=-1', '?limt=5', '?limit=1&limit=2']) {
        const { status, body } = await call(lent, `GET /v1/rejected-events${query}`);
        expect([status, body['code']], query).toEqual([400, 'request_invalid']);
      }
      expect((await call(lent, 'GET /v1/rejected-events?limit=1000')).status).toBe(200);
    });
  });

  it('takes only cursors of its own list', async () => {
    await withEventsApp({}, async (lent) => {
      for (const cursor of ['abc', encodeCursor(['x', 'y']), encodeCursor([1]), encodeCursor([1e300, 'x'])]) {
        const { status, body } = await call(lent, `GET /v1/rejected-events?cursor=${cursor}`);
        expect([status, body['code']]).toEqual([400, 'cursor_invalid']);
      }
      expect(decodeCursor(encodeCursor([1, 'ä']), Type.Tuple([Type.Integer(), Type.String()]))).toEqual([1, 'ä']);
    });
  });
});

describe('the app', () => {
  it('does not start with a route under /v1 that does not say who may call it', async () => {
    const building = withEventsApp({ routes: [(app) => app.get('/v1/open', () => 'secrets')] }, () =>
      Promise.resolve('built'),
    );
    await expect(building).rejects.toMatchObject({ kind: 'defect', context: { url: '/v1/open' } });
  });

  it('keeps what a defect says to itself and logs it under the request id', async () => {
    const routes = [
      (app: EventsApp['app']) =>
        void app.get('/v1/broken', { schema: { security: needs('admin') } }, () => {
          throw new Error('the inside');
        }),
    ];
    await withEventsApp({ routes }, async (lent) => {
      const { status, body } = await call(lent, 'GET /v1/broken');
      expect([status, body['code']]).toEqual([500, 'internal_error']);
      expect(JSON.stringify(body)).not.toContain('the inside');
      expect(lent.log).toMatchObject([
        { phrase: 'request failed', fields: { requestId: body['requestId'], route: '/v1/broken' } },
      ]);
    });
  });

  it("takes the blame for a library's error, whatever status that names", async () => {
    const routes = [
      (app: EventsApp['app']) =>
        void app.get('/v1/broken', { schema: { security: needs('admin') } }, () => {
          throw Object.assign(new Error('the inside'), { statusCode: 404, code: 'resource_missing' });
        }),
    ];
    await withEventsApp({ routes }, async (lent) => {
      expect(await call(lent, 'GET /v1/broken')).toMatchObject({ status: 500, body: { code: 'internal_error' } });
    });
  });

  it('answers what no route ever saw as problems', async () => {
    await withEventsApp({}, async (lent) => {
      expect(await call(lent, 'GET /v1/rejected-events/%ff')).toMatchObject({
        status: 400,
        body: { code: 'request_invalid' },
      });
      const payload = '{"__proto__":{"a":1}}';
      const headers = { ...HEADERS, 'content-type': 'application/json' };
      const poisoned = await lent.app.inject({ method: 'POST', url: '/v1/rejected-events/a/replay', headers, payload });
      expect(poisoned.json()).toMatchObject({ status: 400, code: 'body_not_json' });
      const url = '/v1/rejected-events/a/replay';
      const empty = await lent.app.inject({ method: 'POST', url, headers, payload: '' });
      expect(empty.json()).toMatchObject({ status: 404, code: 'rejected_event_not_found' });
      const wrong = await lent.app.inject({ method: 'POST', url, headers, payload: '[]' });
      expect(wrong.json()).toMatchObject({ status: 400, code: 'request_invalid' });
      expect(wrong.json()).toHaveProperty('errors.0.pointer', '');
    });
  });

  it('answers unknown routes as problems', async () => {
    await withEventsApp({}, async (lent) => {
      expect(await call(lent, 'GET /nowhere?secret=1')).toMatchObject({
        status: 404,
        body: { code: 'route_not_found', detail: 'There is no GET /nowhere.' },
      });
    });
  });

  it('describes every route under /v1 in OpenAPI 3.1, with its security and its errors', async () => {
    await withEventsApp({}, async (lent) => {
      const { body } = await call(lent, 'GET /openapi.json');
      expect(body['openapi']).toBe('3.1.0');
      const paths = body['paths'] as Record<string, Record<string, { security?: unknown; responses: object }>>;
      const operations = Object.entries(paths).filter(([path]) => path.startsWith('/v1/'));
      expect(operations.map(([path]) => path)).toContain('/v1/rejected-events/{id}/replay');
      for (const [path, methods] of operations) {
        for (const { security, responses } of Object.values(methods)) {
          expect(security, path).toEqual([{ apiKey: [expect.any(String)] }]);
          expect(Object.keys(responses), path).toContain('default');
        }
      }
      const ingest = paths['/v1/events']?.['post'] as { requestBody?: { content: object } } | undefined;
      expect(Object.keys(ingest?.requestBody?.content ?? {})).toContain('application/x-ndjson');
      expect((await lent.app.inject({ url: '/docs/' })).statusCode).toBe(200);
    });
  });
});

describe('health', () => {
  it('lives without its stores, and is ready only with those it needs', async () => {
    const state = { draining: false, mongodb: true, redis: true };
    const check = (name: 'mongodb' | 'redis', needed: boolean) => ({
      name,
      needed,
      check: () => (state[name] ? Promise.resolve() : Promise.reject(new Error('away'))),
    });
    const health = {
      isDraining: () => state.draining,
      checks: [check('mongodb', true), check('redis', false)],
    };
    await withEventsApp({ health }, async (lent) => {
      expect(await call(lent, 'GET /readyz')).toMatchObject({ status: 200, body: { status: 'ready' } });
      state.redis = false;
      expect(await call(lent, 'GET /readyz')).toMatchObject({ status: 200, body: { checks: { redis: 'away' } } });
      state.mongodb = false;
      expect(await call(lent, 'GET /readyz')).toMatchObject({ status: 503, body: { status: 'not_ready' } });
      expect((await call(lent, 'GET /livez')).status).toBe(200);
      Object.assign(state, { draining: true, mongodb: true });
      expect(await call(lent, 'GET /readyz')).toMatchObject({ status: 503, body: { status: 'draining' } });
    });
  });
});

describe('metrics', () => {
  it('tell outcomes, latency, delay and the gauges of others, also when one of these fails', async () => {
    const gauges = [
      { name: 'queued', help: 'x', labels: ['state'], read: () => [{ value: 3, labels: { state: 'due' } }] },
      { name: 'broken', help: 'x', read: () => Promise.reject(new Error('away')) },
    ];
    await withEventsApp({ gauges }, async (lent) => {
      await call(lent, 'POST /v1/events', [GOOD, GOOD, null]);
      const { body } = await lent.app.inject({ url: '/metrics' });
      expect(body).toContain('tallystick_ingest_events_total{outcome="accepted"} 1');
      expect(body).toContain('tallystick_ingest_events_total{outcome="duplicate"} 1');
      expect(body).toContain('tallystick_ingest_events_total{outcome="rejected"} 1');
      expect(body).toContain('tallystick_ingest_delay_seconds_sum 1800');
      expect(body).toContain('tallystick_ingest_seconds_count 1');
      expect(body).toContain('tallystick_queued{state="due"} 3');
      expect(body).toContain('tallystick_http_request_seconds_count{method="POST",route="/v1/events",status="2xx"} 1');
      expect(body).not.toMatch(/^tallystick_broken \d/m);
      expect(body).toContain('tallystick_metric_read_failures_total{gauge="broken"} 1');
    });
  });

  it('tell what can be read while gauges with and without labels fail, at once or later', async () => {
    const away = (): never => {
      throw new Error('away');
    };
    const gauges = [
      { name: 'plain', help: 'x', read: () => Promise.reject(new Error('away')) },
      { name: 'labelled', help: 'x', labels: ['state'], read: () => Promise.reject(new Error('away')) },
      { name: 'thrown', help: 'x', labels: ['state', 'reason'], read: away },
      { name: 'known', help: 'x', read: () => [{ value: 7 }] },
    ];
    await withEventsApp({ gauges }, async (lent) => {
      const { statusCode, body } = await lent.app.inject({ url: '/metrics' });
      expect(statusCode).toBe(200);
      expect(body).toContain('tallystick_known 7');
      for (const name of ['plain', 'labelled', 'thrown']) {
        expect(body).not.toMatch(new RegExp(`^tallystick_${name}[ {]`, 'm'));
        expect(body).toContain(`tallystick_metric_read_failures_total{gauge="${name}"} 1`);
      }
    });
  });

  it('are read once for many scrapes', async () => {
    let reads = 0;
    const gauges = [{ name: 'counted', help: 'x', read: () => [{ value: (reads += 1) }] }];
    await withEventsApp({ gauges }, async (lent) => {
      const scrapes = await Promise.all(Array.from({ length: 50 }, () => lent.app.inject({ url: '/metrics' })));
      expect(scrapes.every(({ body }) => body.includes('tallystick_counted 1'))).toBe(true);
      expect(reads).toBe(1);
    });
  });

  it('ask for a token where there is one', async () => {
    await withEventsApp({ metricsBearer: 'a-token-of-the-scraper' }, async ({ app }) => {
      const scrape = async (authorization?: string) =>
        app.inject({ url: '/metrics', headers: authorization === undefined ? {} : { authorization } });
      for (const wrong of [undefined, '', 'Bearer', 'Bearer a-token-of-the-scrape', `Bearer ${ADMIN_KEY}`]) {
        const refused = await scrape(wrong);
        expect(refused.statusCode).toBe(401);
        expect(refused.json()).toMatchObject({ code: 'metrics_token_wrong' });
      }
      expect((await scrape('Bearer a-token-of-the-scraper')).statusCode).toBe(200);
    });
  });
});

describe('an authenticator', () => {
  const header = 'Bearer tly_some-key';

  it('asks the store once for many simultaneous requests, and again after a second', async () => {
    const clock = new ManualClock(NOW_MS);
    let asked = 0;
    const findApiKey = async (id: string) => {
      asked += 1;
      await sleep(5);
      return { id, scopes: ['admin' as const] };
    };
    const authenticator = new Authenticator({ findApiKey, clock });
    await Promise.all(Array.from({ length: 50 }, async () => authenticator.principalOf(header)));
    expect(asked).toBe(1);
    expect(authenticator.principalOf(header)).not.toBeInstanceOf(Promise);
    clock.advance(1_000);
    await authenticator.principalOf(header);
    expect(asked).toBe(2);
  });

  it('does not remember that the store was away', async () => {
    const clock = new ManualClock(NOW_MS);
    let isAway = true;
    const away = new DaemonError({ kind: 'transient', code: 'store_unavailable', message: 'away' });
    const findApiKey = (id: string) =>
      isAway ? Promise.reject(away) : Promise.resolve({ id, scopes: ['admin' as const] });
    const authenticator = new Authenticator({ findApiKey, clock });
    await expect(authenticator.principalOf(header)).rejects.toBe(away);
    isAway = false;
    await expect(authenticator.principalOf(header)).resolves.toMatchObject({ scopes: ['admin'] });
  });
});
