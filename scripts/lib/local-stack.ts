import { randomBytes } from 'node:crypto';
import type { ForwardClock } from '../../src/platform/clock.ts';
import type { Daemon } from '../../src/daemon.ts';
import { SimulatorClient } from './simulator-client.ts';
import type { SimulatorProcess } from './simulator-process.ts';

export interface LocalStackOptions {
  /** Where the embedded stores keep their data. */
  readonly dataDir: string;
  readonly adminApiKey: string;
  /** The daemon's environment; what is embedded is added to it. */
  readonly settings: Readonly<Record<string, string | undefined>>;
  readonly simulator: { readonly port: number; readonly callsPerSecond: number };
  /** What the double signs its webhooks with; absent: secrets of this run. */
  readonly signingSecrets?: SigningSecrets;
  /** The clock of the daemon and of the double; absent: the machine's. */
  readonly clock?: ForwardClock;
  readonly say: (line: string) => void;
}

/** One for each of the two event destinations. */
export interface SigningSecrets {
  readonly snapshot: string;
  readonly thin: string;
}

/** Stores, Stripe's double and, in this process, the daemon. */
export interface LocalStack {
  readonly daemon: Daemon;
  readonly simulator: SimulatorProcess;
  readonly mongodbUri: string;
  readonly redisUrl: string;
  /** Stops all, last started first. */
  stop(): Promise<void>;
}

/** Any test key: the simulator knows them all, and Stripe none. */
export const SIMULATOR_KEY = 'sk_test_simulator';

const SECRET_BYTES = 18;

/**
 * Starts the stores that the environment names or our own, the simulator and the daemon, to which the simulator sends its
 * webhooks. What is not part of the production image is loaded here, when it is asked for.
 */
export async function startLocalStack(options: LocalStackOptions): Promise<LocalStack> {
  const { startEmbeddedServices } = await import('../../packages/dev-services/src/services.ts');
  const { startSimulatorProcess } = await import('./simulator-process.ts');
  const { startDaemon } = await import('../../src/daemon.ts');
  const { loadConfig } = await import('../../src/config.ts');
  const opened: { stop(): Promise<void> }[] = [];
  const stop = async (): Promise<void> => {
    for (let next = opened.pop(); next !== undefined; next = opened.pop()) await next.stop();
  };
  try {
    const services = await startEmbeddedServices({ dataDir: options.dataDir, say: options.say });
    opened.push(services);
    const aheadMs = options.clock?.aheadMs ?? 0;
    const simulator = await startSimulatorProcess({ ...options.simulator, aheadMs });
    opened.push(simulator);
    const secrets = options.signingSecrets ?? newSigningSecrets();
    const daemon = await startDaemon(
      loadConfig({
        ...options.settings,
        ADMIN_API_KEY: options.adminApiKey,
        STRIPE_SECRET_KEY: SIMULATOR_KEY,
        STRIPE_API_BASE: simulator.url,
        STRIPE_WEBHOOK_SECRET: secrets.snapshot,
        STRIPE_EVENTS_SECRET: secrets.thin,
        MONGODB_URI: services.mongodbUri,
        REDIS_URL: services.redisUrl,
      }),
      options.clock,
    );
    opened.push(daemon);
    await registerDestinations(new SimulatorClient(simulator.url), daemon.url, secrets);
    return { daemon, simulator, mongodbUri: services.mongodbUri, redisUrl: services.redisUrl, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

export function newSigningSecrets(): SigningSecrets {
  return { snapshot: newSigningSecret(), thin: newSigningSecret() };
}

function newSigningSecret(): string {
  return `whsec_${randomBytes(SECRET_BYTES).toString('base64url')}`;
}

/** Has the simulator send to the daemon, as the two event destinations in Stripe's Dashboard do. */
async function registerDestinations(
  simulator: SimulatorClient,
  daemonUrl: string,
  secrets: SigningSecrets,
): Promise<void> {
  const paths = { snapshot: '/v1/stripe/webhooks', thin: '/v1/stripe/events' };
  for (const kind of ['snapshot', 'thin'] as const) {
    await simulator.post('/_sim/destinations', { url: daemonUrl + paths[kind], secret: secrets[kind], kind });
  }
}
