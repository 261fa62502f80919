/** `tallystick doctor live`: the list before real usage is billed, from nothing to all that can be seen. */
import { expect, it } from 'vitest';
import { withDaemon } from '../support/daemon.ts';
import { tallystick } from '../support/command-line.ts';
import { mongodbUri, redisUrl } from '../support/services.ts';

interface Item {
  readonly item: string;
  readonly state: string;
  readonly note: string;
}

it('says of each step whether it is done, is missing, or is for people to look at', { timeout: 120_000 }, () =>
  withDaemon({}, async ({ simulator }) => {
    const look = async (env: Record<string, string>): Promise<{ code: number | null; items: Map<string, Item> }> => {
      const base = { MONGODB_URI: mongodbUri(), REDIS_URL: redisUrl(), MONGODB_DATABASE: 'tallystick_live_empty' };
      const { code, stdout } = await tallystick(['doctor', 'live', '--json'], { env: { ...base, ...env } });
      const { items } = JSON.parse(stdout) as { items: Item[] };
      return { code, items: new Map(items.map((item) => [item.item, item])) };
    };
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
  }),
);
