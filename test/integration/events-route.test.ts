import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import type { IngestResult } from '../../src/usage/ingest-result.ts';
import type { Problem } from '../../src/platform/http/problem.ts';
import { ADMIN_KEY, type EventsApp, NOW_MS, withEventsApp } from '../support/http-app.ts';

const JSON_TYPE = 'application/json';
const NDJSON = 'application/x-ndjson';

type Fields = Record<string, unknown>;

function event(overrides: Fields = {}): Fields {
  return {
    idempotencyKey: 'req:1',
    customerId: 'acme',
    eventType: 'api.call',
    occurredAt: '2026-11-21T05:00:00Z',
    quantity: '12.5',
    ...overrides,
  };
}

interface Sending {
  readonly type?: string;
  readonly headers?: Record<string, string>;
  readonly query?: string;
}

async function send({ app }: EventsApp, body: unknown, sending: Sending = {}) {
  const isRaw = typeof body === 'string' || Buffer.isBuffer(body);
  const response = await app.inject({
    method: 'POST',
    url: `/v1/events${sending.query ?? ''}`,
    headers: {
      authorization: `Bearer ${ADMIN_KEY}`,
      'content-type': sending.type ?? JSON_TYPE,
      ...sending.headers,
    },
    payload: isRaw ? body : JSON.stringify(body),
  });
  return { response, status: response.statusCode, headers: response.headers, ...answerOf(response.body) };
}

/** The same body under both its possible forms, for short assertions. */
function answerOf(text: string): { result: IngestResult; problem: Problem } {
  const parsed: unknown = JSON.parse(text);
  return { result: parsed as IngestResult, problem: parsed as Problem };
}

function storedCount({ db }: EventsApp): Promise<number> {
  return db.collection('usage_events').countDocuments({});
}

describe('an answer', () => {
  it('says of each event what became of it, in the order of the request', async () => {
    await withEventsApp({}, async (lent) => {
      await send(lent, event());
      const { status, result } = await send(lent, [
        event({ idempotencyKey: 'req:2' }),
        event(),
        event({ quantity: '13' }),
        event({ idempotencyKey: 'req:3', quantity: -1 }),
      ]);
      expect(status).toBe(200);
      expect(result).toEqual({
        accepted: 1,
        duplicates: 1,
        conflicts: 1,
        rejected: 1,
        results: [
          { index: 1, idempotencyKey: 'req:1', outcome: 'duplicate' },
          {
            index: 2,
            idempotencyKey: 'req:1',
            outcome: 'conflict',
            error: { code: 'event_conflict', detail: expect.any(String), pointer: '/idempotencyKey' },
          },
          {
            index: 3,
            idempotencyKey: 'req:3',
            outcome: 'rejected',
            error: { code: 'quantity_negative', detail: expect.any(String), pointer: '/quantity' },
          },
        ],
      });
      expect(await storedCount(lent)).toBe(2);
      const kept = await lent.rejected.list({ limit: 10 });
      expect(kept.map(({ code }) => code).sort()).toEqual(['event_conflict', 'quantity_negative']);
    });
  });

  it('is 200 for a repeated request, which stores nothing twice', async () => {
    await withEventsApp({}, async (lent) => {
      const batch = [1, 2, 3].map((number) => event({ idempotencyKey: `req:${number}` }));
      expect((await send(lent, batch)).result).toMatchObject({ accepted: 3, results: [] });
      const again = await send(lent, batch);
      expect(again.status).toBe(200);
      expect(again.result).toMatchObject({ accepted: 0, duplicates: 3 });
      expect(await storedCount(lent)).toBe(3);
    });
  });

  it('counts an event once when it stands twice in one batch, also among many', async () => {
    await withEventsApp({}, async (lent) => {
      const batch = Array.from({ length: 600 }, (_, index) => event({ idempotencyKey: `req:${index % 300}` }));
      const { result } = await send(lent, batch);
      expect(result).toMatchObject({ accepted: 300, duplicates: 300, conflicts: 0, rejected: 0 });
      expect(result.results.map(({ index }) => index)).toEqual(Array.from({ length: 300 }, (_, index) => index + 300));
      expect(await storedCount(lent)).toBe(300);
    });
  });

  it('counts an event once when many requests bring it at the same time', async () => {
    await withEventsApp({}, async (lent) => {
      const requests = Array.from({ length: 20 }, () => send(lent, [event(), event({ idempotencyKey: 'req:2' })]));
      const results = (await Promise.all(requests)).map(({ result }) => result);
      expect(results.reduce((sum, { accepted }) => sum + accepted, 0)).toBe(2);
      expect(results.reduce((sum, { duplicates }) => sum + duplicates, 0)).toBe(38);
      expect(await storedCount(lent)).toBe(2);
    });
  });

  it('is 422 when every event was refused, conflicts included', async () => {
    await withEventsApp({}, async (lent) => {
      await send(lent, event());
      const { status, result } = await send(lent, [event({ quantity: '1' }), null]);
      expect(status).toBe(422);
      expect(result).toMatchObject({ accepted: 0, conflicts: 1, rejected: 1 });
    });
  });

  it('keeps one key apart for each customer', async () => {
    await withEventsApp({}, async (lent) => {
      const { result } = await send(lent, [event(), event({ customerId: 'globex' })]);
      expect(result.accepted).toBe(2);
    });
  });

  it('warns of an event type that no meter counts, and stores the event', async () => {
    await withEventsApp({ metered: new Set(['other']) }, async (lent) => {
      const { result } = await send(lent, event());
      expect(result.accepted).toBe(1);
      expect(result.warnings).toEqual([{ code: 'event_type_unmetered', detail: expect.stringContaining('api.call') }]);
    });
  });

  it('does not use up the key of a rejected event', async () => {
    await withEventsApp({}, async (lent) => {
      expect((await send(lent, event({ quantity: 'x' }))).status).toBe(422);
      expect((await send(lent, event())).result.accepted).toBe(1);
    });
  });
});

describe('a usage event is refused', () => {
  const refusals: [name: string, input: unknown, code: string][] = [
    ['null', null, 'event_not_an_object'],
    ['true', true, 'event_not_an_object'],
    ['a number', 5, 'event_not_an_object'],
    ['[5]', [5], 'event_not_an_object'],
    ['quantity null', event({ quantity: null }), 'field_type'],
    ['quantity true', event({ quantity: true }), 'field_type'],
    ['quantity [5]', event({ quantity: [5] }), 'field_type'],
    ['quantity "0x10"', event({ quantity: '0x10' }), 'quantity_invalid'],
    ['quantity -1', event({ quantity: -1 }), 'quantity_negative'],
    ['16 digits', event({ quantity: '1234567890123456' }), 'quantity_too_long'],
    ['13 decimals', event({ quantity: '0.1234567890123' }), 'quantity_too_long'],
    ['a number beyond 2^53', event({ quantity: 9007199254740994 }), 'quantity_too_long'],
    ['an unknown field', event({ quantty: 5 }), 'field_unknown'],
    ['a $gt instead of an id', event({ customerId: { $gt: '' } }), 'field_type'],
    ['a property named $gt', event({ properties: { $gt: 1 } }), 'property_name_invalid'],
    ['a dotted property', event({ properties: { 'a.b': 1 } }), 'property_name_invalid'],
    ['a nested property', event({ properties: { a: { $gt: 1 } } }), 'field_type'],
    ['U+0000 in the key', event({ idempotencyKey: 'a\u0000b' }), 'text_control_character'],
    ['a missing offset', event({ occurredAt: '2026-11-21T05:00:00' }), 'occurred_at_invalid'],
    ['ten minutes ahead', event({ occurredAt: '2026-11-21T05:40:00Z' }), 'occurred_at_in_future'],
    ['1970', event({ occurredAt: '1970-01-01T00:00:00Z' }), 'occurred_at_too_old'],
    ['29 February of a common year', event({ occurredAt: '2026-02-29T00:00:00Z' }), 'occurred_at_invalid'],
  ];
  it('for each rule it breaks, with the code of that rule, and is kept', async () => {
    await withEventsApp({}, async (lent) => {
      for (const [name, input, code] of refusals) {
        const { status, result } = await send(lent, input);
        expect([status, result.results[0]?.error?.code], name).toEqual([422, code]);
      }
      expect(await storedCount(lent)).toBe(0);
      const kept = await lent.rejected.list({ limit: 100 });
      // The inputs `5` and `[5]` hold the same event.
      expect(kept.map(({ code }) => code).sort()).toEqual(
        refusals
          .filter(([name]) => name !== '[5]')
          .map(([, , code]) => code)
          .sort(),
      );
    });
  });

  const texts: [name: string, text: string, code: string][] = [
    ['1e400', JSON.stringify(event({ quantity: 0 })).replace('"quantity":0', '"quantity":1e400'), 'quantity_invalid'],
    ['__proto__', `{"__proto__":{"quantity":"1"},${JSON.stringify(event()).slice(1)}`, 'field_unknown'],
    [
      'a property named __proto__',
      JSON.stringify(event({ properties: { proto: 1 } })).replace('"proto"', '"__proto__"'),
      'property_name_invalid',
    ],
    [
      'an unpaired surrogate',
      JSON.stringify(event({ idempotencyKey: '?' })).replace('"?"', '"\\ud800"'),
      'text_not_well_formed',
    ],
    [
      '60,000 keys',
      JSON.stringify(Object.fromEntries(Array.from({ length: 60_000 }, (_, index) => [`k${index}`, 1]))),
      'field_unknown',
    ],
    ['60 nested brackets', `${'['.repeat(60)}${']'.repeat(60)}`, 'event_not_an_object'],
    [
      '60 nested objects as a quantity',
      `{"quantity":${'{"a":'.repeat(60)}1${'}'.repeat(60)},${JSON.stringify(event({ quantity: undefined })).slice(1)}`,
      'field_type',
    ],
  ];
  it('also in forms that only text can have, and the kept text is bounded', async () => {
    await withEventsApp({}, async (lent) => {
      for (const [name, text, code] of texts) {
        const { status, result } = await send(lent, text);
        expect([status, result.results[0]?.error?.code], name).toEqual([422, code]);
      }
      const kept = await lent.rejected.list({ limit: 100 });
      expect(kept.map(({ code }) => code).sort()).toEqual(texts.map(([, , code]) => code).sort());
      for (const { text } of kept) expect(Buffer.byteLength(text)).toBeLessThanOrEqual(16 * 1024);
    });
  });

  it('and kept once, however often it is sent', async () => {
    await withEventsApp({}, async (lent) => {
      for (let time = 0; time < 3; time += 1) await send(lent, event({ quantity: 'x' }));
      const kept = await lent.rejected.list({ limit: 5 });
      expect(kept).toMatchObject([{ count: 3, idempotencyKey: 'req:1', customerId: 'acme' }]);
      expect(JSON.parse(kept[0]?.text ?? '')).toEqual(event({ quantity: 'x' }));
    });
  });

  it('unless an administrator imports history', async () => {
    await withEventsApp({}, async (lent) => {
      const old = event({ occurredAt: '2020-01-01T00:00:00Z' });
      expect((await send(lent, old)).status).toBe(422);
      expect((await send(lent, old, { query: '?history=true' })).result.accepted).toBe(1);
      const { key } = await lent.apiKeys.create({ name: 'sender', scopes: ['events:write'] }, new Date(NOW_MS));
      const headers = { authorization: `Bearer ${key}` };
      expect(await send(lent, old, { query: '?history=true', headers })).toMatchObject({ status: 403 });
      expect(await send(lent, old, { query: '?hstory=true' })).toMatchObject({ status: 400 });
    });
  });
});

describe('a body', () => {
  const refusals: [name: string, body: string | Buffer, sending: Sending, status: number, code: string][] = [
    ['that is empty', '', {}, 400, 'body_not_json'],
    ['of 500,000 nested brackets', `${'['.repeat(500_000)}${']'.repeat(500_000)}`, {}, 400, 'json_too_deep'],
    ['of 160,000 nested objects', `${'{"a":'.repeat(160_000)}1${'}'.repeat(160_000)}`, {}, 400, 'json_too_deep'],
    ['that is no JSON', '{"a":', {}, 400, 'body_not_json'],
    ['with an empty array', '[]', {}, 400, 'no_events'],
    ['with an empty envelope', '{"events":[]}', {}, 400, 'no_events'],
    ['of blank lines', '\n\n', { type: NDJSON }, 400, 'no_events'],
    ['that is not UTF-8', Buffer.from([0x22, 0xff, 0x22]), {}, 400, 'body_not_utf8'],
    ['in a foreign charset', '[]', { type: 'application/json; charset=latin1' }, 415, 'content_type_unsupported'],
    ['of another type', 'a=1', { type: 'text/plain' }, 415, 'content_type_unsupported'],
    ['in brotli', 'x', { headers: { 'content-encoding': 'br' } }, 415, 'content_encoding_unsupported'],
    ['that is not gzip', '[]', { headers: { 'content-encoding': 'gzip' } }, 400, 'body_not_gzip'],
    [
      'with half of a gzip',
      gzipSync(JSON.stringify([event()])).subarray(0, 60),
      { headers: { 'content-encoding': 'gzip' } },
      400,
      'body_not_gzip',
    ],
    [
      'that inflates to 50 MiB',
      gzipSync(Buffer.alloc(50 * 1024 * 1024, 0x20)),
      { headers: { 'content-encoding': 'gzip' } },
      413,
      'body_too_large',
    ],
    ['of 10 MiB', Buffer.alloc(10 * 1024 * 1024, 0x20), {}, 413, 'body_too_large'],
    ['of 1,001 events', JSON.stringify(Array.from({ length: 1_001 }, () => event())), {}, 413, 'too_many_events'],
    ['of 1,001 lines', `${JSON.stringify(event())}\n`.repeat(1_001), { type: NDJSON }, 413, 'too_many_events'],
    ['that should be a batch', '{}', { type: 'application/cloudevents-batch+json' }, 400, 'batch_not_an_array'],
  ];
  it('that cannot be read is refused as a whole, as problem details', async () => {
    await withEventsApp({}, async (lent) => {
      for (const [name, body, sending, status, code] of refusals) {
        const answer = await send(lent, body, sending);
        expect(answer.headers['content-type'], name).toContain('application/problem+json');
        expect(answer.problem, name).toMatchObject({ status, code, type: `urn:tallystick:error:${code}` });
        expect(answer.problem.requestId, name).toBe(answer.headers['x-request-id']);
        expect(answer.status, name).toBe(status);
      }
      expect(await storedCount(lent)).toBe(0);
      expect(await lent.rejected.count()).toBe(0);
    });
  });

  it('may be one event, an array, an envelope, or gzip of these', async () => {
    await withEventsApp({}, async (lent) => {
      const bodies = [event({ idempotencyKey: 'a' }), [event({ idempotencyKey: 'b' })], { events: [event()] }];
      for (const body of bodies) expect((await send(lent, body)).result.accepted).toBe(1);
      const zipped = gzipSync(JSON.stringify([event({ idempotencyKey: 'c' })]));
      const headers = { 'content-encoding': 'gzip' };
      expect((await send(lent, zipped, { headers })).result.accepted).toBe(1);
      expect(await storedCount(lent)).toBe(4);
    });
  });

  it('of lines is refused line by line', async () => {
    await withEventsApp({}, async (lent) => {
      const good = (key: string): Buffer => Buffer.from(`${JSON.stringify(event({ idempotencyKey: key }))}\r\n`);
      const body = Buffer.concat([good('a'), Buffer.from('{"a":\n'), Buffer.from([0xff, 0x0a]), good('b')]);
      const { status, result } = await send(lent, body, { type: NDJSON });
      expect(status).toBe(200);
      expect(result).toMatchObject({ accepted: 2, rejected: 2 });
      expect(result.results.map(({ index, error }) => [index, error?.code])).toEqual([
        [1, 'line_not_json'],
        [2, 'line_not_json'],
      ]);
    });
  });

  it('may be CloudEvents in each of their modes, which agree', async () => {
    await withEventsApp({}, async (lent) => {
      const attributes = {
        specversion: '1.0',
        id: '7',
        source: '/billing/ä',
        type: 'api.call',
        subject: 'acme',
        time: '2026-11-21T05:00:00Z',
      };
      const data = { quantity: '2', userId: 'u', properties: { plan: 'pro' } };
      const structured = { ...attributes, datacontenttype: 'application/json', traceparent: '00-1', data };
      const first = await send(lent, structured, { type: 'application/cloudevents+json' });
      expect(first.result.accepted).toBe(1);
      const batch = await send(lent, [structured], { type: 'application/cloudevents-batch+json' });
      expect(batch.result.duplicates).toBe(1);
      const headers = Object.fromEntries(
        Object.entries(attributes).map(([name, value]) => [`ce-${name}`, encodeURIComponent(value)]),
      );
      expect((await send(lent, data, { headers })).result.duplicates).toBe(1);
      expect(await lent.db.collection('usage_events').findOne({})).toMatchObject({
        _id: '/billing/ä 7\u001facme',
        userId: 'u',
        properties: { plan: 'pro' },
      });
    });
  });
});

describe('a CloudEvent in binary mode', () => {
  const headersOf = (more: Record<string, string>): Record<string, string> => ({
    'ce-specversion': '1.0',
    'ce-id': '7',
    'ce-source': '/billing',
    'ce-type': 'api.call',
    'ce-subject': 'acme',
    'ce-time': '2026-11-21T05:00:00Z',
    ...more,
  });

  it('is refused with advice when a header holds bytes that are not printable ASCII', async () => {
    await withEventsApp({}, async (lent) => {
      const refused: [value: string, advice: RegExp][] = [
        [Buffer.from('Zürich AG').toString('latin1'), /Percent-encode its UTF-8/],
        ['Z\u00fcrich', /Percent-encode its UTF-8/],
        ['a\tb', /Percent-encode its UTF-8/],
        ['100%', /A percent sign itself is %25/],
        ['%ff', /not percent-encoded UTF-8/],
        ['"acme', /A quote itself is %22/],
      ];
      for (const [value, advice] of refused) {
        const { problem } = await send(lent, {}, { headers: headersOf({ 'ce-subject': value }) });
        expect(problem, value).toMatchObject({ status: 400, code: 'cloud_event_header_invalid' });
        expect(problem.detail).toMatch(advice);
      }
      expect(await storedCount(lent)).toBe(0);
    });
  });

  it('is unquoted first and decoded then', async () => {
    await withEventsApp({}, async (lent) => {
      const values = ['"Z%C3%BCrich \\"AG\\""', 'Z%C3%BCrich%20%22AG%22'];
      for (const value of values) await send(lent, {}, { headers: headersOf({ 'ce-subject': value }) });
      const stored = await lent.db.collection('usage_events').find({}).toArray();
      expect(stored.map(({ customerId }) => customerId as string)).toEqual(['Zürich "AG"']);
    });
  });
});

describe('events of producers of other meters', () => {
  const produced = (data: Fields, more: Fields = {}): Fields => ({
    specversion: '1.0',
    id: '7',
    source: 'my-app',
    type: 'prompt',
    subject: 'acme',
    data,
    ...more,
  });
  const sending: Sending = { type: 'application/cloudevents+json', query: '?data=properties' };

  it('count at the instant of their first arrival, and a retry stays a duplicate', async () => {
    await withEventsApp({}, async (lent) => {
      const first = await send(lent, produced({ tokens: '15', model: 'large' }), sending);
      expect(first.result).toMatchObject({ accepted: 1, warnings: [{ code: 'occurred_at_assumed' }] });
      lent.clock.advance(3_600_000);
      const again = await send(lent, produced({ tokens: '15', model: 'large' }), sending);
      expect(again.result).toMatchObject({ accepted: 0, duplicates: 1, conflicts: 0 });
      const other = await send(lent, produced({ tokens: '16', model: 'large' }), sending);
      expect(other.result).toMatchObject({ conflicts: 1 });
      expect(other.result.results[0]?.error?.detail).toContain('Different: occurredAt, properties.tokens.');
      const stored = await lent.db.collection('usage_events').find({}).toArray();
      expect(stored).toMatchObject([{ occurredAt: new Date(NOW_MS), properties: { tokens: '15', model: 'large' } }]);
    });
  });

  it('need a time where data are fields, and as history', async () => {
    await withEventsApp({}, async (lent) => {
      const fields = await send(lent, produced({ quantity: '1' }), { type: 'application/cloudevents+json' });
      const history = await send(lent, produced({ a: 'b' }), { ...sending, query: '?data=properties&history=true' });
      for (const { result } of [fields, history]) {
        expect(result.results[0]?.error).toMatchObject({ code: 'field_missing', pointer: '/occurredAt' });
      }
      expect((await send(lent, {}, { ...sending, query: '?data=propertie' })).problem).toMatchObject({
        status: 400,
        errors: [{ pointer: '/data', detail: 'must be one of fields, properties. Did you mean "properties"?' }],
      });
    });
  });
});

describe('a conflict', () => {
  it('names the fields that differ, and no value that is stored', async () => {
    await withEventsApp({}, async (lent) => {
      const properties = { plan: 'secret-plan', size: 1 };
      await send(lent, event({ properties, userId: 'u' }));
      const detailOf = async (changed: Fields): Promise<string | undefined> =>
        (await send(lent, event({ properties, userId: 'u', ...changed }))).result.results[0]?.error?.detail;
      const later = await detailOf({ occurredAt: '2026-11-21T05:00:01Z' });
      expect(later).toMatch(/Different: occurredAt\. occurredAt belongs to the work/);
      expect(await detailOf({ quantity: '9' })).toMatch(/Different: quantity\.$/);
      const { userId: _, ...without } = event({ properties });
      expect((await send(lent, without)).result.results[0]?.error?.detail).toMatch(/Different: userId\.$/);
      const several = await detailOf({ eventType: 'other', properties: { size: 2, region: 'eu' } });
      expect(several).toMatch(/Different: eventType, properties.plan, properties.region, properties.size\.$/);
      expect(`${later} ${several}`).not.toContain('secret-plan');
    });
  });

  it('within one request is told like one with an earlier request', async () => {
    await withEventsApp({}, async (lent) => {
      const { result } = await send(lent, [event(), event({ quantity: '3' })]);
      expect(result.results[0]?.error?.detail).toContain('Different: quantity.');
    });
  });
});

describe('a caller', () => {
  it('needs a key that exists, is not revoked, has not expired and has the scope', async () => {
    await withEventsApp({}, async (lent) => {
      const at = new Date(NOW_MS);
      const statusOf = async (authorization: string): Promise<[number, string]> => {
        const { status, problem } = await send(lent, event(), { headers: { authorization } });
        return [status, problem.code];
      };
      const revoked = await lent.apiKeys.create({ name: 'revoked', scopes: ['events:write'] }, at);
      await lent.apiKeys.revoke(revoked.record.id, at);
      const expired = await lent.apiKeys.create({ name: 'expired', scopes: ['events:write'], expiresAt: at }, at);
      const narrow = await lent.apiKeys.create({ name: 'narrow', scopes: ['usage:read'] }, at);
      expect(await statusOf('')).toEqual([401, 'api_key_missing']);
      expect(await statusOf('Basic abc')).toEqual([401, 'api_key_missing']);
      expect(await statusOf('Bearer tly_unknown')).toEqual([401, 'api_key_unknown']);
      expect(await statusOf(`Bearer ${revoked.key}`)).toEqual([401, 'api_key_revoked']);
      expect(await statusOf(`Bearer ${expired.key}`)).toEqual([401, 'api_key_expired']);
      expect(await statusOf(`Bearer ${narrow.key}`)).toEqual([403, 'scope_missing']);
      expect(await storedCount(lent)).toBe(0);
    });
  });

  it('is locked out within a second of the revocation', async () => {
    await withEventsApp({}, async (lent) => {
      const at = new Date(NOW_MS);
      const { key, record } = await lent.apiKeys.create({ name: 'sender', scopes: ['events:write'] }, at);
      const headers = { authorization: `Bearer ${key}` };
      expect((await send(lent, event(), { headers })).status).toBe(200);
      await lent.apiKeys.revoke(record.id, at);
      lent.clock.advance(1_000);
      expect((await send(lent, event(), { headers })).status).toBe(401);
    });
  });

  it('may use both keys while one is rotated', async () => {
    await withEventsApp({}, async (lent) => {
      const at = new Date(NOW_MS);
      const old = await lent.apiKeys.create({ name: 'sender', scopes: ['events:write'] }, at);
      const fresh = await lent.apiKeys.rotate(old.record.id, { overlapMs: 60_000, at });
      const statusOf = async (key = ''): Promise<number> =>
        (await send(lent, event(), { headers: { authorization: `Bearer ${key}` } })).status;
      expect([await statusOf(old.key), await statusOf(fresh?.key)]).toEqual([200, 200]);
      lent.clock.advance(61_000);
      expect([await statusOf(old.key), await statusOf(fresh?.key)]).toEqual([401, 200]);
      expect(await lent.apiKeys.rotate(old.record.id, { overlapMs: 0, at })).toBeUndefined();
      expect((await lent.apiKeys.list()).map(({ name }) => name)).toEqual(['sender', 'sender']);
    });
  });

  it('is slowed down when it sends more than it may, and told for how long', async () => {
    await withEventsApp({ eventsPerSecondMax: 10 }, async (lent) => {
      const batch = Array.from({ length: 30 }, (_, index) => event({ idempotencyKey: `req:${index}` }));
      expect((await send(lent, batch)).status).toBe(200);
      const refused = await send(lent, event());
      expect(refused).toMatchObject({ status: 429, problem: { code: 'events_per_second_exceeded' } });
      expect(refused.headers['retry-after']).toBe('2');
      lent.clock.advance(2_100);
      expect((await send(lent, event())).status).toBe(200);
    });
  });

  it('gets 503 and a time to wait when more events are queued than may be', async () => {
    await withEventsApp({ queueBytesMax: 100 }, async (lent) => {
      const refused = await send(lent, event());
      expect(refused).toMatchObject({ status: 503, problem: { code: 'ingest_queue_full' } });
      expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0);
      expect(await storedCount(lent)).toBe(0);
    });
  });
});

describe('over a socket', () => {
  it('a body that comes byte by byte is answered 408 and cut off', async () => {
    await withEventsApp({ requestTimeoutMs: 1_000 }, async ({ app }) => {
      await app.listen({ host: '127.0.0.1', port: 0 });
      const { port } = app.server.address() as { port: number };
      const socket = connect(port, '127.0.0.1');
      let answer = '';
      const ended = new Promise<void>((resolve) => socket.on('close', () => resolve()));
      socket.on('data', (chunk) => (answer += chunk.toString()));
      socket.on('error', () => undefined);
      const head = ['POST /v1/events HTTP/1.1', 'Host: x', `Authorization: Bearer ${ADMIN_KEY}`];
      socket.write(`${[...head, `Content-Type: ${JSON_TYPE}`, 'Content-Length: 1000'].join('\r\n')}\r\n\r\n`);
      const dripping = setInterval(() => socket.write('['), 100);
      await ended;
      clearInterval(dripping);
      expect(answer).toMatch(/^HTTP\/1\.1 408 /);
      expect(answer).toContain('"code":"request_timeout"');
    });
  });

  it('a body of 10 MiB is answered 413', async () => {
    await withEventsApp({}, async ({ app }) => {
      const url = await app.listen({ host: '127.0.0.1', port: 0 });
      const response = await fetch(`${url}/v1/events`, {
        method: 'POST',
        headers: { authorization: `Bearer ${ADMIN_KEY}`, 'content-type': JSON_TYPE },
        body: new Uint8Array(10 * 1024 * 1024),
      });
      expect(response.status).toBe(413);
      expect(await response.json()).toMatchObject({ code: 'body_too_large' });
    });
  });

  it('what is not HTTP is answered 400', async () => {
    await withEventsApp({}, async ({ app }) => {
      await app.listen({ host: '127.0.0.1', port: 0 });
      const { port } = app.server.address() as { port: number };
      const socket = connect(port, '127.0.0.1');
      let answer = '';
      const ended = new Promise<void>((resolve) => socket.on('close', () => resolve()));
      socket.on('data', (chunk) => (answer += chunk.toString()));
      socket.write('hello\r\n\r\n');
      await ended;
      expect(answer).toMatch(/^HTTP\/1\.1 400 /);
      expect(answer).toContain('"code":"request_malformed"');
    });
  });
});
