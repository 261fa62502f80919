/**
 * The settings of the daemon. This file is the only reader of the environment; everything else is handed what it needs.
 * A secret can also come from a file: `NAME_FILE` holds its path.
 */
import { readFileSync } from 'node:fs';
import { type Static, type TSchema, Type } from 'typebox';
import { Value } from 'typebox/value';
import { isLiveKey, type StripePlace } from './config-secrets.ts';
import { type Variable, VARIABLES } from './config-variables.ts';
import { type ConfigFault, configurationInvalid } from './platform/errors.ts';

export type { ConfigFault } from './platform/errors.ts';

const SECRET_FILE_BYTES_MAX = 64 * 1024;

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

export interface ConfigVariable extends Omit<Variable, 'schema' | 'fault'> {
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

const STRIPE_CALLS_TEST = 20;
const STRIPE_CALLS_LIVE = 900;
const STRIPE_API = 'https://api.stripe.com';
/** Kept by Docker's --env-file and by systemd's quoting gone wrong; no value of ours begins with one. */
const QUOTED = /^["'`\u2018\u2019\u201c\u201d]|["'`\u2018\u2019\u201c\u201d]$/;

/**
 * Reads and checks every setting. An empty variable counts as absent.
 * @throws DaemonError `configuration_invalid` with all faults in `context.faults`.
 */
export function loadConfig(env: Readonly<Record<string, string | undefined>> = process.env): Config {
  const { values, faults } = readConfig(env);
  if (faults.length > 0) throw configurationInvalid(faults);
  return Object.freeze(values) as Config;
}

/** Everything that is wrong with the settings, in the order of the documents. */
export function configFaults(env: Readonly<Record<string, string | undefined>> = process.env): readonly ConfigFault[] {
  return readConfig(env).faults;
}

type Values = Record<string, unknown>;

function readConfig(env: Readonly<Record<string, string | undefined>>): { values: Values; faults: ConfigFault[] } {
  const faults: ConfigFault[] = [];
  const values: Values = {};
  const given = withUsualSpellings(env);
  const place = { isSimulated: isForeignToStripe(env['STRIPE_API_BASE']) };
  for (const [name, variable] of Object.entries<Variable>(VARIABLES)) {
    values[toKey(name)] = readVariable(name, variable, { env: given, faults, place });
  }
  const isLive = isLiveKey(String(values['stripeSecretKey']));
  faults.push(...faultsBetween(values, { isLive, ...place }));
  values['stripeCallsPerSecondMax'] ??= isLive ? STRIPE_CALLS_LIVE : STRIPE_CALLS_TEST;
  return { values, faults };
}

/** What one setting asks of another. One that is wrong by itself is undefined here. */
function faultsBetween(
  values: Values,
  { isLive, isSimulated }: { isLive: boolean; isSimulated: boolean },
): ConfigFault[] {
  const faults: ConfigFault[] = [];
  if (isLive && values['stripeLive'] === false) {
    faults.push({ name: 'STRIPE_LIVE', detail: 'must be yes with a live Stripe key' });
  }
  if (isLive && isSimulated) {
    const detail = "must not be another address than Stripe's with a live Stripe key: the key would be sent there";
    faults.push({ name: 'STRIPE_API_BASE', detail });
  }
  const [queue, body] = [values['ingestQueueBytesMax'], values['bodyBytesMax']];
  if (typeof queue === 'number' && typeof body === 'number' && queue < body) {
    const detail = `must be at least BODY_BYTES_MAX (${body}): a body of that size would never be taken`;
    faults.push({ name: 'INGEST_QUEUE_BYTES_MAX', detail });
  }
  return faults;
}

function isForeignToStripe(base: string | undefined): boolean {
  const text = base?.trim().replace(/\/$/, '').toLowerCase() ?? '';
  return text !== '' && text !== STRIPE_API;
}

/** Proxies are set in small letters as often. */
function withUsualSpellings(env: Reading['env']): Reading['env'] {
  return {
    ...env,
    HTTPS_PROXY: env['HTTPS_PROXY'] || env['https_proxy'],
    NO_PROXY: env['NO_PROXY'] || env['no_proxy'],
  };
}

function toKey(name: string): string {
  return name.toLowerCase().replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

interface Reading {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly faults: ConfigFault[];
  readonly place: StripePlace;
}

function readVariable(name: string, variable: Variable, { env, faults, place }: Reading): unknown {
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
  const detail = QUOTED.test(text.trim()) ? 'must not be in quotes' : faultOf(value, variable, place);
  if (detail === undefined) return Array.isArray(value) ? Object.freeze(value) : value;
  faults.push({ name, detail });
  return undefined;
}

function faultOf(value: unknown, { schema, fault }: Variable, place: StripePlace): string | undefined {
  if (!Value.Check(schema, value)) return `must be ${(schema as { description?: string }).description ?? 'valid'}`;
  if (fault === undefined) return undefined;
  const texts: readonly unknown[] = Array.isArray(value) ? value : [value];
  for (const text of texts) {
    const detail = fault(String(text), place);
    if (detail !== undefined) return detail;
  }
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
