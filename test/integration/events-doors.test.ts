/** What a hostile or a clumsy sender of usage events meets. */
import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import type { IngestResult } from '../../src/usage/ingest-result.ts';
import type { Problem } from '../../src/platform/http/problem.ts';
import { ADMIN_KEY, type EventsApp, withEventsApp } from '../support/http-app.ts';

const JSON_TYPE = 'application/json';
const NDJSON = 'application/x-ndjson';

function text(number: number, quantity = '"quantity":1'): string {
  return `{"idempotencyKey":"req:${number}","customerId":"acme","eventType":"call","occurredAt":"2026-11-21T05:00:00Z",${quantity}}`;
}

async function send({ app }: EventsApp, payload: string | Buffer, headers: Record<string, string> = {}) {
  const response = await app.inject({
    method: 'POST',
    url: '/v1/events',
    headers: { authorization: `Bearer ${ADMIN_KEY}`, 'content-type': JSON_TYPE, ...headers },
    payload,
  });
  const body = response.json<IngestResult & Problem>();
  return { status: response.statusCode, body, code: body.code };
}

describe('an event that names a field twice', () => {
  const TWICE = '"quantity":1,"quantity":1000';

  it('is refused on its own in every form of a body, and kept as it was sent', async () => {
    await withEventsApp({}, async (lent) => {
      const bad = text(2, TWICE);
      const bodies: [body: string, headers: Record<string, string>][] = [
        [`[${text(1)},${bad}]`, {}],
        [`{"events":[${text(1)},${bad}]}`, {}],
        [`${text(1)}\n${bad}\n`, { 'content-type': NDJSON }],
      ];
      for (const [body, headers] of bodies) {
        const { status, body: answer } = await send(lent, body, headers);
        expect(status, body).toBe(200);
        expect(answer.results.filter(({ outcome }) => outcome === 'rejected')).toMatchObject([
          { index: 1, idempotencyKey: 'req:2', error: { code: 'field_repeated', pointer: '/quantity' } },
        ]);
      }
      expect((await send(lent, bad)).body.results).toMatchObject([{ index: 0, error: { code: 'field_repeated' } }]);
      const kept = await lent.rejected.list({ limit: 10 });
      expect(kept).toMatchObject([{ text: bad, count: 4 }]);
      expect(await lent.db.collection('usage_events').countDocuments()).toBe(1);
      const replayed = await lent.app.inject({
        method: 'POST',
        url: `/v1/rejected-events/${kept[0]?._id}/replay`,
        headers: { authorization: `Bearer ${ADMIN_KEY}` },
      });
      expect(replayed.json()).toMatchObject({ status: 422, code: 'rejected_event_unreadable' });
    });
  });

  it('as a CloudEvent is refused too', async () => {
    await withEventsApp({}, async (lent) => {
      const fields = '"specversion":"1.0","id":"1","source":"s","type":"call","subject":"acme"';
      const time = '"time":"2026-11-21T05:00:00Z"';
      const event = (more: string): string => `{${fields},${time},${more}}`;
      const single = { 'content-type': 'application/cloudevents+json' };
      const twice = await send(lent, event('"data":{"quantity":1,"quantity":2}'), single);
      expect(twice.body.results[0]?.error).toMatchObject({ code: 'field_repeated', pointer: '/data/quantity' });
      const batch = `[${event('"data":{}')},${event('"id":"2"')}]`;
      const { body } = await send(lent, batch, { 'content-type': 'application/cloudevents-batch+json' });
      expect(body).toMatchObject({ accepted: 1, results: [{ index: 1, error: { code: 'field_repeated' } }] });
    });
  });

  it('makes the body unreadable where it names the envelope twice', async () => {
    await withEventsApp({}, async (lent) => {
      expect(await send(lent, `{"events":[${text(1)}],"events":[${text(2)}]}`)).toMatchObject({
        status: 400,
        code: 'field_repeated',
      });
    });
  });

  it('has its like refused by every other route', async () => {
    await withEventsApp({}, async (lent) => {
      const answer = await lent.app.inject({
        method: 'POST',
        url: '/v1/rejected-events/a/replay',
        headers: { authorization: `Bearer ${ADMIN_KEY}`, 'content-type': JSON_TYPE },
        payload: '{"event":{"a":1,"a":2}}',
      });
      expect(answer.json()).toMatchObject({ status: 400, code: 'field_repeated' });
      const deep = await lent.app.inject({
        method: 'POST',
        url: '/v1/rejected-events/a/replay',
        headers: { authorization: `Bearer ${ADMIN_KEY}`, 'content-type': JSON_TYPE },
        payload: '['.repeat(100_000),
      });
      expect(deep.json()).toMatchObject({ status: 400, code: 'json_too_deep' });
    });
  });
});

describe('a small request that would be much work', () => {
  it('ends where it has too many lines, and too many brackets', async () => {
    await withEventsApp({}, async (lent) => {
      const lines = { 'content-type': NDJSON };
      const gzip = { 'content-encoding': 'gzip' };
      const newlines = gzipSync('\n'.repeat(1_000_000));
      expect(newlines.length).toBeLessThan(2_000);
      expect(await send(lent, newlines, { ...lines, ...gzip })).toMatchObject({ status: 413, code: 'too_many_events' });
      const foreign = Buffer.concat([Buffer.from([0xff]), Buffer.alloc(1_000_000, '\n')]);
      expect(await send(lent, foreign, lines)).toMatchObject({ status: 413, code: 'too_many_events' });
      const brackets = gzipSync('['.repeat(524_288));
      expect(await send(lent, brackets, gzip)).toMatchObject({ status: 400, code: 'json_too_deep' });
      const line = await send(lent, `${'['.repeat(1_000)}\n${text(1)}`, lines);
      expect(line.body).toMatchObject({ accepted: 1, results: [{ index: 0, error: { code: 'json_too_deep' } }] });
    });
  });

  it('costs its key what it inflates to, also when it is refused', async () => {
    await withEventsApp({ eventsPerSecondMax: 500 }, async (lent) => {
      const lines = { 'content-type': NDJSON, 'content-encoding': 'gzip' };
      expect((await send(lent, gzipSync('\n'.repeat(1_000_000)), lines)).status).toBe(413);
      expect(await send(lent, text(1))).toMatchObject({ status: 429, code: 'events_per_second_exceeded' });
      lent.clock.advance(2_000);
      expect((await send(lent, text(1))).status).toBe(200);
      expect((await send(lent, Buffer.alloc(100), lines)).code).toBe('body_not_gzip');
      expect((await send(lent, text(1))).status).toBe(429);
    });
  });
});

describe('a request that could not be stored', () => {
  it('costs its key nothing, for it has to be sent again', async () => {
    await withEventsApp({ eventsPerSecondMax: 5, queueBytesMax: 10 }, async (lent) => {
      const many = `[${Array.from({ length: 50 }, (_, index) => text(index)).join()}]`;
      for (let time = 0; time < 5; time += 1) {
        expect(await send(lent, many)).toMatchObject({ status: 503, code: 'ingest_queue_full' });
      }
    });
  });
});

describe('a client that sends everything before it reads', () => {
  it('can read why its body is too large, and goes on over the same connection', async () => {
    await withEventsApp({}, async ({ app }) => {
      await app.listen({ host: '127.0.0.1', port: 0 });
      const { port } = app.server.address() as { port: number };
      const socket = connect(port, '127.0.0.1');
      socket.pause();
      const size = 8 * 1024 * 1024;
      const head = ['POST /v1/events HTTP/1.1', 'Host: x', `Authorization: Bearer ${ADMIN_KEY}`];
      socket.write(`${[...head, `Content-Type: ${JSON_TYPE}`, `Content-Length: ${size}`].join('\r\n')}\r\n\r\n`);
      await new Promise<void>((resolve, reject) => {
        socket.on('error', reject);
        socket.write(Buffer.alloc(size, ' '), (error) => (error ? reject(error) : resolve()));
      });
      const next = `[${text(1)}]`;
      socket.write(
        `${[...head, `Content-Type: ${JSON_TYPE}`, `Content-Length: ${next.length}`, 'Connection: close'].join('\r\n')}\r\n\r\n${next}`,
      );
      let answer = '';
      const ended = new Promise<void>((resolve) => socket.on('close', () => resolve()));
      socket.on('data', (chunk) => (answer += chunk.toString()));
      socket.resume();
      await ended;
      expect(answer).toMatch(/^HTTP\/1\.1 413 /);
      expect(answer).toContain('"code":"body_too_large"');
      expect(answer).toMatch(/HTTP\/1\.1 200 /);
    });
  });
});
