/** What lies between us and Stripe: peers that say nothing or too little, and proxies. */
import { createServer } from 'node:net';
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { startSimulator } from '../../packages/stripe-double/src/simulator.ts';
import { openStripe } from '../../src/stripe/client.ts';
import { proxyAgent } from '../../src/stripe/proxy.ts';
import { stripeSettings } from '../../src/daemon/stripe-side.ts';
import { type AskedProxy, connectProxy, withServer } from '../support/loopback-servers.ts';

const SECRET_KEY = 'sk_test_transport';
/** Much less than in production, and long enough for a busy machine to connect. */
const CALL_MS_MAX = 1_500;

const HEAD = 'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n';

describe('a Stripe that does not come to an end', () => {
  it.each([
    ['says nothing', ''],
    ['sends its head byte by byte', 'HTTP/1.1 200 OK\r\nX: '],
    ['sends its body byte by byte', `${HEAD}{"a":"`],
  ])('and %s is given up when the call has taken too long', async (_name, firstBytes) => {
    let trickles = 0;
    const trickling = createServer((socket) => {
      socket.once('data', () => socket.write(firstBytes));
      const timer = setInterval(() => {
        if (firstBytes === '') return;
        trickles += 1;
        socket.write('x');
      }, 100);
      socket.on('close', () => clearInterval(timer));
    });
    await withServer(trickling, async (port) => {
      const apiBase = `http://127.0.0.1:${port}`;
      const stripe = openStripe({ secretKey: SECRET_KEY, apiBase, callMsMax: CALL_MS_MAX });
      await expect(stripe.customers.list()).rejects.toMatchObject({ type: 'StripeConnectionError' });
      await expect(stripe.customers.create({})).rejects.toMatchObject({ type: 'StripeConnectionError' });
      expect(trickles > 0).toBe(firstBytes !== '');
    });
  });
});

describe('a proxy', () => {
  it('is the way to Stripe when HTTPS_PROXY names one, unless NO_PROXY excepts the host', async () => {
    const simulator = await startSimulator({ rateLimitPerSecond: 0 });
    const asked: AskedProxy[] = [];
    try {
      await withServer(connectProxy(asked), async (proxyPort) => {
        const open = (settings: Record<string, string>) =>
          openStripe(
            stripeSettings(
              loadConfig({
                MONGODB_URI: 'mongodb://x',
                REDIS_URL: 'redis://x',
                STRIPE_SECRET_KEY: SECRET_KEY,
                ...settings,
              }),
              SECRET_KEY,
            ),
          );
        const port = new URL(simulator.url).port;
        const beyond = { STRIPE_API_BASE: `http://stripe.test:${port}` };
        const HTTPS_PROXY = `http://user:pass@127.0.0.1:${proxyPort}`;
        await open({ ...beyond, HTTPS_PROXY }).customers.create({ name: 'acme' });
        await open({ ...beyond, https_proxy: HTTPS_PROXY, NO_PROXY: 'other.test,.elsewhere.test' }).customers.list();
        const authorization = `Basic ${Buffer.from('user:pass').toString('base64')}`;
        expect(asked).toEqual([
          { target: `stripe.test:${port}`, authorization },
          { target: `stripe.test:${port}`, authorization },
        ]);
        // Without the proxy nobody knows this name.
        const excepted = open({ ...beyond, HTTPS_PROXY, NO_PROXY: '.test' });
        await expect(excepted.customers.list()).rejects.toMatchObject({ type: 'StripeConnectionError' });
        const own = open({ STRIPE_API_BASE: simulator.url, HTTPS_PROXY });
        expect((await own.customers.list()).data).toHaveLength(1);
        expect(asked).toHaveLength(2);
      });
    } finally {
      await simulator.stop();
    }
  });

  it.each<[string, boolean, string[]]>([
    ['api.stripe.com', true, []],
    ['api.stripe.com', true, ['example.com', 'i.stripe.com', 'api.stripe.com:8443']],
    ['api.stripe.com', false, ['stripe.com']],
    ['api.stripe.com', false, ['.stripe.com']],
    ['api.stripe.com', false, ['*.stripe.com']],
    ['api.stripe.com', false, ['API.stripe.com:443']],
    ['api.stripe.com', false, ['localhost', '*']],
    ['api.stripe.com', true, ['', '.']],
    ['localhost', false, []],
    ['127.0.0.1', false, []],
    ['[::1]', false, []],
  ])('is asked for %s: %s, with the exceptions %j', (host, isAsked, exceptions) => {
    const agent = proxyAgent({ url: 'http://127.0.0.1:1', exceptions }, { host, port: 443 });
    expect(agent !== undefined).toBe(isAsked);
  });
});
