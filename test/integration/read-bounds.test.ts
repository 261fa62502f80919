/** What a client can ask for: positions that it made up, reads that take long, and nobody to wait for them. */
import { type ClientRequest, request } from 'node:http';
import type { Db } from 'mongodb';
import { describe, expect, it } from 'vitest';
import { inReadScope, readScope } from '../../src/platform/read-scope.ts';
import { boundReads } from '../../src/platform/mongo/bounded-reads.ts';
import { RawFacts } from '../../src/usage/raw-facts-store.ts';
import { USAGE_EVENTS } from '../../src/usage/usage-events-store.ts';
import { ADMIN_KEY, withDaemon } from '../support/daemon.ts';
import { withEventsApp } from '../support/http-app.ts';
import { withDatabase } from '../support/services.ts';
import { hourOf, ms, storeEvents } from '../support/usage.ts';

const cursorOf = (position: unknown): string => Buffer.from(JSON.stringify(position)).toString('base64url');
/** The first and the last instant that a date can hold. */
const [FIRST_MS, LAST_MS] = [-8.64e15, 8.64e15];
const LISTS = [
  '/v1/customers/acme/events?',
  '/v1/customers/acme/events?from=2026-11-01T00:00:00Z&to=2026-11-02T00:00:00Z&',
  '/v1/customers/acme/explain?meter=calls&',
  '/v1/stripe/inbox?',
  '/v1/rejected-events?',
  '/v1/adjustments?',
  '/v1/reconciliations?',
];

describe('a position that a client made up', () => {
  it(
    'costs no more than a page, or is refused, in every list that holds an instant',
    () =>
      withDaemon({}, async (daemon) => {
        await daemon.call('PUT', '/v1/meters/calls', { eventType: 'call', aggregation: 'count' });
        for (const list of LISTS) {
          for (const instant of [FIRST_MS, LAST_MS, 0, LAST_MS + 1, 1e300, -1e300]) {
            for (const position of [instant, [instant, 'x'], [instant, 'x', 'event']]) {
              const { status } = await daemon.call('GET', `${list}cursor=${cursorOf(position)}`);
              expect([200, 400], `${list} ${JSON.stringify(position)}`).toContain(status);
            }
          }
        }
      }),
    120_000,
  );

  it('before the range begins where the range does', () =>
    withDatabase(async (db) => {
      await storeEvents(db, [{ at: '2026-11-21T05:10:00Z', key: 'a' }]);
      let finds = 0;
      const counted = new Proxy(db, {
        get: (target, name) => {
          if (name !== 'collection') return Reflect.get(target, name) as unknown;
          return (of: string) => {
            const collection = target.collection(of);
            const find = collection.find.bind(collection);
            const countedFind = (...given: Parameters<typeof find>) => {
              finds += 1;
              return find(...given);
            };
            return of === USAGE_EVENTS ? Object.assign(collection, { find: countedFind }) : collection;
          };
        },
      });
      const { facts } = await new RawFacts(counted).page({
        customerId: 'acme',
        fromMs: ms('2026-11-21T00:00:00Z'),
        toMs: ms('2026-11-22T00:00:00Z'),
        after: { occurredAtMs: FIRST_MS, id: '', kind: 'event' },
        limit: 10,
      });
      expect(facts).toHaveLength(1);
      expect(finds).toBe(1);
    }));
});

describe('a read of a request', () => {
  const slowly = (db: Db) =>
    boundReads(db)
      .collection(USAGE_EVENTS)
      .aggregate([
        {
          $match: { $expr: { $function: { body: 'function() { sleep(60000); return true; }', args: [], lang: 'js' } } },
        },
      ])
      .toArray();

  /** How many slow statements the server runs. */
  const running = async (db: Db): Promise<number> => {
    const found = await db.admin().command({ currentOp: 1, active: true, ns: `${db.databaseName}.${USAGE_EVENTS}` });
    return (found['inprog'] as unknown[]).length;
  };

  it('ends on the server as well when nobody waits any more', () =>
    withDatabase(async (db) => {
      await storeEvents(db, [{ at: '2026-11-21T05:10:00Z' }]);
      const client = new AbortController();
      const read = inReadScope({ signal: client.signal, leftMs: () => 60_000 }, () => slowly(db));
      const outcome = read.then(
        () => 'read',
        (error: unknown) => error,
      );
      while ((await running(db)) === 0) await new Promise((resolve) => setTimeout(resolve, 20));
      client.abort(new Error('gone'));
      expect(await outcome).toMatchObject({ message: 'gone' });
      while ((await running(db)) > 0) await new Promise((resolve) => setTimeout(resolve, 20));
    }));

  it('is not begun once the time of the request is over', () =>
    withDatabase(async (db) => {
      const over = AbortSignal.abort(new Error('over'));
      const read = (): unknown =>
        inReadScope({ signal: over, leftMs: () => 0 }, () => boundReads(db).collection(USAGE_EVENTS).findOne({}));
      expect(read).toThrow('over');
    }));

  it('of a job is not bound', () =>
    withDatabase(async (db) => {
      expect(
        await boundReads(db)
          .collection(USAGE_EVENTS)
          .countDocuments({ hour: hourOf('2026-11-21T05:00:00Z') }),
      ).toBe(0);
    }));
});

describe('a request that only reads', () => {
  it('is answered 503 when it takes too long', () =>
    withEventsApp(
      {
        readRequestMsMax: 200,
        routes: [
          (app) =>
            app.get('/v1/slow', { schema: { security: [] } }, async () => {
              const signal = readScope()?.signal;
              await new Promise((_resolve, reject) => {
                signal?.addEventListener('abort', () => reject(signal.reason as Error));
              });
              return {};
            }),
        ],
      },
      async ({ app }) => {
        const reply = await app.inject({ url: '/v1/slow' });
        expect(reply.statusCode).toBe(503);
        expect(reply.json()).toMatchObject({ code: 'read_timeout' });
        expect(reply.headers['retry-after']).toBeDefined();
      },
    ));

  it('ends when its client is gone', async () => {
    let client: ClientRequest | undefined;
    let ended: (reason: unknown) => void = () => undefined;
    const reason = new Promise((resolve) => (ended = resolve));
    await withEventsApp(
      {
        routes: [
          (app) =>
            app.get('/v1/slow', { schema: { security: [] } }, async () => {
              const signal = readScope()?.signal;
              return new Promise((_resolve, reject) => {
                signal?.addEventListener('abort', () => {
                  ended(signal.reason);
                  reject(signal.reason as Error);
                });
                client?.destroy();
              });
            }),
        ],
      },
      async ({ app }) => {
        const url = await app.listen({ host: '127.0.0.1', port: 0 });
        client = request(`${url}/v1/slow`, { headers: { authorization: `Bearer ${ADMIN_KEY}` } });
        client.on('error', () => undefined);
        client.end();
        expect(await reason).toMatchObject({ code: 'request_aborted' });
      },
    );
  });
});
