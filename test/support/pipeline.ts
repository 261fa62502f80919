/** The daemon's jobs over a real database and the Stripe simulator, on a clock of their own. */
import { unpacedParts } from '../../scripts/lib/torture/job-parts.ts';
import { SkippingClock } from '../../scripts/lib/torture/skipping-clock.ts';
import { type Config, loadConfig } from '../../src/config.ts';
import { startSimulator, type Simulator, type SimulatorOptions } from '../../packages/stripe-double/src/simulator.ts';
import { openDatabase } from '../../src/platform/mongo/database.ts';
import { ensureIndexes } from '../../src/daemon/indexes-store.ts';
import { openStripe } from '../../src/stripe/client.ts';
import { jobHandlers } from '../../src/daemon/job-handlers.ts';
import type { JobParts } from '../../src/daemon/job-parts.ts';
import type { Stores } from '../../src/daemon/stores.ts';
import { mongodbUri, withDatabase } from './services.ts';

export const START_MS = Date.parse('2026-06-15T12:00:00Z');

export interface Pipeline {
  readonly stores: Stores;
  readonly simulator: Simulator;
  readonly clock: SkippingClock;
  readonly parts: JobParts;
  /** Runs a job and returns its result. */
  run(job: string, input?: Record<string, unknown>): Promise<Record<string, unknown>>;
  /** A customer of ours that is mapped to a new one of the simulator; returns the latter's id. */
  mapCustomer(customerId: string): Promise<string>;
}

/** Lends a pipeline with pacing off; `environment` overrides settings. */
export async function withPipeline(
  options: { simulator?: SimulatorOptions; environment?: Record<string, string> },
  use: (pipeline: Pipeline) => Promise<void>,
): Promise<void> {
  await withDatabase(async (db) => {
    const clock = new SkippingClock(START_MS);
    const simulator = await startSimulator({ clock, rateLimitPerSecond: 0, ...options.simulator });
    const config = settings(simulator.url, options.environment ?? {});
    const database = openDatabase({ uri: mongodbUri(), name: db.databaseName });
    try {
      await ensureIndexes(database.db);
      const parts = unpacedParts(config, { database, clock, holder: 'test', installation: 'test0001' });
      await use({
        stores: parts.stores,
        simulator,
        clock,
        parts,
        run: async (job, input = {}) => {
          const handler = jobHandlers(parts)[job];
          if (handler === undefined) throw new Error(`no job is named ${job}`);
          return handler({ input, signal: new AbortController().signal });
        },
        mapCustomer: (customerId) => mapCustomer(parts, config, customerId),
      });
    } finally {
      await database.close();
      await simulator.stop();
    }
  });
}

function settings(url: string, environment: Record<string, string>): Config {
  return loadConfig({
    MONGODB_URI: mongodbUri(),
    REDIS_URL: 'redis://127.0.0.1:1',
    STRIPE_SECRET_KEY: 'sk_test_pipeline',
    STRIPE_API_BASE: url,
    WINDOW_SETTLE_MS: '0',
    ...environment,
  });
}

async function mapCustomer(parts: JobParts, config: Config, customerId: string): Promise<string> {
  const stripe = openStripe({ secretKey: config.stripeSecretKey ?? '', apiBase: config.stripeApiBase ?? '' });
  const { id } = await stripe.customers.create({ name: customerId });
  const at = new Date(parts.clock.now());
  const existing = await parts.stores.customers.find(customerId);
  await parts.stores.customers.save(
    {
      ...(existing ?? { _id: customerId, calendars: [], createdAt: at }),
      stripeCustomerId: id,
      revision: (existing?.revision ?? 0) + 1,
      updatedAt: at,
    },
    existing?.revision,
  );
  return id;
}
