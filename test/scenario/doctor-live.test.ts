/** `tallystick doctor live`: the list before real usage is billed, from nothing to all that can be seen. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Simulator, startSimulator } from '../../packages/stripe-double/src/simulator.ts';
import { tallystick } from '../support/command-line.ts';
import { type AskedProxy, connectProxy, withServer } from '../support/loopback-servers.ts';
import { mongodbUri, redisUrl } from '../support/services.ts';

interface Item {
  readonly item: string;
  readonly state: string;
  readonly note: string;
}

let simulator: Simulator;

beforeAll(async () => {
  simulator = await startSimulator({ rateLimitPerSecond: 0 });
});
afterAll(() => simulator.stop());

async function look(env: Record<string, string>): Promise<{ code: number | null; items: Map<string, Item> }> {
  const base = { MONGODB_URI: mongodbUri(), REDIS_URL: redisUrl(), MONGODB_DATABASE: 'tallystick_live_empty' };
  const { code, stdout } = await tallystick(['doctor', 'live', '--json'], { env: { ...base, ...env } });
  const { items } = JSON.parse(stdout) as { items: Item[] };
  return { code, items: new Map(items.map((item) => [item.item, item])) };
}

it('says of each step whether it is done, is missing, or is for people to look at', async () => {
  const bare = await look({});
  expect(bare.code).toBe(1);
  expect(bare.items.get('Stripe key')).toMatchObject({ state: 'missing' });
  expect(bare.items.get('snapshot destination')?.note).toContain('STRIPE_WEBHOOK_SECRET');
  expect(bare.items.get('backup')).toMatchObject({ state: 'by hand' });

  const keyed = await look({ STRIPE_SECRET_KEY: 'rk_test_live', STRIPE_API_BASE: simulator.url });
  expect(keyed.items.get('restricted key')).toMatchObject({ state: 'ok' });
  expect(keyed.items.get('live key')).toMatchObject({ state: 'missing', note: expect.stringContaining('test key') });
  expect(keyed.items.get('rights to read')).toMatchObject({ state: 'ok', note: expect.stringContaining('invoices') });
  expect(keyed.items.get('first event at Stripe')).toMatchObject({ state: 'missing' });
});

it('reaches Stripe as the daemon does, through the proxy of the settings', async () => {
  const asked: AskedProxy[] = [];
  await withServer(connectProxy(asked), async (proxyPort) => {
    // Nobody but the proxy knows this name.
    const target = `stripe.test:${new URL(simulator.url).port}`;
    const { items } = await look({
      STRIPE_SECRET_KEY: 'rk_test_live',
      STRIPE_API_BASE: `http://${target}`,
      HTTPS_PROXY: `http://127.0.0.1:${proxyPort}`,
    });
    expect(items.get('rights to read')).toMatchObject({ state: 'ok' });
    expect(new Set(asked.map((one) => one.target))).toEqual(new Set([target]));
  });
});
