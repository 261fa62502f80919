import { findRunningDev } from './running-dev.ts';

/** Set in what `dev` exports, so that the next `dev` of that terminal does not take dead addresses for orders. */
const MARK = 'TALLYSTICK_DEV';

/** Whoever sets one of these has said which installation is meant, and is not given another. */
const CHOICES = [
  'MONGODB_URI',
  'REDIS_URL',
  'STRIPE_SECRET_KEY',
  'ADMIN_API_KEY',
  'TALLYSTICK_URL',
  'TALLYSTICK_API_KEY',
].flatMap((name) => [name, `${name}_FILE`]);

export interface DevAddresses {
  readonly url: string;
  readonly apiKey: string;
  readonly simulatorUrl: string;
  readonly mongodbUri: string;
  readonly redisUrl: string;
  readonly database: string;
  readonly stripeKey: string;
  readonly signingSecrets: { readonly snapshot: string; readonly thin: string };
}

/** Everything that another terminal needs, whether a verb talks to the daemon or works from the environment. */
const NAMES = [
  MARK,
  'TALLYSTICK_URL',
  'TALLYSTICK_API_KEY',
  'ADMIN_API_KEY',
  'HOST',
  'PORT',
  'MONGODB_URI',
  'MONGODB_DATABASE',
  'REDIS_URL',
  'STRIPE_SECRET_KEY',
  'STRIPE_API_BASE',
  'STRIPE_WEBHOOK_SECRET',
  'STRIPE_EVENTS_SECRET',
] as const;

export function toDevEnvironment(at: DevAddresses): Record<(typeof NAMES)[number], string> {
  const { hostname, port } = new URL(at.url);
  return {
    [MARK]: 'yes',
    TALLYSTICK_URL: at.url,
    TALLYSTICK_API_KEY: at.apiKey,
    ADMIN_API_KEY: at.apiKey,
    HOST: hostname,
    PORT: port,
    MONGODB_URI: at.mongodbUri,
    MONGODB_DATABASE: at.database,
    REDIS_URL: at.redisUrl,
    STRIPE_SECRET_KEY: at.stripeKey,
    STRIPE_API_BASE: at.simulatorUrl,
    STRIPE_WEBHOOK_SECRET: at.signingSecrets.snapshot,
    STRIPE_EVENTS_SECRET: at.signingSecrets.thin,
  };
}

/**
 * Gives a verb the `dev` that runs in its folder, unless its environment or its options name another installation:
 * all of it or nothing, so that no command works on the database of one and the Stripe of another.
 */
export async function adoptRunningDev(env: NodeJS.ProcessEnv, isChosen: boolean): Promise<void> {
  if (isChosen || CHOICES.some((name) => (env[name] ?? '') !== '')) return;
  Object.assign(env, (await findRunningDev())?.environment ?? {});
}

/** Forgets what an earlier `dev` exported: its servers are gone. */
export function dropExportedDev(env: NodeJS.ProcessEnv): void {
  if ((env[MARK] ?? '') === '') return;
  for (const name of NAMES) delete env[name];
}
