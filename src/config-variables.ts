/**
 * Every setting: its name, its form, its default, and what the documents say of it. `config.ts` reads them, and knows
 * what one setting asks of another.
 */
import { type TSchema, Type } from 'typebox';
import { cronFault } from './config-crons.ts';
import { apiKeyFault, signingSecretFault, type StripePlace, stripeKeyFault } from './config-secrets.ts';
import {
  databaseNameFault,
  hostFault,
  mongodbUriFault,
  noProxyFault,
  proxyFault,
  redisUrlFault,
  stripeBaseFault,
} from './config-addresses.ts';
import { DAY_MS } from './platform/durations.ts';

/** One variable. Its schema describes the value after reading; the schema's description follows "must be". */
export interface Variable {
  readonly schema: TSchema;
  readonly description: string;
  /**
   * What is wrong with a text whose schema holds, as a clause that follows the name. Asked for each element of a list.
   * @param place what Stripe's secrets are for.
   */
  readonly fault?: (text: string, place: StripePlace) => string | undefined;
  readonly default?: string;
  readonly secret?: boolean;
  readonly required?: boolean;
}

const MIB = 1024 * 1024;

const integer = (minimum: number, maximum: number) =>
  Type.Integer({ minimum, maximum, description: `a whole number from ${minimum} to ${maximum}` });
const matching = (pattern: string, description: string) => Type.String({ pattern, description });
const oneOf = <const T extends string>(...choices: T[]) =>
  Type.Union(
    choices.map((choice) => Type.Literal(choice)),
    { description: `one of ${choices.join(', ')}` },
  );
const yesOrNo = Type.Boolean({ description: 'yes or no' });
const text = Type.String({ minLength: 1, description: 'something' });
const signingSecrets = Type.Array(text, {
  minItems: 1,
  maxItems: 5,
  description: 'one signing secret, or several with commas between them',
});
const roles = Type.Array(oneOf('http', 'worker', 'ticker'), {
  minItems: 1,
  uniqueItems: true,
  description: 'a list of http, worker, ticker, with commas between them',
});

export const VARIABLES = {
  MONGODB_URI: {
    schema: text,
    fault: mongodbUriFault,
    description: 'The replica set that holds the ledger.',
    secret: true,
    required: true,
  },
  MONGODB_DATABASE: {
    schema: matching('^[A-Za-z0-9_-]{1,38}$', '1 to 38 characters of A-Z a-z 0-9 _ -'),
    fault: databaseNameFault,
    description: 'The name of the database.',
    default: 'tallystick',
  },
  REDIS_URL: {
    schema: text,
    fault: redisUrlFault,
    description: 'The Redis or Valkey that holds the queues (`maxmemory-policy noeviction`).',
    secret: true,
    required: true,
  },
  STRIPE_SECRET_KEY: {
    schema: text,
    fault: stripeKeyFault,
    description: 'Without it usage is counted and nothing is sent to Stripe.',
    secret: true,
  },
  STRIPE_WEBHOOK_SECRET: {
    schema: signingSecrets,
    fault: signingSecretFault,
    description: 'Signing secret of the snapshot event destination; two while one is rotated.',
    secret: true,
  },
  STRIPE_EVENTS_SECRET: {
    schema: signingSecrets,
    fault: signingSecretFault,
    description: 'Signing secret of the thin event destination; two while one is rotated.',
    secret: true,
  },
  STRIPE_API_BASE: {
    schema: text,
    fault: stripeBaseFault,
    description: 'Where Stripe is, when it is a simulator.',
  },
  STRIPE_LIVE: { schema: yesOrNo, description: '`yes` allows a live Stripe key.', default: 'no' },
  HOST: { schema: text, fault: hostFault, description: 'The address to listen on.', default: '127.0.0.1' },
  PORT: { schema: integer(0, 65_535), description: 'The port to listen on; 0 takes a free one.', default: '8080' },
  ADMIN_API_KEY: {
    schema: text,
    fault: apiKeyFault,
    description: 'An API key with every scope, to begin with; others are made with `tallystick keys create`.',
    secret: true,
  },
  METRICS_BEARER: {
    schema: text,
    fault: apiKeyFault,
    description: 'A token that a scrape of `/metrics` has to bring. Without it they are open.',
    secret: true,
  },
  ROLES: { schema: roles, description: 'What this process does.', default: 'http,worker,ticker' },
  LOG_LEVEL: {
    schema: oneOf('debug', 'info', 'warn', 'error', 'silent'),
    description: 'The least important log lines that are written.',
    default: 'info',
  },
  AGGREGATE_CRON: {
    schema: text,
    fault: cronFault,
    description: 'When usage is aggregated (UTC).',
    default: '2 * * * *',
  },
  RECONCILE_CRON: {
    schema: text,
    fault: cronFault,
    description: 'When usage is reconciled (UTC).',
    default: '17 3 * * *',
  },
  WINDOW_SETTLE_MS: {
    schema: integer(0, DAY_MS),
    description: 'How long after its end a window is first submitted.',
    default: '600000',
  },
  EVENT_AGE_DAYS_MAX: {
    schema: integer(1, 3650),
    description: 'Older usage events are refused (history can be imported). Stripe bills nothing older than 35 days.',
    default: '34',
  },
  EVENTS_PER_REQUEST_MAX: { schema: integer(1, 10_000), description: 'Usage events in a request.', default: '1000' },
  BODY_BYTES_MAX: {
    schema: integer(1024, 64 * MIB),
    description: 'Size of a request body, also after inflating.',
    default: String(MIB),
  },
  EVENTS_PER_SECOND_MAX: {
    schema: integer(1, 10_000_000),
    description: 'Usage events a second for each API key and process, on average.',
    default: '100000',
  },
  INGEST_QUEUE_BYTES_MAX: {
    schema: integer(64 * 1024, 4096 * MIB),
    description: 'Usage events that may wait in memory to be stored; beyond it requests get 503.',
    default: String(64 * MIB),
  },
  REJECTED_DAYS_MAX: {
    schema: integer(1, 3650),
    description: 'How long rejected events are kept after they were last refused.',
    default: '90',
  },
  SUMMARY_LAG_MAX_MS: {
    schema: integer(0, 30 * DAY_MS),
    description: "How long Stripe's event summaries may lag behind; before that a difference is not judged.",
    default: '43200000',
  },
  SUMMARY_REREAD_MS: {
    schema: integer(0, DAY_MS),
    description: 'Least time between the two equal reads that settle a range.',
    default: '600000',
  },
  SUMMARY_READS_PER_RUN_MAX: {
    schema: integer(1, 10_000),
    description: 'Event summary reads in one reconciliation run.',
    default: '300',
  },
  INVOICE_GUARD_MARGIN_MS: {
    schema: integer(60_000, 3_600_000),
    description: 'How long before its finalisation an invoice without agreement is held.',
    default: '600000',
  },
  GUARD_WITHOUT_VERDICT: {
    schema: oneOf('hold', 'release'),
    description: 'What the invoice guard does when it could not compare in time.',
    default: 'hold',
  },
  STRIPE_CALLS_PER_SECOND_MAX: {
    schema: integer(1, 10_000),
    description: 'Calls to Stripe a second, over all processes. Default: 20 with a test key, 900 with a live one.',
  },
  HTTPS_PROXY: {
    schema: text,
    fault: proxyFault,
    description: 'The proxy through which Stripe is reached (CONNECT); not for our own machine.',
    secret: true,
  },
  NO_PROXY: {
    schema: Type.Array(Type.String(), { description: 'a list of hosts, with commas between them' }),
    fault: noProxyFault,
    description: 'Hosts that are reached without it: names (with all below them), `host:port`, `*`.',
  },
  RECONCILE_MODE: {
    schema: oneOf('heal', 'report'),
    description: 'Whether small differences are healed, or every plan waits for a person.',
    default: 'heal',
  },
  HEAL_FRACTION_MAX: {
    schema: Type.Number({ minimum: 0, maximum: 1, description: 'a number from 0 to 1' }),
    description: "Largest heal without a person, as a share of the customer's and meter's total in the period.",
    default: '0.05',
  },
  HEAL_QUANTITY_MAX: {
    schema: matching('^(0|[1-9][0-9]{0,17})(\\.[0-9]{1,12})?$', 'a plain decimal'),
    description: 'Largest heal without a person, as a quantity. Default: none.',
  },
  REQUEST_TIMEOUT_MS: {
    schema: integer(1_000, 600_000),
    description: 'A request that has not arrived completely after this long is answered 408.',
    default: '30000',
  },
  STOP_TIMEOUT_MS: {
    schema: integer(1_000, 600_000),
    description: 'How long a stop may take before it is forced.',
    default: '30000',
  },
} satisfies Record<string, Variable>;
