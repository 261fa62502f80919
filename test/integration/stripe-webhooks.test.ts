import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import type { Db } from 'mongodb';
import { describe, expect, it } from 'vitest';
import { recordWebhook } from '../../src/webhooks/record-webhook.ts';
import { ManualClock } from '../../src/platform/clock.ts';
import { buildApp } from '../../src/platform/http/app.ts';
import { Metrics } from '../../src/platform/http/metrics.ts';
import type { App } from '../../src/platform/http/route.ts';
import { registerStripeInbox } from '../../src/webhooks/stripe-inbox-routes.ts';
import { registerStripeWebhooks } from '../../src/webhooks/stripe-webhooks-routes.ts';
import { WebhookInbox } from '../../src/webhooks/webhook-inbox-store.ts';
import { Webhooks, type WebhookSettings } from '../../src/webhooks/webhooks-stripe.ts';
import { withDatabase } from '../support/services.ts';
import { sign, SNAPSHOT_SECRET, snapshotEvent, THIN_SECRET, thinEvent } from '../support/webhooks.ts';

const NOW_MS = Date.parse('2026-11-21T05:30:00.700Z');
const NOW_SECONDS = Math.floor(NOW_MS / 1_000);
const ADMIN_KEY = 'an-admin-key-for-tests-only';
const SNAPSHOT_URL = '/v1/stripe/webhooks';
const THIN_URL = '/v1/stripe/events';

interface LentApp {
  readonly app: App;
  readonly db: Db;
  readonly rung: string[];
  /** Posts to a route as Stripe does. */
  readonly post: (url: string, request: { body: string | Buffer; headers?: Record<string, string> }) => Promise<Answer>;
}

interface Answer {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

function withApp(settings: Partial<WebhookSettings>, use: (lent: LentApp) => Promise<void>): Promise<void> {
  return withDatabase(async (db) => {
    const inbox = new WebhookInbox(db);
    const clock = new ManualClock(NOW_MS);
    const rung: string[] = [];
    const received: string[] = [];
    const webhooks = new Webhooks({
      secrets: { snapshot: [SNAPSHOT_SECRET], thin: [THIN_SECRET] },
      isLive: false,
      accountId: () => Promise.resolve('acct_ours'),
      ...settings,
    });
    const silent = { info: () => {}, warn: () => {}, error: () => {} };
    const app = await buildApp({
      log: silent,
      auth: { findApiKey: () => Promise.resolve(null), adminApiKey: ADMIN_KEY, clock },
      health: { isDraining: () => false, checks: [] },
      metrics: new Metrics(),
      bodyBytesMax: 1024 * 1024,
      requestTimeoutMs: 30_000,
      version: '0.0.0',
      routes: [
        (scope) =>
          registerStripeWebhooks(scope, {
            clock,
            onReception: (kind, outcome) => void received.push(`${kind} ${outcome}`),
            receive: (delivery) =>
              recordWebhook(
                {
                  verify: (given, nowMs) => webhooks.verify(given, nowMs),
                  inbox,
                  ring: () => void rung.push('process-webhooks'),
                  clock,
                },
                delivery,
              ),
          }),
        (scope) =>
          registerStripeInbox(scope, {
            listInbox: (query) => inbox.list(query),
            retry: (eventId) => inbox.retry(eventId, new Date(NOW_MS)),
          }),
      ],
    });
    const post: LentApp['post'] = async (url, { body, headers = {} }) => {
      const answer = await app.inject({
        method: 'POST',
        url,
        payload: body,
        headers: { 'content-type': 'application/json; charset=utf-8', ...headers },
      });
      return { status: answer.statusCode, body: answer.json() };
    };
    try {
      await use({ app, db, rung, post });
    } finally {
      await app.close();
    }
  });
}

const signed = (body: string, at = NOW_SECONDS): Record<string, string> => ({
  'stripe-signature': sign(body, { nowMs: at * 1_000 }).signature,
});

const BODY = snapshotEvent('invoice.created', 'in_1');
const THIN_BODY = thinEvent('v1.billing.meter.error_report_triggered');
const DIGEST = sign(BODY, { nowMs: NOW_MS }).signature.split('v1=')[1] ?? '';

describe('a webhook that is forged, stale or not for us', () => {
  /** What is sent, and the code of the refusal. */
  const header = (value: string): { headers: Record<string, string> } => ({ headers: { 'stripe-signature': value } });
  const refusals: [string, { url?: string; body?: string | Buffer; headers?: Record<string, string> }, string][] = [
    ['of a wrong secret', header(sign(BODY, { nowMs: NOW_MS, secret: 'whsec_wrong' }).signature), 'signature_wrong'],
    ['of the other destination', header(sign(BODY, { nowMs: NOW_MS, kind: 'thin' }).signature), 'secret_other'],
    ['without a header', {}, 'signature_missing'],
    ['with an empty header', header(''), 'signature_missing'],
    ['without t', header(`v1=${DIGEST}`), 'signature_malformed'],
    ['without v1', header(`t=${NOW_SECONDS}`), 'signature_malformed'],
    ['with v0 only', header(`t=${NOW_SECONDS},v0=${DIGEST}`), 'signature_malformed'],
    ['301 s old', { headers: signed(BODY, NOW_SECONDS - 301) }, 'timestamp_refused'],
    ['301 s ahead', { headers: signed(BODY, NOW_SECONDS + 301) }, 'timestamp_refused'],
    ['with a t that is no number', header(`t=now,v1=${DIGEST}`), 'signature_malformed'],
    ['with a t that only begins as one', header(`t=${NOW_SECONDS}x,v1=${DIGEST}`), 'signature_malformed'],
    ['with two t', header(`t=1,t=${NOW_SECONDS},v1=${DIGEST}`), 'signature_malformed'],
    ['with a tampered body', { headers: signed(BODY), body: BODY.replace('in_1', 'in_2') }, 'signature_wrong'],
    ['serialised again', { headers: signed(BODY), body: JSON.stringify(JSON.parse(BODY), null, 1) }, 'signature_wrong'],
    ['with a truncated body', { headers: signed(BODY), body: BODY.slice(0, -1) }, 'signature_wrong'],
    ['with an empty body', { headers: signed(BODY), body: '' }, 'signature_wrong'],
    ['behind a byte order mark', { headers: signed(BODY), body: `\ufeff${BODY}` }, 'signature_wrong'],
    [
      'with a byte that is no UTF-8',
      { headers: signed(`${BODY}\ufffd`), body: Buffer.from([...Buffer.from(BODY), 0xff]) },
      'signature_wrong',
    ],
    ['with the signature of another body', { headers: signed(THIN_BODY) }, 'signature_wrong'],
    ['with the signature in upper case', header(`t=${NOW_SECONDS},v1=${DIGEST.toUpperCase()}`), 'signature_wrong'],
    ['with the signature cut short', header(`t=${NOW_SECONDS},v1=${DIGEST.slice(0, -1)}`), 'signature_wrong'],
    ['with something after the signature', header(`t=${NOW_SECONDS},v1=${DIGEST}=x`), 'signature_malformed'],
    ['with letters of more than one byte', header(`t=${NOW_SECONDS},v1=${'é'.repeat(64)}`), 'signature_malformed'],
    ['with line breaks in the header', header(`t=${NOW_SECONDS},\r\n v1=${DIGEST}`), 'signature_malformed'],
    [
      'with a header without end',
      header(`t=${NOW_SECONDS},v1=${DIGEST},${'v0=a,'.repeat(2_000)}v0=a`),
      'signature_malformed',
    ],
    ['compressed', { headers: { ...signed(BODY), 'content-encoding': 'gzip' }, body: gzipSync(BODY) }, 'body_encoded'],
    ['compressed in secret', { headers: signed(BODY), body: gzipSync(BODY) }, 'signature_wrong'],
    ['thin at the snapshot route', { headers: signed(THIN_BODY), body: THIN_BODY }, 'event_kind_wrong'],
    [
      'a snapshot at the thin route',
      { url: THIN_URL, headers: { 'stripe-signature': sign(BODY, { nowMs: NOW_MS, kind: 'thin' }).signature } },
      'event_kind_wrong',
    ],
    ...['{}', 'null', '[]', 'x', '{"object":"event"}', snapshotEvent('a b', 'in_1')].map(
      (body): [string, object, string] => [
        `signed and no event: ${body.slice(0, 20)}`,
        { headers: signed(body), body },
        'event_malformed',
      ],
    ),
    ...[{ account: 'acct_other' }, { context: 'acct_other' }, { context: 'acct_other/acct_ours' }].map(
      (fields): [string, object, string] => {
        const body = snapshotEvent('invoice.created', 'in_1', fields);
        return [`of another account: ${JSON.stringify(fields)}`, { headers: signed(body), body }, 'account_other'];
      },
    ),
  ];

  it('is refused with a code that says why, and leaves nothing', async () => {
    await withApp({}, async ({ db, rung, post }) => {
      const outcomes: unknown[] = [];
      for (const [name, request] of refusals) {
        const { status, body } = await post(request.url ?? SNAPSHOT_URL, { body: BODY, ...request });
        outcomes.push([name, status, body['code']]);
      }
      expect(outcomes).toEqual(refusals.map(([name, , code]) => [name, 400, `webhook_${code}`]));
      expect(await db.collection('webhook_inbox').countDocuments({})).toBe(0);
      expect(rung).toEqual([]);
    });
  });

  it('a live event on a test key, or the reverse, is refused', async () => {
    for (const isLive of [false, true]) {
      await withApp({ isLive }, async ({ db, post }) => {
        const body = snapshotEvent('invoice.created', 'in_1', { livemode: !isLive });
        const answer = await post(SNAPSHOT_URL, { body, headers: signed(body) });
        expect(answer).toMatchObject({ status: 400, body: { code: 'webhook_mode_other' } });
        expect(await db.collection('webhook_inbox').countDocuments({})).toBe(0);
      });
    }
  });

  it('is refused over the wire too: a folded header, the header twice, no content type, a body too large', async () => {
    await withApp({}, async ({ app, db }) => {
      await app.listen({ host: '127.0.0.1', port: 0 });
      const { port } = app.server.address() as AddressInfo;
      const send = (headers: readonly string[], body = BODY): Promise<string> => {
        const socket = connect(port, '127.0.0.1');
        const head = [
          `POST ${SNAPSHOT_URL} HTTP/1.1`,
          'Host: x',
          'Connection: close',
          `Content-Length: ${Buffer.byteLength(body)}`,
        ];
        socket.write(`${[...head, ...headers].join('\r\n')}\r\n\r\n${body}`);
        return text(socket);
      };
      const good = `Stripe-Signature: t=${NOW_SECONDS},v1=${DIGEST}`;
      expect(await send([`Stripe-Signature: t=${NOW_SECONDS},\r\n v1=${DIGEST}`])).toMatch(/^HTTP\/1.1 400/);
      expect(await send([good, good])).toMatch(/^HTTP\/1.1 400[^]*webhook_signature_malformed/);
      expect(await send(['Content-Type: nonsense'])).toMatch(/^HTTP\/1.1 4/);
      expect(await send([good], `${BODY}${' '.repeat(1024 * 1024)}`)).toMatch(/^HTTP\/1.1 413/);
      expect(await db.collection('webhook_inbox').countDocuments({})).toBe(0);
      expect(await send([good])).toMatch(/^HTTP\/1.1 200/);
    });
  });

  it('asks Stripe to come again where no secret is configured', async () => {
    await withApp({ secrets: {} }, async ({ post }) => {
      const answer = await post(SNAPSHOT_URL, { body: BODY, headers: signed(BODY) });
      expect(answer).toMatchObject({ status: 503, body: { code: 'webhook_not_configured' } });
    });
  });
});

describe('a webhook of Stripe', () => {
  it('is recorded once however often it comes, with what has to be known and nothing of its content', async () => {
    await withApp({}, async ({ db, rung, post }) => {
      for (const duplicate of [false, true, true]) {
        const answer = await post(SNAPSHOT_URL, { body: BODY, headers: signed(BODY) });
        const eventId = 'evt_invoicecreated_in_1';
        expect(answer).toEqual({ status: 200, body: { received: true, eventId, duplicate } });
      }
      expect(await db.collection('webhook_inbox').find().toArray()).toEqual([
        {
          _id: 'evt_invoicecreated_in_1',
          kind: 'snapshot',
          type: 'invoice.created',
          objectId: 'in_1',
          createdAt: new Date(1_780_000_000_000),
          receivedAt: new Date(NOW_MS),
          source: 'delivery',
          state: 'pending',
          attempts: 0,
          dueAt: new Date(NOW_MS),
        },
      ]);
      expect(rung).toHaveLength(3);
    });
  });

  it.each([
    ['300 s old', NOW_SECONDS - 300],
    ['300 s ahead', NOW_SECONDS + 300],
  ])('is taken when it is %s', async (_name, at) => {
    await withApp({}, async ({ post }) => {
      expect((await post(SNAPSHOT_URL, { body: BODY, headers: signed(BODY, at) })).status).toBe(200);
    });
  });

  it('is taken with several signatures, a v0 among them, and by either of two secrets while one is rolled', async () => {
    await withApp({ secrets: { snapshot: ['whsec_old_one', SNAPSHOT_SECRET] } }, async ({ post }) => {
      const several = `t=${NOW_SECONDS},v1=${'0'.repeat(64)},v1=${DIGEST},v0=${DIGEST}`;
      const old = sign(BODY, { nowMs: NOW_MS, secret: 'whsec_old_one' }).signature;
      for (const signature of [several, old]) {
        const answer = await post(SNAPSHOT_URL, { body: BODY, headers: { 'stripe-signature': signature } });
        expect(answer.status).toBe(200);
      }
    });
  });

  it('is taken when it names our own account, and asks for it only then', async () => {
    let asked = 0;
    const accountId = (): Promise<string> => Promise.resolve(`acct_ours${(asked += 1) > 9 ? '?' : ''}`);
    await withApp({ accountId }, async ({ post }) => {
      const body = snapshotEvent('invoice.created', 'in_2', { context: 'acct_ours' });
      expect((await post(SNAPSHOT_URL, { body, headers: signed(body) })).status).toBe(200);
      expect((await post(SNAPSHOT_URL, { body: BODY, headers: signed(BODY) })).status).toBe(200);
      expect(asked).toBe(1);
    });
  });

  it('is recorded as done when nothing is done for its type, without a bell', async () => {
    await withApp({}, async ({ db, rung, post }) => {
      for (const body of [snapshotEvent('charge.refunded', 'ch_1'), snapshotEvent('invoice.upcoming', '')]) {
        expect((await post(SNAPSHOT_URL, { body, headers: signed(body) })).status).toBe(200);
      }
      const found = await db.collection('webhook_inbox').find().toArray();
      expect(found.map(({ state, outcome }) => [state, outcome])).toEqual([
        ['done', 'ignored'],
        ['done', 'ignored'],
      ]);
      expect(rung).toEqual([]);
    });
  });

  it('of the thin kind comes to its own route', async () => {
    await withApp({}, async ({ db, post }) => {
      const { signature } = sign(THIN_BODY, { nowMs: NOW_MS, kind: 'thin' });
      const answer = await post(THIN_URL, { body: THIN_BODY, headers: { 'stripe-signature': signature } });
      expect(answer.status).toBe(200);
      expect(await db.collection('webhook_inbox').findOne({})).toMatchObject({
        kind: 'thin',
        objectId: 'mtr_test_1',
        state: 'pending',
        createdAt: new Date('2026-11-21T05:29:58.051Z'),
      });
    });
  });
});

describe('/v1/stripe/inbox', () => {
  it('is listed newest first, by state and in pages, and a failed event can be tried again', async () => {
    await withApp({}, async ({ app, db, post }) => {
      for (const id of ['in_1', 'in_2', 'in_3']) {
        const body = snapshotEvent('invoice.paid', id);
        await post(SNAPSHOT_URL, { body, headers: signed(body) });
      }
      const inbox = new WebhookInbox(db);
      const error = { code: 'stripe_refused', message: 'No.' };
      await inbox.postpone({ _id: 'evt_invoicepaid_in_2', attempts: 0 }, { error });
      const call = async (method: 'GET' | 'POST', url: string): Promise<Answer> => {
        const answer = await app.inject({ method, url, headers: { authorization: `Bearer ${ADMIN_KEY}` } });
        return { status: answer.statusCode, body: answer.json() };
      };
      const seen: unknown[] = [];
      for (let cursor = ''; ;) {
        const { body } = await call('GET', `/v1/stripe/inbox?limit=1${cursor}`);
        seen.push(...(body['data'] as { eventId: string }[]).map(({ eventId }) => eventId));
        if (body['hasMore'] === false) break;
        cursor = `&cursor=${String(body['nextCursor'])}`;
      }
      expect(seen).toEqual(['evt_invoicepaid_in_3', 'evt_invoicepaid_in_2', 'evt_invoicepaid_in_1']);
      const failed = await call('GET', '/v1/stripe/inbox?state=failed');
      expect(failed.body['data']).toMatchObject([
        { eventId: 'evt_invoicepaid_in_2', state: 'failed', attempts: 1, error },
      ]);
      expect(await call('POST', '/v1/stripe/inbox/evt_invoicepaid_in_2/retry')).toMatchObject({ status: 200 });
      expect(await call('POST', '/v1/stripe/inbox/evt_invoicepaid_in_2/retry')).toMatchObject({
        status: 404,
        body: { code: 'webhook_event_not_failed' },
      });
      expect((await inbox.due(new Date(NOW_MS), 10)).length).toBe(3);
      expect((await app.inject('/v1/stripe/inbox')).statusCode).toBe(401);
    });
  });
});
