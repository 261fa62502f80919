/**
 * The settings of the daemon. This file is the only reader of the environment; everything else is handed what it needs.
 * A secret can also come from a file: `NAME_FILE` holds its path.
 */
import { readFileSync } from 'node:fs';
import { type Static, type TSchema, Type } from 'typebox';
import { Value } from 'typebox/value';
import { DAY_MS } from './durations.ts';
import { DaemonError } from './errors.ts';

/** One variable. Its schema describes the value after reading; the schema's description follows "must be". */
interface Variable {
  readonly schema: TSchema;
  readonly description: string;
  readonly default?: string;
  readonly secret?: boolean;
  readonly required?: boolean;
}

const SECRET_FILE_BYTES_MAX = 64 * 1024;
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
const cron = matching('\\S', 'a cron expression');
const signingSecrets = Type.Array(Type.String({ minLength: 8 }), {
  minItems: 1,
  maxItems: 5,
  description: 'one signing secret, or several with commas between them',
});
const roles = Type.Array(oneOf('http', 'worker', 'ticker'), {
  minItems: 1,
  uniqueItems: true,
  description: 'a list of http, worker, ticker, with commas between them',
});

const VARIABLES = {
  MONGODB_URI: {
    schema: matching('^mongodb(\\+srv)?://[^/]', 'a mongodb:// or mongodb+srv:// address'),
    description: 'The replica set that holds the ledger.',
    secret: true,
    required: true,
  },
  MONGODB_DATABASE: {
    schema: matching('^[A-Za-z0-9_-]{1,38}$', '1 to 38 characters of A-Z a-z 0-9 _ -'),
    description: 'The name of the database.',
    default: 'tallystick',
  },
  REDIS_URL: {
    schema: matching('^rediss?://[^/]', 'a redis:// or rediss:// address'),
    description: 'The Redis or Valkey that holds the queues (`maxmemory-policy noeviction`).',
    secret: true,
    required: true,
  },
  STRIPE_SECRET_KEY: {
    schema: matching('^[sr]k_(test|live)_\\S+$', 'a secret or restricted key of Stripe'),
    description: 'Without it usage is counted and nothing is sent to Stripe.',
    secret: true,
  },
  STRIPE_WEBHOOK_SECRET: {
    schema: signingSecrets,
    description: 'Signing secret of the snapshot event destination; two while one is rotated.',
    secret: true,
  },
  STRIPE_EVENTS_SECRET: {
    schema: signingSecrets,
    description: 'Signing secret of the thin event destination; two while one is rotated.',
    secret: true,
  },
  STRIPE_API_BASE: {
    schema: matching('^https?://[^/?#]+/?$', 'an http:// or https:// address without a path'),
    description: 'Where Stripe is, when it is a simulator.',
  },
  STRIPE_LIVE: { schema: yesOrNo, description: '`yes` allows a live Stripe key.', default: 'no' },
  HOST: { schema: matching('^\\S+$', 'an address'), description: 'The address to listen on.', default: '127.0.0.1' },
  PORT: { schema: integer(0, 65_535), description: 'The port to listen on; 0 takes a free one.', default: '8080' },
  ADMIN_API_KEY: {
    schema: Type.String({ minLength: 20, pattern: '^\\S+$', description: 'at least 20 characters without spaces' }),
    description: 'An API key with every scope, to begin with; others are made with `tallystick keys create`.',
    secret: true,
  },
  ROLES: { schema: roles, description: 'What this process does.', default: 'http,worker,ticker' },
  LOG_LEVEL: {
    schema: oneOf('debug', 'info', 'warn', 'error', 'silent'),
    description: 'The least important log lines that are written.',
    default: 'info',
  },
  AGGREGATE_CRON: { schema: cron, description: 'When usage is aggregated (UTC).', default: '2 * * * *' },
  RECONCILE_CRON: { schema: cron, description: 'When usage is reconciled (UTC).', default: '17 3 * * *' },
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

type Variables = typeof VARIABLES;
type CamelCase<S extends string> = S extends `${infer Head}_${infer Tail}`
  ? `${Lowercase<Head>}${Capitalize<CamelCase<Tail>>}`
  : Lowercase<S>;
type Always = { default: string } | { required: true };
type DependentDefault = 'STRIPE_CALLS_PER_SECOND_MAX';

/** The settings: `WINDOW_SETTLE_MS` is `windowSettleMs`. Frozen; one without a value is undefined. */
export type Config = {
  readonly [Name in keyof Variables as CamelCase<Name>]:
    | Static<Variables[Name]['schema']>
    | (Variables[Name] extends Always ? never : Name extends DependentDefault ? never : undefined);
};

export interface ConfigVariable extends Omit<Variable, 'schema'> {
  readonly name: string;
}

/** Every variable, in the order of the documents. */
export const configVariables: readonly ConfigVariable[] = Object.entries<Variable>(VARIABLES).map(
  ([name, { description, default: preset, secret, required }]) => ({
    name,
    description,
    ...(preset !== undefined && { default: preset }),
    ...(secret === true && { secret }),
    ...(required === true && { required }),
  }),
);

/** What is wrong with one variable. Never holds its value: it may be a secret. */
export interface ConfigFault {
  readonly name: string;
  readonly detail: string;
}

const STRIPE_CALLS_TEST = 20;
const STRIPE_CALLS_LIVE = 900;
const LIVE_KEY = /^[sr]k_live_/;

/**
 * Reads and checks every setting. An empty variable counts as absent.
 * @throws DaemonError `configuration_invalid` with all faults in `context.faults`.
 */
export function loadConfig(env: Readonly<Record<string, string | undefined>> = process.env): Config {
  const faults: ConfigFault[] = [];
  const values: Record<string, unknown> = {};
  for (const [name, variable] of Object.entries<Variable>(VARIABLES)) {
    values[toKey(name)] = readVariable(name, variable, { env, faults });
  }
  const key = values['stripeSecretKey'];
  const isLive = typeof key === 'string' && LIVE_KEY.test(key);
  if (isLive && values['stripeLive'] === false) {
    faults.push({ name: 'STRIPE_LIVE', detail: 'must be yes with a live Stripe key' });
  }
  values['stripeCallsPerSecondMax'] ??= isLive ? STRIPE_CALLS_LIVE : STRIPE_CALLS_TEST;
  if (faults.length > 0) throw toError(faults);
  return Object.freeze(values) as Config;
}

function toKey(name: string): string {
  return name.toLowerCase().replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

interface Reading {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly faults: ConfigFault[];
}

function readVariable(name: string, variable: Variable, { env, faults }: Reading): unknown {
  const given = (env[name] ?? '') === '' ? undefined : env[name];
  const path = variable.secret === true ? env[`${name}_FILE`] || undefined : undefined;
  if (given !== undefined && path !== undefined) {
    faults.push({ name, detail: `must not be set together with ${name}_FILE` });
    return undefined;
  }
  const text = path === undefined ? (given ?? variable.default) : readSecret(name, path, faults);
  if (text === undefined) {
    if (variable.required === true && path === undefined) faults.push({ name, detail: 'is required' });
    return undefined;
  }
  const value = toValue(text.trim(), variable.schema);
  if (Value.Check(variable.schema, value)) return Array.isArray(value) ? Object.freeze(value) : value;
  faults.push({ name, detail: `must be ${(variable.schema as { description?: string }).description ?? 'valid'}` });
  return undefined;
}

function readSecret(name: string, path: string, faults: ConfigFault[]): string | undefined {
  try {
    const text = readFileSync(path, 'utf8').trim();
    if (text.length > 0 && text.length <= SECRET_FILE_BYTES_MAX) return text;
    faults.push({ name: `${name}_FILE`, detail: 'names a file that is empty or too large' });
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? 'unknown';
    faults.push({ name: `${name}_FILE`, detail: `names a file that cannot be read (${reason})` });
  }
  return undefined;
}

/** The text in the form its schema asks for; a text that has not that form stays what it is and fails the check. */
function toValue(text: string, schema: TSchema): unknown {
  if (Type.IsInteger(schema) || Type.IsNumber(schema)) return /^\d+(\.\d+)?$/.test(text) ? Number(text) : text;
  if (Type.IsBoolean(schema)) return text === 'yes' ? true : text === 'no' ? false : text;
  if (Type.IsArray(schema)) return text.split(',').map((part) => part.trim());
  return text;
}

function toError(faults: readonly ConfigFault[]): DaemonError {
  const lines = faults.map(({ name, detail }) => `${name} ${detail}`);
  return new DaemonError({
    kind: 'invalid',
    code: 'configuration_invalid',
    message: `The configuration has ${faults.length === 1 ? 'a fault' : `${faults.length} faults`}: ${lines.join('; ')}.`,
    context: { faults },
  });
}
