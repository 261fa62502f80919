import { randomUUID } from 'node:crypto';
import type { Clock } from '../../../src/platform/clock.ts';
import { type Config, loadConfig } from '../../../src/config.ts';
import { createLogger } from '../../../src/platform/logger.ts';
import type { Database } from '../../../src/platform/mongo/database.ts';
import { openStripe } from '../../../src/stripe/client.ts';
import { EventSummaries } from '../../../src/reconciliation/event-summaries-stripe.ts';
import { MeterEventAdjustments } from '../../../src/submissions/resolving/meter-event-adjustments-stripe.ts';
import { MeterEvents } from '../../../src/submissions/sending/meter-events-stripe.ts';
import { StripeMeters } from '../../../src/meters/meters-stripe.ts';
import { openStripeObjects } from '../../../src/daemon/objects-stripe.ts';
import { StripeWrites } from '../../../src/stripe/writes.ts';
import type { JobParts } from '../../../src/daemon/job-parts.ts';
import { openStores } from '../../../src/daemon/stores.ts';

/** What differs from production: nothing waits for lags that the simulator does not have, and any heal is allowed. */
export const TORTURE_SETTINGS: Readonly<Record<string, string>> = {
  STRIPE_SECRET_KEY: 'sk_test_torture',
  WINDOW_SETTLE_MS: '0',
  SUMMARY_LAG_MAX_MS: '0',
  SUMMARY_REREAD_MS: '200',
  SUMMARY_READS_PER_RUN_MAX: '10000',
  STRIPE_CALLS_PER_SECOND_MAX: '10000',
  HEAL_FRACTION_MAX: '1',
};

/** The daemon's jobs and stores as one process has them, without Redis and without pacing. */
export function openJobParts(input: {
  database: Database;
  mongodbUri: string;
  simulatorUrl: string;
  clock: Clock;
  /** Instead of the settings of a torture run. */
  settings?: Readonly<Record<string, string>>;
}): JobParts {
  const { database, clock } = input;
  const config = loadConfig({
    ...TORTURE_SETTINGS,
    ...input.settings,
    MONGODB_URI: input.mongodbUri,
    REDIS_URL: 'redis://127.0.0.1:1',
    STRIPE_API_BASE: input.simulatorUrl,
  });
  return unpacedParts(config, { database, clock, holder: randomUUID(), installation: 'torture1' });
}

/** What a process of this configuration is made of, quiet, without Redis and without pacing. */
export function unpacedParts(
  config: Config,
  process: { database: Database; clock: Clock; holder: string; installation: string },
): JobParts {
  const { database, clock, holder, installation } = process;
  const log = createLogger({ level: 'silent' });
  const stripe = openStripe({ secretKey: config.stripeSecretKey ?? '', apiBase: config.stripeApiBase ?? '' });
  const pace = (): Promise<void> => Promise.resolve();
  const writes = new StripeWrites({ stripe, pace, clock, random: Math.random });
  const meters = new StripeMeters(stripe, writes);
  return {
    config,
    stores: openStores(database, { ...config, holder, clock, log }),
    stripe: {
      meters,
      meterEvents: new MeterEvents(writes, clock),
      adjustments: new MeterEventAdjustments(writes),
      summaries: new EventSummaries(stripe),
      objects: openStripeObjects({ stripe, writes }, pace),
      rate: { take: () => Promise.resolve() },
      readRate: { take: () => Promise.resolve() },
      webhookRate: { take: () => Promise.resolve() },
      listMeters: () => meters.list(),
    },
    installation,
    clock,
    log,
  };
}
