import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type Config, type ConfigFault, configVariables, loadConfig } from '../../src/config.ts';
import { DaemonError } from '../../src/platform/errors.ts';

const LEAST = { MONGODB_URI: 'mongodb://localhost/', REDIS_URL: 'redis://localhost' };
const TEST_KEY = 'sk_test_0f1e2d3c4b5a69788796a5b4';
const LIVE_KEY = ['sk', 'live', '0f1e2d3c4b5a69788796a5b4'].join('_');

function load(overrides: Record<string, string> = {}): Config {
  return loadConfig({ ...LEAST, ...overrides });
}

function failureOf(env: Record<string, string>): DaemonError {
  try {
    loadConfig(env);
  } catch (error) {
    if (error instanceof DaemonError) return error;
    throw error;
  }
  throw new Error('it was accepted');
}

function faultsOf(env: Record<string, string>): string[] {
  return (failureOf(env).context['faults'] as ConfigFault[]).map(({ name }) => name);
}

describe('the configuration', () => {
  it('needs the two stores and has a default for the rest', () => {
    expect(load()).toMatchObject({
      mongodbDatabase: 'tallystick',
      host: '127.0.0.1',
      port: 8080,
      roles: ['http', 'worker', 'ticker'],
      aggregateCron: '2 * * * *',
      reconcileCron: '17 3 * * *',
      windowSettleMs: 600_000,
      eventAgeDaysMax: 34,
      eventsPerRequestMax: 1_000,
      bodyBytesMax: 1_048_576,
      summaryLagMaxMs: 43_200_000,
      summaryReadsPerRunMax: 300,
      reconcileMode: 'heal',
      healFractionMax: 0.05,
      healQuantityMax: undefined,
      stripeSecretKey: undefined,
      stripeLive: false,
    });
    expect(faultsOf({})).toEqual(['MONGODB_URI', 'REDIS_URL']);
  });

  it('is frozen, with its lists', () => {
    const config = load();
    expect(Object.isFrozen(config)).toBe(true);
    expect(Object.isFrozen(config.roles)).toBe(true);
  });

  it('tells every fault at once', () => {
    const failure = failureOf({ PORT: '80a', ROLES: 'http,cook', LOG_LEVEL: 'loud', HEAL_FRACTION_MAX: '1.5' });
    expect(failure).toMatchObject({ kind: 'invalid', code: 'configuration_invalid' });
    const names = ['MONGODB_URI', 'REDIS_URL', 'PORT', 'ROLES', 'LOG_LEVEL', 'HEAL_FRACTION_MAX'];
    expect((failure.context['faults'] as ConfigFault[]).map(({ name }) => name)).toEqual(names);
    for (const name of names) expect(failure.message).toContain(name);
  });

  it('takes an empty variable for an absent one', () => {
    expect(load({ PORT: '', STRIPE_SECRET_KEY: '' })).toMatchObject({ port: 8080, stripeSecretKey: undefined });
  });

  it('reads lists with commas', () => {
    const [old, next] = ['whsec_0f1e2d3c4b5a69788796a5b4', 'whsec_5a69788796a5b40f1e2d3c4b'];
    const config = load({ ROLES: 'http, worker', STRIPE_WEBHOOK_SECRET: `${old}, ${next}` });
    expect(config.roles).toEqual(['http', 'worker']);
    expect(config.stripeWebhookSecret).toEqual([old, next]);
  });

  it('takes a live key only when told so, and paces calls by the kind of key', () => {
    expect(load({ STRIPE_SECRET_KEY: TEST_KEY }).stripeCallsPerSecondMax).toBe(20);
    expect(faultsOf({ ...LEAST, STRIPE_SECRET_KEY: LIVE_KEY })).toEqual(['STRIPE_LIVE']);
    const live = { STRIPE_SECRET_KEY: LIVE_KEY, STRIPE_LIVE: 'yes' };
    expect(load(live).stripeCallsPerSecondMax).toBe(900);
    expect(load({ ...live, STRIPE_CALLS_PER_SECOND_MAX: '5' }).stripeCallsPerSecondMax).toBe(5);
  });

  it('never shows the value of what it refuses', () => {
    const secret = 'tly-very-secret value';
    expect(failureOf({ ...LEAST, ADMIN_API_KEY: secret }).message).not.toContain(secret);
  });

  it('reads a secret from a file, without the line end', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'tallystick-config-'));
    try {
      const path = join(folder, 'key');
      await writeFile(path, `${TEST_KEY}\n`);
      expect(load({ STRIPE_SECRET_KEY_FILE: path }).stripeSecretKey).toBe(TEST_KEY);
      expect(faultsOf({ ...LEAST, STRIPE_SECRET_KEY: TEST_KEY, STRIPE_SECRET_KEY_FILE: path })).toEqual([
        'STRIPE_SECRET_KEY',
      ]);
      const missing = { REDIS_URL: 'redis://x', MONGODB_URI_FILE: join(folder, 'none') };
      expect(faultsOf(missing)).toEqual(['MONGODB_URI_FILE']);
      await writeFile(path, '\n');
      expect(faultsOf({ ...LEAST, ADMIN_API_KEY_FILE: path })).toEqual(['ADMIN_API_KEY_FILE']);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('describes every variable, and has a default that it takes itself', () => {
    for (const { name, description, default: preset, required } of configVariables) {
      expect(description.length, name).toBeGreaterThan(10);
      if (preset === undefined) continue;
      expect(required, name).toBeUndefined();
      expect(load({ [name]: preset }), name).toEqual(load());
    }
  });
});
