/** Every setting × values that are wrong for it: each is named, ends with exit code 3, and is not repeated. */
import { describe, expect, it } from 'vitest';
import { type ConfigFault, configFaults, configVariables, loadConfig } from '../../src/config.ts';
import { toCommandError } from '../../scripts/lib/command-error.ts';
import { EXIT } from '../../scripts/lib/exit-codes.ts';

type Environment = Record<string, string>;

const LEAST: Environment = { MONGODB_URI: 'mongodb://localhost/', REDIS_URL: 'redis://localhost' };
const BODY = '0f1e2d3c4b5a69788796a5b4';
const TEST_KEY = `sk_test_${BODY}`;
const LIVE_KEY = ['sk', 'live', BODY].join('_');
const SIGNING_SECRET = `whsec_${BODY}`;
const SIMULATED = { STRIPE_API_BASE: 'http://127.0.0.1:12111' };

const NUMBERS = ['abc', '-1', '1e3', '0x10', '1_000', '1,000', '10m', '5 %', 'NaN', 'Infinity', '9'.repeat(20)];
const wrongNumber = (...more: string[]): string[] => [...NUMBERS, ...more];
const wrongWhole = (...more: string[]): string[] => wrongNumber('1.5', ...more);
const CRONS = [
  'hourly',
  '* * * *',
  '*/10 * * * * *',
  '61 * * * *',
  '*/0 * * * *',
  '0 0 30 2 *',
  '0 0 31W 4 *',
  '0 0 29 2 *',
  '0 0 1 1 *',
  '* * 1-5 1 *',
  '0 0 * * 5#5',
];
const WEAK_KEYS = [
  'too-short',
  'a'.repeat(40),
  'abcabcabcabcabcabcabcabc',
  '12345678901234567890',
  'qwertyuiopasdfghjklzxcvbnm',
  'changeme-changeme-changeme',
  'password-password-1',
  'twenty characters and spaces',
  'größer-als-zwanzig-zeichen',
  TEST_KEY,
  SIGNING_SECRET,
  'k1'.repeat(300),
];
const SIGNING_SECRETS = [
  '  ',
  'whsec_',
  'whsec_abc',
  `whsec_${BODY},`,
  `whsec_${BODY},,whsec_${BODY}`,
  `whsec_${BODY} whsec_${BODY}`,
  `whsec_${BODY}\n#comment`,
  BODY,
  TEST_KEY,
  `pk_test_${BODY}`,
  'we_1PgafWB7WZ01zgkWeJbDrz2q',
];

/** For each variable, what is wrong as its value. */
const WRONG: Readonly<Record<string, readonly string[]>> = {
  MONGODB_URI: [
    'localhost:27017',
    'http://localhost/',
    'mongodb://',
    'mongodb:///tallystick',
    'mongodb://h,/',
    'mongodb://h:99999/',
    'mongodb://h:x/',
    'mongodb://h:/',
    'mongodb://999.1.1.1/',
    'mongodb://a b/',
    'mongodb://h/ ?w=majority',
    'mongodb://<user>:<password>@h/',
    'mongodb://u:p@ss@h/',
    'mongodb://u:p/w@h/',
    'mongodb://u:p?w@h/',
    'mongodb://u:p:w@h/',
    'mongodb://u:%zz@h/',
    'mongodb+srv://h:27017/',
    'mongodb+srv://h,i/',
    'mongodb://h/?journal=false',
    'mongodb://h/?JOURNAL=false',
    'mongodb://h/?j=false',
    'mongodb://h/?w=1',
    'mongodb://h/?w=0',
    'mongodb://h?w=2',
    'mongodb://h/?w=majority&w=1',
    'mongodb://h/?wtimeoutMS=0',
    'mongodb://h/?wtimeout=1',
    'mongodb://h/?readConcernLevel=local',
    'mongodb://h/?readConcernLevel=available',
    'mongodb://h/?readPreference=secondary',
    'mongodb://h/?readPreference=nearest',
    'mongodb://h/?maxStalenessSeconds=90',
    'mongodb://h/?retryWrites=false',
    'mongodb://h/?replicaSet=',
  ],
  MONGODB_DATABASE: ['admin', 'local', 'config', 'Admin', 'a.b', 'a b', 'a/b', '$db', 'x'.repeat(39), 'größe'],
  REDIS_URL: [
    'localhost:6379',
    'http://localhost',
    'redis://',
    'redis:///0',
    'redis://h:0',
    'redis://h:70000',
    'redis://h,i',
    'redis://h/x',
    'redis://h/-1',
    'redis://h/1.5',
    'redis://h/0/1',
    'redis://h/999999',
    'redis://h?db=3',
    'redis://h?maxRetriesPerRequest=5',
    'redis://h?keyPrefix=x',
    'redis://:pa#ss@h',
    'redis://:pa/ss@h',
    'redis://:p@ss@h',
    'redis://:<password>@h',
  ],
  STRIPE_SECRET_KEY: [
    `pk_test_${BODY}`,
    `pk_live_${BODY}`,
    SIGNING_SECRET,
    BODY,
    'sk_test_',
    'sk_test_abc',
    `sk_test_${BODY.slice(0, 20)}`,
    `sk_test_${BODY.slice(0, 12)} ${BODY.slice(12)}`,
    `sk_test_${BODY}…`,
    `sk_prod_${BODY}`,
    `Bearer ${TEST_KEY}`,
    `${TEST_KEY},${TEST_KEY}`,
    LIVE_KEY.slice(0, 20),
  ],
  STRIPE_WEBHOOK_SECRET: SIGNING_SECRETS,
  STRIPE_EVENTS_SECRET: SIGNING_SECRETS,
  HTTPS_PROXY: ['proxy:3128', 'socks5://proxy:1080', 'http://', 'http://proxy/path', 'http://h:99999', 'http://a b'],
  NO_PROXY: ['http://stripe.com', 'a b', 'stripe.com,https://x'],
  STRIPE_API_BASE: [
    'api.stripe.com',
    'ftp://api.stripe.com',
    'https://api.stripe.com/v1',
    'https://api.stripe.com?x=1',
    'https://api.stripe.com/#x',
    'http://user:pw@localhost:12111',
    'http://',
    'http://h:99999',
    'http://a b',
  ],
  STRIPE_LIVE: ['true', '1', 'YES', 'on', 'live'],
  HOST: ['*', '0.0.0.0:8080', 'http://0.0.0.0', '[::]', '999.0.0.1', '10.0.0', 'a b', 'localhost/', '-'],
  PORT: wrongWhole('65536', '80a', '0x50', '80.5', '8080/tcp'),
  ADMIN_API_KEY: WEAK_KEYS,
  METRICS_BEARER: WEAK_KEYS,
  ROLES: ['http,cook', 'http,http', ',', 'http,', 'HTTP', 'all', 'http worker'],
  LOG_LEVEL: ['loud', 'INFO', 'trace', '30'],
  AGGREGATE_CRON: CRONS,
  RECONCILE_CRON: CRONS,
  WINDOW_SETTLE_MS: wrongWhole('86400001'),
  EVENT_AGE_DAYS_MAX: wrongWhole('0', '3651'),
  EVENTS_PER_REQUEST_MAX: wrongWhole('0', '10001'),
  BODY_BYTES_MAX: wrongWhole('1', '1MiB', '67108865'),
  EVENTS_PER_SECOND_MAX: wrongWhole('0'),
  INGEST_QUEUE_BYTES_MAX: wrongWhole('0', '64MB', '1048575'),
  REJECTED_DAYS_MAX: wrongWhole('0', '90d'),
  SUMMARY_LAG_MAX_MS: wrongWhole('12h'),
  SUMMARY_REREAD_MS: wrongWhole('86400001'),
  SUMMARY_READS_PER_RUN_MAX: wrongWhole('0'),
  INVOICE_GUARD_MARGIN_MS: wrongWhole('0', '59999', '3600001'),
  GUARD_WITHOUT_VERDICT: ['keep', 'Hold', 'yes'],
  STRIPE_CALLS_PER_SECOND_MAX: wrongWhole('0'),
  RECONCILE_MODE: ['Heal', 'off', 'dry-run'],
  HEAL_FRACTION_MAX: wrongNumber('1.5', '5%', '.5'),
  HEAL_QUANTITY_MAX: ['-1', '1e3', '01', '.5', '1.', '1,5', 'NaN', '9'.repeat(20)],
  REQUEST_TIMEOUT_MS: wrongWhole('0', '999', '30s'),
  STOP_TIMEOUT_MS: wrongWhole('0', '999'),
};

/** What is told to a person, and with which exit code. */
function refusalOf(env: Environment): { text: string; exitCode: number; names: string[] } {
  try {
    loadConfig(env);
  } catch (error) {
    const { message, why, todo, exitCode } = toCommandError(error);
    const names = configFaults(env).map(({ name }: ConfigFault) => name);
    return { text: [message, why, todo].join(' '), exitCode, names };
  }
  throw new Error('it was accepted');
}

/** Parts of a value that would give away a secret: everything long enough to be one. */
function tellingParts(value: string): string[] {
  return value.split(/[\s,:/@?=&.]+/).filter((part) => part.length >= 12 && !/^(?:read|max)[A-Z]/.test(part));
}

const cases = Object.entries(WRONG).flatMap(([name, values]) => values.map((value) => ({ name, value })));

describe('a setting that is wrong', () => {
  it('is tried for every variable that there is', () => {
    expect(Object.keys(WRONG).sort()).toEqual(configVariables.map(({ name }) => name).sort());
    expect(cases.length).toBeGreaterThan(300);
  });

  it.each(cases)('is named, and nothing is started: $name=$value', ({ name, value }) => {
    const { text, exitCode, names } = refusalOf({ ...LEAST, [name]: value });
    expect(names).toEqual([name]);
    expect(exitCode).toBe(EXIT.configuration);
    expect(text).toContain(name);
    expect(text).not.toContain('defect');
    const isSecret = configVariables.find((variable) => variable.name === name)?.secret === true;
    for (const part of isSecret ? tellingParts(value) : []) expect(text).not.toContain(part);
  });

  it.each(configVariables.map(({ name, default: preset }) => ({ name, value: preset ?? LEAST[name] ?? TEST_KEY })))(
    'is one in quotes: $name',
    ({ name, value }) => {
      for (const quoted of [`"${value}"`, `'${value}'`, `\u201c${value}\u201d`, `"${value}`, `${value}'`]) {
        const { text, names, exitCode } = refusalOf({ ...LEAST, [name]: quoted });
        expect([names, exitCode]).toEqual([[name], EXIT.configuration]);
        expect(text).toContain('quotes');
      }
    },
  );
});

describe('settings that are wrong together', () => {
  const together: [name: string, env: Environment][] = [
    ['STRIPE_LIVE', { STRIPE_SECRET_KEY: LIVE_KEY }],
    ['STRIPE_API_BASE', { STRIPE_SECRET_KEY: LIVE_KEY, STRIPE_LIVE: 'yes', STRIPE_API_BASE: 'https://stripe.example' }],
    ['STRIPE_API_BASE', { STRIPE_SECRET_KEY: LIVE_KEY, STRIPE_LIVE: 'yes', ...SIMULATED }],
    ['INGEST_QUEUE_BYTES_MAX', { INGEST_QUEUE_BYTES_MAX: '1048576', BODY_BYTES_MAX: '1048577' }],
  ];
  it.each(together)('name %s', (name, env) => {
    expect(refusalOf({ ...LEAST, ...env })).toMatchObject({ names: [name], exitCode: EXIT.configuration });
  });
});

describe('settings that are right', () => {
  const right: Environment[] = [
    { MONGODB_URI: 'mongodb://u:p%40ss@h1:27017,h2,[::1]:27018/x?replicaSet=rs0&w=majority&journal=true&tls=true' },
    { MONGODB_URI: 'mongodb+srv://u:p@cluster.example.net/?retryWrites=true&w=majority&appName=Cluster0' },
    {
      MONGODB_URI: 'mongodb://127.0.0.1:27017/?directConnection=true&readConcernLevel=majority&readPreference=primary',
    },
    { MONGODB_URI: 'mongodb://%2Ftmp%2Fmongodb-27017.sock/?replicaSet=rs0' },
    { REDIS_URL: 'rediss://user:p%23ss@redis.internal:6380/15' },
    { REDIS_URL: 'redis://[::1]:6379/' },
    { REDIS_URL: 'redis://redis_1?family=6' },
    { STRIPE_SECRET_KEY: TEST_KEY, STRIPE_API_BASE: 'https://api.stripe.com' },
    { STRIPE_SECRET_KEY: LIVE_KEY, STRIPE_LIVE: 'yes', STRIPE_API_BASE: 'https://api.stripe.com/' },
    { STRIPE_SECRET_KEY: `rk_test_51${BODY.repeat(4)}`, STRIPE_WEBHOOK_SECRET: `${SIGNING_SECRET}, whsec_${BODY}+/=` },
    { STRIPE_SECRET_KEY: 'sk_test_simulator', STRIPE_WEBHOOK_SECRET: 'whsec_scenario', ...SIMULATED },
    { ADMIN_API_KEY: 'tly_V8Tb0l3hQ2cXyqk1bq2cN7bFzJb9mT0eQ1fS4uW5xY8' },
    { HOST: '::' },
    { HOST: 'daemon_1.internal' },
    { AGGREGATE_CRON: '*/15 * * * *', RECONCILE_CRON: '0 3 1 * *' },
    { AGGREGATE_CRON: '0,30 8-18 * * MON-FRI' },
    { INGEST_QUEUE_BYTES_MAX: '1048576' },
  ];
  it.each(right)('are taken: %o', (env) => {
    expect(configFaults({ ...LEAST, ...env })).toEqual([]);
  });
});
