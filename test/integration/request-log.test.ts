/** What is told of requests that were refused and of what administrators wrote: in the log, in the metrics, never a key. */
import { describe, expect, it } from 'vitest';
import { Type } from 'typebox';
import { DaemonError } from '../../src/platform/errors.ts';
import { type App, needs } from '../../src/platform/http/route.ts';
import { ADMIN_KEY, type EventsApp, NOW_MS, withEventsApp } from '../support/http-app.ts';

const at = new Date(NOW_MS);
const BODY = { type: 'application/json', payload: '{"thing":"x"}' };

/** A write of an administrator's, as small as one can be. */
function registerThings(app: App): void {
  const schema = {
    security: needs('admin'),
    body: Type.Object({ thing: Type.String() }),
    params: Type.Object({ id: Type.String() }),
  };
  app.put('/v1/things/:id', { schema }, (request) => ({ thing: request.body.thing }));
  app.get('/v1/things', { schema: { security: needs('admin') } }, () => ({}));
  app.get('/v1/away', { schema: { security: needs('admin') } }, () => {
    throw new DaemonError({ kind: 'transient', code: 'store_unavailable', message: 'It is away.' });
  });
}

async function ask(
  lent: EventsApp,
  key: string | undefined,
  request: { method?: 'GET' | 'PUT'; url?: string } = {},
): Promise<number> {
  const { method = 'PUT', url = '/v1/things/a%20b' } = request;
  const answer = await lent.app.inject({
    method,
    url,
    headers: { ...(key !== undefined && { authorization: `Bearer ${key}` }), 'content-type': BODY.type },
    ...(method === 'PUT' && { payload: BODY.payload }),
  });
  return answer.statusCode;
}

async function metricsOf({ app }: EventsApp): Promise<string> {
  return (await app.inject({ url: '/metrics' })).payload;
}

const withThings = (use: (lent: EventsApp) => Promise<void>): Promise<void> =>
  withEventsApp({ routes: [registerThings] }, use);

describe("a write with an administrator's key", () => {
  it('is logged with the first characters of the key, the route and its ids, and counted', async () => {
    await withThings(async (lent) => {
      const { key, record } = await lent.apiKeys.create({ name: 'ops', scopes: ['admin'] }, at);
      expect(await ask(lent, key)).toBe(200);
      expect(await ask(lent, ADMIN_KEY)).toBe(200);
      const fields = { method: 'PUT', route: '/v1/things/:id', params: { id: 'a b' }, status: 200 };
      expect(lent.log).toMatchObject([
        { phrase: 'admin write', fields: { ...fields, key: record.prefix } },
        { phrase: 'admin write', fields: { ...fields, key: 'ADMIN_API_KEY' } },
      ]);
      expect(JSON.stringify(lent.log)).not.toContain(key);
      expect(JSON.stringify(lent.log)).not.toContain(ADMIN_KEY);
      expect(await metricsOf(lent)).toContain('tallystick_admin_writes_total{route="/v1/things/:id",status="2xx"} 2');
    });
  });

  it('is told when it fails, and a read is not', async () => {
    await withThings(async (lent) => {
      const { key } = await lent.apiKeys.create({ name: 'ops', scopes: ['admin'] }, at);
      expect(await ask(lent, key, { method: 'GET', url: '/v1/things' })).toBe(200);
      const answer = await lent.app.inject({
        method: 'PUT',
        url: '/v1/things/x',
        headers: { authorization: `Bearer ${key}`, 'content-type': BODY.type },
        payload: '{"thing":5}',
      });
      expect(answer.statusCode).toBe(400);
      expect(lent.log.map(({ phrase }) => phrase)).toEqual(['request refused', 'admin write']);
    });
  });
});

describe('a request that is refused', () => {
  it('is logged with what recognises its key, and counted by route and code', async () => {
    await withThings(async (lent) => {
      const reader = await lent.apiKeys.create({ name: 'reader', scopes: ['usage:read'] }, at);
      const gone = await lent.apiKeys.create({ name: 'gone', scopes: ['admin'] }, at);
      await lent.apiKeys.revoke(gone.record.id, at);
      const stranger = 'tly_a_key_of_another_installation';
      expect(await ask(lent, undefined)).toBe(401);
      expect(await ask(lent, stranger)).toBe(401);
      expect(await ask(lent, gone.key)).toBe(401);
      expect(await ask(lent, reader.key)).toBe(403);
      expect(await ask(lent, undefined, { url: '/v1/nothing' })).toBe(404);
      const told = lent.log.map(({ phrase, fields }) => [
        phrase,
        ...(['code', 'key'] as const).map((name) => (fields as Record<string, unknown>)[name]),
      ]);
      expect(told).toEqual([
        ['request refused', 'api_key_missing', undefined],
        ['request refused', 'api_key_unknown', expect.stringMatching(/^[0-9a-f]{12}$/)],
        ['request refused', 'api_key_revoked', gone.record.prefix],
        ['request refused', 'scope_missing', reader.record.prefix],
        ['request refused', 'route_not_found', undefined],
      ]);
      for (const secret of [stranger, gone.key, reader.key]) expect(JSON.stringify(lent.log)).not.toContain(secret);
      const metrics = await metricsOf(lent);
      expect(metrics).toContain('tallystick_http_refused_total{route="/v1/things/:id",code="api_key_unknown"} 1');
      expect(metrics).toContain('tallystick_http_refused_total{route="unknown",code="route_not_found"} 1');
    });
  });

  it('does not fill the log, however often it comes: what is left out is told later', async () => {
    await withThings(async (lent) => {
      for (let count = 0; count < 60; count += 1) await ask(lent, undefined);
      expect(lent.log).toHaveLength(20);
      lent.clock.advance(10_000);
      await ask(lent, undefined);
      expect(lent.log).toHaveLength(21);
      expect(lent.log.at(-1)?.fields).toMatchObject({ unsaid: 40 });
      expect(await metricsOf(lent)).toContain('code="api_key_missing"} 61');
    });
  });

  it('for trouble that passes does not fill the log either', async () => {
    await withThings(async (lent) => {
      for (let sent = 0; sent < 25; sent += 1) {
        expect(await ask(lent, ADMIN_KEY, { method: 'GET', url: '/v1/away' })).toBe(503);
      }
      expect(lent.log.map(({ phrase }) => phrase)).toEqual(
        Array.from({ length: 20 }, () => 'request could not be served'),
      );
      expect(lent.log[0]?.fields).toMatchObject({ route: '/v1/away', code: 'store_unavailable' });
      lent.clock.advance(10_000);
      await ask(lent, ADMIN_KEY, { method: 'GET', url: '/v1/away' });
      expect(lent.log.at(-1)?.fields).toMatchObject({ unsaid: 5 });
    });
  });
});

describe('every answer', () => {
  const safe = { 'x-content-type-options': 'nosniff', 'cache-control': 'no-store', 'referrer-policy': 'no-referrer' };

  it('may not be sniffed, kept or loaded from, whatever its status', async () => {
    await withThings(async (lent) => {
      for (const url of ['/livez', '/readyz', '/metrics', '/openapi.json', '/v1/things', '/nowhere']) {
        const { headers } = await lent.app.inject({ url });
        expect(headers, url).toMatchObject(safe);
        expect(headers['content-security-policy'], url).toContain("default-src 'none'");
      }
    });
  });

  it('under /docs has a policy of its own that lets its own files load and nothing else', async () => {
    await withThings(async (lent) => {
      const { headers, statusCode } = await lent.app.inject({ url: '/docs/' });
      expect(statusCode).toBe(200);
      expect(headers['x-content-type-options']).toBe('nosniff');
      expect(headers['content-security-policy']).toContain("script-src 'self';");
      expect(headers['content-security-policy']).not.toMatch(/https:|validator|upgrade-insecure/);
    });
  });
});
