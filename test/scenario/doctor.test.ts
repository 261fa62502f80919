/** `tallystick doctor` names every misconfiguration it is given, and is silent when all is well. */
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Db, MongoClient } from 'mongodb';
import { describe, expect, it } from 'vitest';
import { readEmbeddedEnvironment } from '../../packages/dev-services/src/environment.ts';
import { findFreePorts } from '../../packages/dev-services/src/ports.ts';
import { startEmbeddedRedis } from '../../packages/dev-services/src/redis.ts';
import { resolveMongod } from '../../packages/dev-services/src/resolve-mongod.ts';
import { resolveRedis } from '../../packages/dev-services/src/resolve-redis.ts';
import { startSimulator } from '../../packages/stripe-double/src/simulator.ts';
import { METER_SUBMISSIONS } from '../../src/submissions/meter-submissions-store.ts';
import { ensureIndexes } from '../../src/daemon/indexes-store.ts';
import { SubmittingPauses } from '../../src/submissions/sending/submitting-pause-store.ts';
import { METERS, toMeterDocument } from '../../src/meters/meters-store.ts';
import { openStripe } from '../../src/stripe/client.ts';
import type { Meter } from '../../src/meters/meter.ts';
import { type CommandResult, tallystick } from '../support/command-line.ts';
import { mongodbUri, redisUrl, withDatabase } from '../support/services.ts';

const at = new Date('2026-11-01T00:00:00Z');

function meter(key: string): Meter {
  return {
    key,
    displayName: key,
    unit: 'unit',
    eventType: 'call',
    aggregation: 'sum',
    valueFrom: { kind: 'quantity' },
    where: [],
    groupBy: [],
    createdAtMs: at.getTime(),
    lateUsage: 'review',
    stripe: { eventName: key },
  } as unknown as Meter;
}

type Environment = Record<string, string>;

function doctor(env: Environment, ...args: string[]): Promise<CommandResult> {
  return tallystick(['doctor', ...args], { env });
}

/** Lends a database that a daemon was started on, a simulator, and the environment that names them. */
async function withInstallation(
  use: (env: Environment, at: { simulatorUrl: string; db: Db }) => Promise<void>,
): Promise<void> {
  await withDatabase(async (db) => {
    await ensureIndexes(db);
    const simulator = await startSimulator({ rateLimitPerSecond: 0 });
    const env = {
      MONGODB_URI: mongodbUri(),
      MONGODB_DATABASE: db.databaseName,
      REDIS_URL: redisUrl(),
      STRIPE_SECRET_KEY: 'sk_test_doctor',
      STRIPE_API_BASE: simulator.url,
      PORT: '0',
    };
    try {
      await use(env, { simulatorUrl: simulator.url, db });
    } finally {
      await simulator.stop();
    }
  });
}

/** Lends a server that gives every request the same answer. */
async function withServer(status: number, body: string, use: (url: string) => Promise<void>): Promise<void> {
  const server = createServer((_request, response) => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    await use(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  } finally {
    server.close();
    server.closeAllConnections();
  }
}

async function addMeter(db: Db, key: string): Promise<void> {
  const document = toMeterDocument(meter(key), { revision: 1, updatedAt: at });
  await db.collection<{ _id: string }>(METERS).insertOne(document);
}

describe('doctor', () => {
  it('is silent when all is well', async () => {
    await withInstallation(async (env, { db, simulatorUrl }) => {
      await addMeter(db, 'calls');
      const stripe = openStripe({ secretKey: 'sk_test_doctor', apiBase: simulatorUrl });
      const body = { event_name: 'calls', display_name: 'Calls', default_aggregation: { formula: 'sum' as const } };
      await stripe.billing.meters.create(body);
      expect(await doctor(env)).toEqual({ code: 0, stdout: '', stderr: '' });
      expect(await doctor(env, 'health')).toEqual({ code: 0, stdout: '', stderr: '' });
    });
  });

  it('names a missing, an inactive and a wrong Stripe meter, each in a line', async () => {
    await withInstallation(async (env, { db, simulatorUrl }) => {
      for (const key of ['absent', 'asleep', 'counting', 'keeping', 'windowed']) await addMeter(db, key);
      const { meters } = openStripe({ secretKey: 'sk_test_doctor', apiBase: simulatorUrl }).billing;
      const make = (name: string, formula: 'sum' | 'count' | 'last') =>
        meters.create({ event_name: name, display_name: name, default_aggregation: { formula } });
      await meters.deactivate((await make('asleep', 'sum')).id);
      await make('counting', 'count');
      await make('keeping', 'last');
      await meters.create({
        event_name: 'windowed',
        display_name: 'windowed',
        default_aggregation: { formula: 'sum' },
        event_time_window: 'hour',
      });
      const { code, stdout } = await doctor(env, 'stripe');
      expect(code).toBe(1);
      const lines = stdout.trim().split('\n');
      expect(lines).toHaveLength(5);
      expect(lines[0]).toMatch(/no meter with the event name absent -> run `tallystick meters sync`/);
      expect(lines[1]).toMatch(/asleep is inactive/);
      expect(lines[2]).toMatch(/counting has the formula count and needs sum/);
      expect(lines[3]).toMatch(/keeping has the formula last and needs sum/);
      expect(lines[4]).toMatch(/windowed has the event_time_window hour/);
    });
  });

  it('names a key that Stripe refuses, and a live key without STRIPE_LIVE', async () => {
    await withInstallation(async (env) => {
      const live = { ...env, STRIPE_SECRET_KEY: ['sk', 'live', 'doctor'].join('_') };
      const unannounced = await doctor(live);
      expect([unannounced.code, unannounced.stdout]).toEqual([
        3,
        expect.stringMatching(/^configuration: STRIPE_LIVE /),
      ]);
      await withServer(401, '{"error":{"type":"invalid_request_error","message":"Invalid API Key"}}', async (url) => {
        const refused = await doctor({ ...env, STRIPE_API_BASE: url });
        expect([refused.code, refused.stdout]).toEqual([
          3,
          expect.stringMatching(/^stripe: Stripe refuses the key \(401\)/),
        ]);
      });
    });
  });

  it('names customers with usage that are mapped to nobody', async () => {
    await withInstallation(async (env, { db }) => {
      const blocked = { customerId: 'acme', state: 'blocked', reason: 'customer_not_mapped' };
      await db.collection(METER_SUBMISSIONS).insertMany([{ ...blocked }, { ...blocked }]);
      const { code, stdout } = await doctor(env);
      expect([code, stdout]).toEqual([
        1,
        expect.stringMatching(/^submissions: 2 submissions are blocked: customer_not_mapped \(acme\) -> map/),
      ]);
    });
  });

  it('names a pause, and says when a restored ledger may submit again', async () => {
    await withInstallation(async (env, { db, simulatorUrl }) => {
      const pausedAt = new Date();
      await new SubmittingPauses(db).pause('restored', pausedAt);
      const stripe = openStripe({ secretKey: 'sk_test_doctor', apiBase: simulatorUrl });
      const body = { event_name: 'calls', display_name: 'Calls', default_aggregation: { formula: 'sum' as const } };
      await stripe.billing.meters.create(body);
      const { id } = await stripe.customers.create({});
      await addMeter(db, 'calls');
      const customer = { _id: 'acme', stripeCustomerId: id, calendars: [], revision: 1, createdAt: at, updatedAt: at };
      await db.collection<{ _id: string }>('customers').insertOne(customer);
      const unread = await doctor({ ...env, SUMMARY_LAG_MAX_MS: '0' }, 'restore');
      expect([unread.code, unread.stderr]).toEqual([1, expect.stringContaining('since the backup')]);
      const caughtUp = {
        _id: 'r1',
        job: 'catch-up-events',
        trigger: 'sweep',
        state: 'succeeded',
        input: {},
        attempts: 1,
      };
      await db
        .collection<{ _id: string }>('runs')
        .insertOne({ ...caughtUp, startedAt: new Date(), endedAt: new Date() } as never);
      const [paused, tooEarly, clear] = await Promise.all([
        doctor(env, 'submissions'),
        doctor(env, 'restore'),
        doctor({ ...env, SUMMARY_LAG_MAX_MS: '0' }, 'restore'),
      ]);
      expect([paused.code, paused.stdout]).toEqual([
        1,
        expect.stringMatching(/^submissions: submitting is paused since .*\(restored\)/),
      ]);
      expect([tooEarly.code, tooEarly.stderr]).toEqual([1, expect.stringContaining('may lag')]);
      expect([clear.code, clear.stderr]).toEqual([0, expect.stringContaining('Submitting can go on')]);

      const timestamp = Math.floor(pausedAt.getTime() / 1_000) - 7_200;
      const payload = { stripe_customer_id: id, value: '5' };
      await stripe.billing.meterEvents.create({ event_name: 'calls', timestamp, payload });
      const more = await doctor(env, 'restore');
      expect([more.code, more.stdout]).toEqual([5, expect.stringMatching(/\nacme +calls .* 0 +0 +5 /)]);
    });
  });

  it('names a missing index', async () => {
    await withInstallation(async (env, { db }) => {
      await db.collection('runs').dropIndex({ startedAt: -1 } as never);
      const { code, stdout } = await doctor(env, 'indexes');
      expect([code, stdout]).toEqual([1, expect.stringContaining('runs {"startedAt":-1} is missing')]);
    });
  });

  it('names a Redis that evicts, and stores that are down with exit code 4', async () => {
    const program = await resolveRedis(readEmbeddedEnvironment(), () => {});
    const redis = await startEmbeddedRedis({ program, args: ['--maxmemory-policy', 'allkeys-lru'] });
    try {
      await withInstallation(async (env) => {
        const evicting = await doctor({ ...env, REDIS_URL: redis.url });
        expect([evicting.code, evicting.stdout]).toEqual([1, expect.stringMatching(/^redis: .*allkeys-lru/)]);
        await redis.stop();
        const down = await doctor({ ...env, REDIS_URL: redis.url });
        expect([down.code, down.stdout]).toEqual([4, expect.stringMatching(/^redis: no answer.*\n$/)]);
        const without = await doctor({ ...env, MONGODB_URI: 'mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=500' });
        expect([without.code, without.stdout]).toEqual([4, expect.stringMatching(/^mongodb: .*\n$/)]);
      });
    } finally {
      await redis.stop();
    }
  });

  it('names a MongoDB without a replica set', async () => {
    const program = await resolveMongod(readEmbeddedEnvironment(), () => {});
    const folder = await mkdtemp(join(tmpdir(), 'tallystick-standalone-'));
    const [port = 0] = await findFreePorts(1);
    const args = ['--port', String(port), '--bind_ip', '127.0.0.1', '--dbpath', folder];
    const mongod = spawn(program.path, args, { stdio: 'ignore' });
    const ended = new Promise((resolve) => mongod.once('exit', resolve));
    try {
      const uri = `mongodb://127.0.0.1:${port}/?directConnection=true`;
      await (await MongoClient.connect(uri, { serverSelectionTimeoutMS: 20_000 })).close();
      const { code, stdout } = await doctor({ MONGODB_URI: uri, REDIS_URL: redisUrl(), PORT: '0' });
      expect([code, stdout]).toEqual([1, expect.stringMatching(/^mongodb: .*no replica set.*rs\.initiate\(\).*\n$/)]);
    } finally {
      mongod.kill('SIGTERM');
      await ended;
      await rm(folder, { recursive: true, force: true });
    }
  });

  it("names a clock that is not Stripe's", async () => {
    const late = createServer((_request, response) => {
      response.sendDate = false;
      response.writeHead(200, {
        'content-type': 'application/json',
        date: new Date(Date.now() - 60_000).toUTCString(),
      });
      response.end('{"object":"list","data":[],"has_more":false,"url":"/v1/billing/meters"}');
    });
    await new Promise<void>((resolve) => late.listen(0, '127.0.0.1', resolve));
    try {
      await withInstallation(async (env) => {
        const { port } = late.address() as AddressInfo;
        const { code, stdout } = await doctor({ ...env, STRIPE_API_BASE: `http://127.0.0.1:${port}` }, 'stripe');
        expect([code, stdout]).toEqual([1, expect.stringMatching(/^stripe: our clock is (59|60) s ahead of Stripe's/)]);
      });
    } finally {
      late.close();
      late.closeAllConnections();
    }
  });

  it('says that nothing listens when it is asked about the daemon', async () => {
    const [port] = await findFreePorts(1);
    await withInstallation(async (env) => {
      expect((await doctor({ ...env, PORT: String(port) })).code).toBe(0);
      const { code, stdout } = await doctor({ ...env, PORT: String(port) }, 'health');
      expect([code, stdout]).toEqual([4, expect.stringMatching(/^daemon: .*nothing listens there/)]);
    });
  });
});
