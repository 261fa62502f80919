/** What a start says of settings that only the stores and the machine can judge: the setting, and exit code 3 or 4. */
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Db, MongoClient } from 'mongodb';
import { describe, expect, it } from 'vitest';
import { toCommandError } from '../../scripts/lib/command-error.ts';
import { EXIT } from '../../scripts/lib/exit-codes.ts';
import { loadConfig } from '../../src/config.ts';
import { startDaemon } from '../../src/daemon.ts';
import { readEmbeddedEnvironment } from '../../packages/dev-services/src/environment.ts';
import { findFreePorts } from '../../packages/dev-services/src/ports.ts';
import { resolveMongod } from '../../packages/dev-services/src/resolve-mongod.ts';
import { resolveRedis } from '../../packages/dev-services/src/resolve-redis.ts';
import { SCHEMA_VERSION } from '../../src/platform/mongo/installation.ts';
import { mongodbUri, redisUrl, withDatabase } from '../support/services.ts';

type Environment = Record<string, string>;

function environment(db: Db, more: Environment): Environment {
  const stores = { MONGODB_URI: mongodbUri(), MONGODB_DATABASE: db.databaseName, REDIS_URL: redisUrl() };
  return { ...stores, PORT: '0', LOG_LEVEL: 'silent', ROLES: 'http', ...more };
}

/** How a start ends; it is stopped when it succeeds. */
async function outcomeOf(env: Environment): Promise<{ exitCode: number; text: string }> {
  try {
    const daemon = await startDaemon(loadConfig(env));
    await daemon.stop();
    return { exitCode: EXIT.ok, text: '' };
  } catch (error) {
    const { message, why, todo, exitCode } = toCommandError(error);
    return { exitCode, text: [message, why, todo].join(' ') };
  }
}

/** Our MongoDB's address with something added to it. */
function mongodbWith(change: { userInfo?: string; options?: string }): string {
  const url = new URL(mongodbUri());
  const [scheme, rest] = url.href.split('//', 2);
  const joint = url.search === '' ? '?' : '&';
  const options = change.options === undefined ? '' : `${joint}${change.options}`;
  return `${scheme}//${change.userInfo === undefined ? '' : `${change.userInfo}@`}${rest}${options}`;
}

async function withStandalone(use: (uri: string) => Promise<void>): Promise<void> {
  const program = await resolveMongod(readEmbeddedEnvironment(), () => {});
  const folder = await mkdtemp(join(tmpdir(), 'tallystick-standalone-'));
  const [port = 0] = await findFreePorts(1);
  const args = ['--port', String(port), '--bind_ip', '127.0.0.1', '--dbpath', folder];
  const mongod = spawn(program.path, args, { stdio: 'ignore' });
  const ended = new Promise((resolve) => mongod.once('exit', resolve));
  try {
    const uri = `mongodb://127.0.0.1:${port}/`;
    await (await MongoClient.connect(uri, { serverSelectionTimeoutMS: 60_000 })).close();
    await use(uri);
  } finally {
    mongod.kill('SIGTERM');
    await ended;
    await rm(folder, { recursive: true, force: true });
  }
}

describe('a start', () => {
  const addresses: [what: string, name: string, exitCode: number, env: () => Environment][] = [
    ['an unknown host', 'MONGODB_URI', EXIT.dependencyDown, () => ({ MONGODB_URI: 'mongodb://nowhere.invalid/' })],
    [
      'an unknown cluster',
      'MONGODB_URI',
      EXIT.dependencyDown,
      () => ({ MONGODB_URI: 'mongodb+srv://no.where.invalid/' }),
    ],
    ['a port nobody has', 'MONGODB_URI', EXIT.dependencyDown, () => ({ MONGODB_URI: 'mongodb://127.0.0.1:9/' })],
    [
      'a user nobody knows',
      'MONGODB_URI',
      EXIT.configuration,
      () => ({ MONGODB_URI: mongodbWith({ userInfo: 'me:pw' }) }),
    ],
    [
      'a misspelt option',
      'MONGODB_URI',
      EXIT.configuration,
      () => ({ MONGODB_URI: mongodbWith({ options: 'tsl=true' }) }),
    ],
    [
      'a certificate that is not there',
      'MONGODB_URI',
      EXIT.configuration,
      () => ({ MONGODB_URI: mongodbWith({ options: 'tls=true&tlsCAFile=%2Fnowhere%2Fca.pem' }) }),
    ],
    ['a database that Redis has not', 'REDIS_URL', EXIT.configuration, () => ({ REDIS_URL: `${redisUrl()}/9999` })],
    ['an address of another machine', 'HOST', EXIT.configuration, () => ({ HOST: '203.0.113.7' })],
    ['a name that is no address', 'HOST', EXIT.configuration, () => ({ HOST: 'nowhere.invalid' })],
  ];
  it.each(addresses)('with %s names %s and ends with exit code %i', async (_what, name, exitCode, env) => {
    await withDatabase(async (db) => {
      const outcome = await outcomeOf(environment(db, env()));
      expect(outcome.exitCode).toBe(exitCode);
      expect(outcome.text).toContain(name);
      expect(outcome.text).not.toMatch(/defect|\bat .*:\d+:\d+\)/);
    });
  });

  it('names PORT when another process listens on it', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    try {
      await withDatabase(async (db) => {
        const outcome = await outcomeOf(environment(db, { PORT: String((other.address() as AddressInfo).port) }));
        expect(outcome).toEqual({ exitCode: EXIT.configuration, text: expect.stringMatching(/PORT \d+ is taken/) });
      });
    } finally {
      other.close();
    }
  });

  it('refuses a standalone server as the ledger, and writes nothing to it', async () => {
    await withStandalone(async (uri) => {
      await withDatabase(async (db) => {
        const outcome = await outcomeOf({ ...environment(db, { MONGODB_URI: uri }) });
        expect(outcome.exitCode).toBe(EXIT.configuration);
        expect(outcome.text).toMatch(/MONGODB_URI names a standalone server.*--replSet.*rs\.initiate/);
      });
    });
  });

  it('refuses data of a newer version, says how to go back, and changes nothing', async () => {
    await withDatabase(async (db) => {
      const document = { _id: 'installation', id: '0a1b2c3d', schemaVersion: SCHEMA_VERSION + 1 };
      await db.collection<{ _id: string }>('installation').insertOne(document);
      const outcome = await outcomeOf(environment(db, {}));
      expect(outcome.exitCode).toBe(EXIT.configuration);
      expect(outcome.text).toMatch(/MONGODB_DATABASE holds data of a newer version .*docs\/upgrade\.md/);
      const collections = await db.listCollections({}, { nameOnly: true }).toArray();
      expect(collections.map(({ name }) => name)).toEqual(['installation']);
    });
  });

  it('takes data of before there were versions, and gives it one', async () => {
    await withDatabase(async (db) => {
      const installation = db.collection<{ _id: string }>('installation');
      await installation.insertOne({ _id: 'installation', id: '0a1b2c3d' } as { _id: string });
      expect((await outcomeOf(environment(db, {}))).exitCode).toBe(EXIT.ok);
      const stored = await installation.findOne({ _id: 'installation' });
      expect(stored).toMatchObject({ id: '0a1b2c3d', schemaVersion: SCHEMA_VERSION });
    });
  });

  it('names REDIS_URL when its password is wrong or missing, and needs no Redis that is away', async () => {
    const program = await resolveRedis(readEmbeddedEnvironment(), () => {});
    const [port = 0] = await findFreePorts(1);
    const args = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--requirepass', 'swordfish'];
    const server = spawn(program.path, args, { stdio: 'ignore' });
    const ended = new Promise((resolve) => server.once('exit', resolve));
    const address = `127.0.0.1:${port}`;
    try {
      await withDatabase(async (db) => {
        const wanted = {
          exitCode: EXIT.configuration,
          text: expect.stringContaining('REDIS_URL has a user or a password'),
        };
        await expect
          .poll(() => outcomeOf(environment(db, { REDIS_URL: `redis://:tuna@${address}` })), { timeout: 20_000 })
          .toEqual(wanted);
        expect(await outcomeOf(environment(db, { REDIS_URL: `redis://${address}` }))).toEqual(wanted);
        const right = await outcomeOf(environment(db, { REDIS_URL: `redis://:swordfish@${address}/3` }));
        expect(right).toEqual({ exitCode: EXIT.ok, text: '' });
      });
    } finally {
      server.kill('SIGTERM');
      await ended;
    }
    await withDatabase(async (db) => {
      const away = await outcomeOf(environment(db, { REDIS_URL: `redis://${address}` }));
      expect(away).toEqual({ exitCode: EXIT.ok, text: '' });
    });
  });
});
