/** How much memory strangers, and those with a key, can take with bodies. */
import { once } from 'node:events';
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { describe, expect, it, vi } from 'vitest';
import { ManualClock } from '../../src/platform/clock.ts';
import { type AppDeps, buildApp, CONNECTIONS_MAX } from '../../src/platform/http/app.ts';
import { Metrics } from '../../src/platform/http/metrics.ts';
import { registerStripeWebhooks } from '../../src/webhooks/stripe-webhooks-routes.ts';
import { RejectedEvents } from '../../src/usage/rejected-events-store.ts';
import { NOW_MS, withEventsApp } from '../support/http-app.ts';
import { withDatabase } from '../support/services.ts';

const MIB = 1024 * 1024;
const now = Math.floor(NOW_MS / 1_000);
const PATIENCE = { timeout: 60_000 };
const silent = { info: () => undefined, warn: () => undefined, error: () => undefined };

/** An app with the webhook routes; what is received waits until `release`. */
async function withWebhooks(use: (lent: { url: string; received: string[]; release: () => void }) => Promise<void>) {
  const received: string[] = [];
  let release: () => void = () => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  const clock = new ManualClock(NOW_MS);
  const deps: AppDeps = {
    log: silent,
    auth: { findApiKey: () => Promise.resolve(null), clock },
    health: { isDraining: () => false, checks: [] },
    metrics: new Metrics(),
    bodyBytesMax: MIB,
    requestTimeoutMs: 30_000,
    version: '0.0.0',
    routes: [
      (app) =>
        registerStripeWebhooks(app, {
          clock,
          onReception: () => {},
          receive: async ({ body }) => {
            received.push(String(body.byteLength));
            await held;
            return { eventId: 'evt_1', isDuplicate: false };
          },
        }),
    ],
  };
  const app = await buildApp(deps);
  try {
    const url = await app.listen({ host: '127.0.0.1', port: 0 });
    expect(app.server.maxConnections).toBe(CONNECTIONS_MAX);
    await use({ url, received, release });
  } finally {
    release();
    await app.close();
  }
}

/** Sends a header that announces 1 MiB, and one byte of it. */
function announce(url: string, signature: string): Socket {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on('error', () => undefined);
  const head = `POST /v1/stripe/webhooks HTTP/1.1\r\nhost: x\r\nstripe-signature: ${signature}\r\ncontent-length: ${MIB}`;
  socket.write(`${head}\r\n\r\nx`);
  return socket;
}

/** What arrives first. */
async function firstOf(socket: Socket): Promise<string> {
  const [chunk] = (await once(socket, 'data')) as [Buffer];
  return chunk.toString();
}

const post = (url: string, signature: string | undefined, body: string | Uint8Array) =>
  fetch(`${url}/v1/stripe/webhooks`, {
    method: 'POST',
    headers: signature === undefined ? {} : { 'stripe-signature': signature },
    body: body as string,
  });

describe('the body of a stranger', () => {
  it.each([
    [undefined, 'webhook_signature_missing'],
    ['t=1', 'webhook_signature_malformed'],
    [`t=${now - 301},v1=abc`, 'webhook_timestamp_refused'],
    [`t=${now + 301},v1=abc`, 'webhook_timestamp_refused'],
  ])('is not read under the signature %s', (signature, code) =>
    withWebhooks(async ({ url, received }) => {
      // The headers alone: no byte of the body is ever sent.
      const answer = await new Promise<string>((resolve, reject) => {
        const headers = { 'content-length': String(MIB), ...(signature && { 'stripe-signature': signature }) };
        const call = request(`${url}/v1/stripe/webhooks`, { method: 'POST', headers }, (reply) => {
          let text = '';
          reply.on('data', (chunk: Buffer) => (text += chunk.toString()));
          reply.on('end', () => {
            resolve(text);
            call.destroy();
          });
        });
        call.on('error', reject);
        call.flushHeaders();
      });
      expect(JSON.parse(answer)).toMatchObject({ status: 400, code });
      expect(received).toEqual([]);
    }),
  );

  it(
    'is refused while so many others are held that memory would run out, and taken again afterwards',
    () =>
      withWebhooks(async ({ url, received, release }) => {
        const body = new Uint8Array(MIB - 1);
        const signature = `t=${now},v1=abc`;
        const calls = Array.from({ length: 40 }, () => post(url, signature, body));
        const first = await Promise.race(calls);
        expect(first.status).toBe(503);
        expect(first.headers.get('retry-after')).not.toBeNull();
        expect(received.length).toBeLessThanOrEqual(16);
        release();
        const statuses = new Set((await Promise.all(calls)).map(({ status }) => status));
        expect([...statuses].filter((status) => status !== 200)).toEqual([503]);
        expect((await post(url, signature, body)).status).toBe(200);
      }),
    60_000,
  );

  it('that is announced and never sent takes nothing from others', () =>
    withWebhooks(async ({ url, release }) => {
      release();
      const sockets = Array.from({ length: 40 }, () => announce(url, `t=${now},v1=abc`));
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect((await post(url, `t=${now},v1=abc`, new Uint8Array(MIB - 1))).status).toBe(200);
      for (const socket of sockets) socket.destroy();
    }));

  it('that is large is refused by its header while 64 others are read, and small ones are taken', () =>
    withWebhooks(async ({ url, release }) => {
      release();
      const signature = `t=${now},v1=abc`;
      const sockets = Array.from({ length: 65 }, () => announce(url, signature));
      expect(await Promise.race(sockets.map(firstOf))).toContain('HTTP/1.1 503');
      expect((await post(url, signature, new Uint8Array(64 * 1024))).status).toBe(200);
      for (const socket of sockets) socket.destroy();
      await vi.waitFor(
        async () => expect((await post(url, signature, new Uint8Array(MIB - 1))).status).toBe(200),
        PATIENCE,
      );
    }));

  it('is read on for after its refusal, so that the answer arrives, unless a crowd is', () =>
    withWebhooks(async ({ url }) => {
      const crowd = Array.from({ length: 16 }, () => announce(url, 'made-up'));
      for (const socket of crowd) expect(await firstOf(socket)).toContain('HTTP/1.1 400');
      expect(crowd.some(({ closed }) => closed)).toBe(false);
      const one = announce(url, 'made-up');
      const answer = await firstOf(one);
      expect(answer).toContain('HTTP/1.1 400');
      expect(answer.toLowerCase()).toContain('connection: close');
      if (!one.closed) await once(one, 'close');
      for (const socket of crowd) socket.destroy();
      await vi.waitFor(
        async () => expect((await post(url, 'made-up', new Uint8Array(MIB))).status).toBe(400),
        PATIENCE,
      );
    }));
});

describe('rejected events', () => {
  const rejection = (index: number) => ({
    text: `event ${index}`,
    truncated: false,
    code: 'quantity_invalid',
    detail: 'no',
    pointer: '/quantity',
  });

  it('are bounded in number: the oldest go, and how many is told', () =>
    withDatabase(async (db) => {
      const rejected = new RejectedEvents(db, 20);
      const all = Array.from({ length: 50 }, (_, index) => index);
      for (const index of all) await rejected.keep([rejection(index)], new Date(NOW_MS + index));
      await rejected.pruneExcess(new Date(NOW_MS + 50));
      const kept = (await rejected.list({ limit: 100 })).map(({ text }) => text);
      expect(kept).toEqual(
        all
          .slice(30)
          .toReversed()
          .map((index) => `event ${index}`),
      );
      expect(await rejected.pruned()).toMatchObject({ count: 30 });
    }));

  it('that are as old as each other are removed one by one', () =>
    withDatabase(async (db) => {
      const rejected = new RejectedEvents(db, 7);
      await rejected.keep(
        Array.from({ length: 20 }, (_, index) => rejection(index)),
        new Date(NOW_MS),
      );
      await rejected.pruneExcess(new Date(NOW_MS));
      expect(await rejected.count()).toBe(7);
      expect(await rejected.pruneExcess(new Date(NOW_MS))).toBe(0);
    }));

  it('under the limit stay', () =>
    withEventsApp({}, async ({ rejected }) => {
      await rejected.keep([rejection(1)], new Date(NOW_MS));
      expect(await rejected.pruneExcess(new Date(NOW_MS))).toBe(0);
      expect(await rejected.pruned()).toBeUndefined();
    }));
});
