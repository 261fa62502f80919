/** The daemon in a process of its own: what it writes while a store refuses, and how it ends. */
import { spawn } from 'node:child_process';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { Redis } from 'ioredis';
import { describe, expect, it } from 'vitest';
import { readEmbeddedEnvironment } from '../../packages/dev-services/src/environment.ts';
import { findFreePorts } from '../../packages/dev-services/src/ports.ts';
import { startEmbeddedRedis } from '../../packages/dev-services/src/redis.ts';
import { resolveRedis } from '../../packages/dev-services/src/resolve-redis.ts';
import { REPOSITORY } from '../support/source-files.ts';
import { mongodbUri, redisUrl, withDatabase } from '../support/services.ts';

const SCENARIO_MS_MAX = 180_000;

interface LogLine {
  readonly level: string;
  readonly msg: string;
  readonly code?: string;
  readonly trouble?: string;
}

interface DaemonProcess {
  readonly port: number;
  readonly readiness: () => Promise<{ status: string; checks: Record<string, string> }>;
  /** Sends SIGTERM; how it ended, and every line that it wrote. */
  readonly stop: () => Promise<{ code: number | null; lines: LogLine[] }>;
}

async function withDaemonProcess(
  settings: Record<string, string>,
  use: (daemon: DaemonProcess) => Promise<void>,
): Promise<void> {
  await withDatabase(async (db) => {
    const [port = 0] = await findFreePorts(1);
    const loader = import.meta.resolve('tsx');
    const child = spawn(process.execPath, ['--import', loader, join(REPOSITORY, 'scripts/tallystick.ts'), 'start'], {
      env: {
        PATH: process.env['PATH'],
        MONGODB_URI: mongodbUri(),
        MONGODB_DATABASE: db.databaseName,
        REDIS_URL: redisUrl(),
        PORT: String(port),
        ADMIN_API_KEY: 'tly_test_admin_key_of_a_process',
        // Nothing else than stopping itself may end a connection.
        REQUEST_TIMEOUT_MS: '600000',
        ...settings,
      },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const written = text(child.stdout);
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
    const readiness: DaemonProcess['readiness'] = async () =>
      (await (await fetch(`http://127.0.0.1:${port}/readyz`)).json()) as Awaited<ReturnType<typeof readiness>>;
    const stop: DaemonProcess['stop'] = async () => {
      child.kill('SIGTERM');
      const code = await ended;
      const lines = (await written).trim().split('\n');
      return { code, lines: lines.map((line) => JSON.parse(line) as LogLine) };
    };
    try {
      await until(async () => (await readiness().catch(() => undefined)) !== undefined);
      await use({ port, readiness, stop });
    } finally {
      child.kill('SIGKILL');
      await ended;
    }
  });
}

/** Asks until it is so; the test's own limit ends it. */
async function until(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await pause(100);
}

function pause(delayMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, delayMs));
}

async function openSocket(port: number, firstBytes: string): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1' });
  socket.on('error', () => {});
  await new Promise((resolve) => socket.once('connect', resolve));
  if (firstBytes !== '') socket.write(firstBytes);
  return socket;
}

const HALF_A_HEAD = 'POST /v1/events HTTP/1.1\r\nHost: x\r\n';
const HALF_A_BODY = `${HALF_A_HEAD}Content-Type: application/json\r\nAuthorization: Bearer tly_test_admin_key_of_a_process\r\nContent-Length: 100\r\n\r\n{"events":`;

describe('a daemon that is told to stop', () => {
  it.each([
    ['that says nothing', ''],
    ['with half a head', HALF_A_HEAD],
    ['with half a body', HALF_A_BODY],
  ])('waits for no connection %s, and ends with 0', { timeout: SCENARIO_MS_MAX }, (_name, firstBytes) =>
    withDaemonProcess({ ROLES: 'http' }, async ({ port, stop }) => {
      const socket = await openSocket(port, firstBytes);
      await pause(300);
      const { code, lines } = await stop();
      expect([code, lines.at(-1)?.msg]).toEqual([0, 'daemon stopped']);
      expect(lines.filter(({ level }) => level !== 'info')).toEqual([]);
      socket.destroy();
    }),
  );

  it(
    'tells once that Redis refuses, and once that it is over, and ends with 0 when Redis is away',
    { timeout: SCENARIO_MS_MAX },
    async () => {
      const redis = await startEmbeddedRedis({ program: await resolveRedis(readEmbeddedEnvironment(), () => {}) });
      const admin = new Redis(redis.url);
      admin.on('error', () => {});
      try {
        await withDaemonProcess({ REDIS_URL: redis.url }, async ({ readiness, stop }) => {
          await until(async () => (await readiness()).checks['redis'] === 'ok');
          await admin.config('SET', 'maxmemory', '1');
          await until(async () => (await readiness()).checks['redis'] === 'refuses_writes');
          await pause(5_000);
          await admin.config('SET', 'maxmemory', '0');
          await until(async () => (await readiness()).checks['redis'] === 'ok');
          await redis.kill();
          await until(async () => (await readiness()).checks['redis'] === 'away');
          const { code, lines } = await stop();
          expect([code, lines.at(-1)?.msg]).toEqual([0, 'daemon stopped']);
          expect(lines.filter(({ msg }) => msg === 'redis refuses writes')).toMatchObject([{ code: 'OOM' }]);
          expect(lines.filter(({ trouble }) => trouble === 'redis refuses writes')).toHaveLength(1);
          expect(lines.filter(({ msg }) => msg === 'redis does not answer')).toHaveLength(1);
          expect(lines.length).toBeLessThan(40);
        });
      } finally {
        admin.disconnect();
        await redis.stop();
      }
    },
  );
});
