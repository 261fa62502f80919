/** Stores that keep their connections and say nothing, or answer and refuse: work goes on by itself, and is not said to be well meanwhile. */
import { describe, expect, it } from 'vitest';
import { type SilentProxy, withSilentProxy } from '../../scripts/lib/torture/silent-proxy.ts';
import { readEmbeddedEnvironment } from '../../packages/dev-services/src/environment.ts';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../packages/dev-services/src/redis.ts';
import { resolveRedis } from '../../packages/dev-services/src/resolve-redis.ts';
import { Heartbeats } from '../../src/platform/mongo/heartbeats.ts';
import { Redis } from 'ioredis';
import { type LentDaemon, withDaemon } from '../support/daemon.ts';
import { mongodbUri, redisUrl } from '../support/services.ts';

const SCENARIO_MS_MAX = 240_000;
/** What could not be rung for is found by the sweep, each minute. */
const WITH_TICKER = { ROLES: 'http,worker,ticker' };

interface Readiness {
  readonly status: string;
  readonly checks: Readonly<Record<string, string>>;
  readonly reasons?: Readonly<Record<string, string>>;
}

async function readiness({ url }: LentDaemon): Promise<Readiness> {
  return (await (await fetch(`${url}/readyz`)).json()) as Readiness;
}

/** Asks until the answer is as it should be; the test's own limit ends it. */
async function until<T>(read: () => Promise<T>, isRight: (value: T) => boolean): Promise<T> {
  for (;;) {
    const value = await read();
    if (isRight(value)) return value;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function untilReady(daemon: LentDaemon): Promise<Readiness> {
  return until(
    () => readiness(daemon),
    ({ status }) => status === 'ready',
  );
}

/** The first answer that is not ready has to be the right one. */
function untilTroubled(daemon: LentDaemon): Promise<Readiness> {
  return until(
    () => readiness(daemon),
    ({ status }) => status !== 'ready',
  );
}

/** Every connection that was silenced has been given up, a worker's blocking one too. */
function untilGivenUp(proxy: SilentProxy): Promise<number> {
  return until(
    () => Promise.resolve(proxy.silenced),
    (silenced) => silenced === 0,
  );
}

function portOf(url: string): number {
  return Number(new URL(url.replace(/^mongodb:/, 'http:').replace(/,[^/]*/, '')).port);
}

describe('a Redis that falls silent on its connections', () => {
  it('is given up and connected to again, and is not ready meanwhile', { timeout: SCENARIO_MS_MAX }, () =>
    withSilentProxy({ port: portOf(redisUrl()) }, async (proxy) => {
      const environment = { ...WITH_TICKER, REDIS_URL: `redis://127.0.0.1:${proxy.port}` };
      await withDaemon({ environment }, async (daemon) => {
        await daemon.run('aggregate-usage');
        expect(await readiness(daemon)).toMatchObject({ status: 'ready', checks: { redis: 'ok', work: 'ok' } });
        proxy.silence();
        expect(await untilTroubled(daemon)).toMatchObject({
          status: 'degraded',
          checks: { redis: 'away' },
        });
        // Not even a new connection is heard, so that it lasts until somebody has looked.
        proxy.silenceNew(true);
        proxy.silence();
        // Another process reaches Redis over a connection of its own: what counts is what the daemon reaches.
        const seen = await daemon.cliHere('doctor', 'daemon');
        proxy.silenceNew(false);
        expect([seen.code, seen.stdout]).toEqual([4, expect.stringMatching(/^daemon: .* redis does not answer it ->/)]);
        expect(await daemon.run('aggregate-usage')).toMatchObject({ entries: 0 });
        await untilReady(daemon);
        await untilGivenUp(proxy);
      });
    }),
  );
});

describe('a MongoDB that falls silent on its connections', () => {
  it('is given up and connected to again, and is not ready meanwhile', { timeout: SCENARIO_MS_MAX }, () =>
    withSilentProxy({ port: portOf(mongodbUri()) }, async (proxy) => {
      const environment = { MONGODB_URI: `mongodb://127.0.0.1:${proxy.port}/?directConnection=true` };
      await withDaemon({ environment }, async (daemon) => {
        await daemon.run('aggregate-usage');
        proxy.silence();
        expect(await untilTroubled(daemon)).toMatchObject({
          status: 'not_ready',
          checks: { mongodb: 'away' },
        });
        await untilReady(daemon);
        expect(await daemon.run('aggregate-usage')).toMatchObject({ entries: 0 });
        await untilGivenUp(proxy);
      });
    }),
  );
});

async function withOwnRedis(use: (redis: EmbeddedRedis, admin: Redis) => Promise<void>): Promise<void> {
  const program = await resolveRedis(readEmbeddedEnvironment(), () => {});
  const redis = await startEmbeddedRedis({ program });
  const admin = new Redis(redis.url);
  try {
    await use(redis, admin);
  } finally {
    admin.disconnect();
    await redis.stop();
  }
}

describe('a Redis that refuses writes', () => {
  const refusals = {
    OOM: {
      begin: (admin: Redis) => admin.config('SET', 'maxmemory', '1'),
      end: (admin: Redis) => admin.config('SET', 'maxmemory', '0'),
    },
    READONLY: {
      begin: (admin: Redis) => admin.replicaof('127.0.0.1', '1'),
      end: (admin: Redis) => admin.replicaof('NO', 'ONE'),
    },
  } as const;

  it.each(Object.keys(refusals) as (keyof typeof refusals)[])(
    'with %s is asked seldom, told of once, and used again when it takes them',
    { timeout: SCENARIO_MS_MAX },
    (code) =>
      withOwnRedis(async (redis, admin) => {
        await withDaemon({ environment: { ...WITH_TICKER, REDIS_URL: redis.url } }, async (daemon) => {
          await daemon.run('aggregate-usage');
          await refusals[code].begin(admin);
          expect(await untilTroubled(daemon)).toMatchObject({
            status: 'degraded',
            checks: { redis: 'refuses_writes' },
            reasons: { redis: code },
          });
          const seen = await daemon.cliHere('doctor', 'redis');
          expect([seen.code, seen.stdout]).toEqual([4, expect.stringContaining(`Redis refuses writes (${code})`)]);
          // The run is listed in MongoDB, whatever Redis says.
          expect((await daemon.call('POST', '/v1/runs', { job: 'aggregate-usage' })).status).toBe(202);
          await new Promise((resolve) => setTimeout(resolve, 3_000));
          const before = await commandsOf(admin);
          await new Promise((resolve) => setTimeout(resolve, 3_000));
          expect((await commandsOf(admin)) - before).toBeLessThan(300);
          await refusals[code].end(admin);
          await untilReady(daemon);
          expect(await daemon.run('aggregate-usage')).toMatchObject({ entries: 0 });
        });
      }),
  );
});

describe('work that stands still', () => {
  it('is named by doctor and by /readyz, although every store answers', { timeout: SCENARIO_MS_MAX }, () =>
    withDaemon({}, async (daemon) => {
      const ago = (minutes: number): Date => new Date(Date.now() - minutes * 60_000);
      await new Heartbeats(daemon.db).beat('worker', ago(9));
      expect(await readiness(daemon)).toMatchObject({
        status: 'degraded',
        checks: { mongodb: 'ok', redis: 'ok', work: 'late' },
        reasons: { work: 'no_job_taken' },
      });
      const { code, stdout } = await daemon.cliHere('doctor', 'jobs');
      expect(code).toBe(1);
      expect(stdout).toMatch(/^jobs: no worker has taken a job from the queue, since .* -> see that a daemon/m);
    }),
  );
});

async function commandsOf(admin: Redis): Promise<number> {
  return Number(/total_commands_processed:(\d+)/.exec(await admin.info('stats'))?.[1]);
}
