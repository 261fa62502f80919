/** A whole daemon in this process, over the run's MongoDB and Redis and a Stripe simulator of its own. */
import type { Db } from 'mongodb';
import { loadConfig } from '../../src/config.ts';
import { startDaemon } from '../../src/daemon.ts';
import { startSimulator, type Simulator, type SimulatorOptions } from '../../packages/stripe-double/src/simulator.ts';
import { type CommandResult, tallystick } from './command-line.ts';
import { mongodbUri, redisUrl, withDatabase } from './services.ts';

export const ADMIN_KEY = 'tly_test_admin_key_of_a_daemon';

export interface LentDaemon {
  readonly url: string;
  readonly simulator: Simulator;
  /** The database that is made for it. */
  readonly db: Db;
  /** The daemon's settings and its address, for the command line on its machine. */
  readonly environment: Readonly<Record<string, string>>;
  /** A request as the administrator; the body is sent as JSON. */
  call(this: void, method: string, path: string, body?: unknown): Promise<Response>;
  /** The same, for the parsed answer of a request that has to succeed. */
  get<T>(this: void, path: string): Promise<T>;
  /** Runs a job to its end and returns its result. */
  run<T = Record<string, unknown>>(this: void, job: string, input?: Record<string, unknown>): Promise<T>;
  /** The command line elsewhere: it has the address and a key, and nothing else. */
  cli(this: void, ...args: string[]): Promise<CommandResult>;
  /** The command line on the daemon's machine. */
  cliHere(this: void, ...args: string[]): Promise<CommandResult>;
}

/** Lends a daemon that is stopped, and whose database is dropped, however `use` ends. */
export async function withDaemon(
  options: { simulator?: SimulatorOptions; environment?: Record<string, string> },
  use: (daemon: LentDaemon) => Promise<void>,
): Promise<void> {
  await withDatabase(async (db) => {
    const simulator = await startSimulator({ rateLimitPerSecond: 0, ...options.simulator });
    try {
      const environment: Record<string, string> = {
        MONGODB_URI: mongodbUri(),
        MONGODB_DATABASE: db.databaseName,
        REDIS_URL: redisUrl(),
        STRIPE_SECRET_KEY: 'sk_test_daemon',
        STRIPE_API_BASE: simulator.url,
        STRIPE_CALLS_PER_SECOND_MAX: '10000',
        WINDOW_SETTLE_MS: '0',
        PORT: '0',
        // Without schedules: a job runs when a test runs it, whatever the time of the day.
        ROLES: 'http,worker',
        ADMIN_API_KEY: ADMIN_KEY,
        LOG_LEVEL: 'silent',
        ...options.environment,
      };
      const daemon = await startDaemon(loadConfig(environment));
      try {
        await use(lend(daemon.url, { simulator, db, environment: { ...environment, TALLYSTICK_URL: daemon.url } }));
      } finally {
        await daemon.stop();
      }
    } finally {
      await simulator.stop();
    }
  });
}

function lend(url: string, lent: Pick<LentDaemon, 'simulator' | 'db' | 'environment'>): LentDaemon {
  const call: LentDaemon['call'] = (method, path, body) =>
    fetch(url + path, {
      method,
      headers: {
        authorization: `Bearer ${ADMIN_KEY}`,
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
  const get = async <T>(path: string): Promise<T> => {
    const response = await call('GET', path);
    if (!response.ok) throw new Error(`GET ${path} answered ${response.status}: ${await response.text()}`);
    return (await response.json()) as T;
  };
  const run = async <T>(job: string, input: Record<string, unknown> = {}): Promise<T> => {
    const { runId } = (await (await call('POST', '/v1/runs', { job, input })).json()) as { runId: string };
    for (;;) {
      const found = await get<{ state: string; result?: T; error?: unknown }>(`/v1/runs/${runId}`);
      if (found.state === 'succeeded' && found.result !== undefined) return found.result;
      if (found.state === 'failed') throw new Error(`${job} failed: ${JSON.stringify(found.error)}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  return {
    url,
    ...lent,
    call,
    get,
    run,
    cli: (...args) => tallystick(args, { env: { TALLYSTICK_URL: url, TALLYSTICK_API_KEY: ADMIN_KEY } }),
    cliHere: (...args) => tallystick(args, { env: lent.environment }),
  };
}
