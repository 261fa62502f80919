import type { IncomingMessage } from 'node:http';
import { Stripe } from 'stripe';
import { within } from '../platform/time-limit.ts';
import { proxyAgent, type ProxySettings } from './proxy.ts';

export interface StripeSettings {
  readonly secretKey: string;
  /** Another address than Stripe's: the simulator's. */
  readonly apiBase?: string | undefined;
  readonly proxy?: ProxySettings | undefined;
  /** How often a read is made at most until Stripe answers it; default 1. */
  readonly readTriesMax?: number;
  /** How long a call may take, where another limit than `STRIPE_CALL_MS_MAX` is tried out. */
  readonly callMsMax?: number;
}

/** How long a call may take, to the last byte of its answer. A lost answer is a stored state, so waiting longer gains nothing. */
export const STRIPE_CALL_MS_MAX = 20_000;
const STRIPE_API = 'https://api.stripe.com';

/** A client that makes one call on the wire for each call of ours that changes something. */
export function openStripe(settings: StripeSettings): Stripe {
  const timeout = settings.callMsMax ?? STRIPE_CALL_MS_MAX;
  const { hostname: host, port: statedPort, protocol } = new URL(settings.apiBase ?? STRIPE_API);
  const port = statedPort === '' ? (protocol === 'https:' ? 443 : 80) : Number(statedPort);
  const agent = proxyAgent(settings.proxy, { host, port });
  return new Stripe(settings.secretKey, {
    maxNetworkRetries: 0,
    timeout,
    telemetry: false,
    appInfo: { name: 'tallystick' },
    httpClient: readingAgain(
      bounded(sendingOnce(Stripe.createNodeHttpClient(agent)), timeout),
      settings.readTriesMax ?? 1,
    ),
    ...(settings.apiBase !== undefined && {
      host,
      port,
      protocol: protocol === 'https:' ? ('https' as const) : ('http' as const),
    }),
  });
}

/** A decimal as the package wants it; no digit is lost. */
export function toStripeDecimal(text: string): Stripe.Decimal {
  return Stripe.Decimal.from(text);
}

/**
 * The package sends a request a second time when its connection closes, even with `maxNetworkRetries: 0`, and tells
 * only of the second answer. A meter event that counted and was refused the second time would pass for one that never
 * counted. It knows a closed connection by the error's code, so an error without one keeps it from trying again. Reads
 * may be repeated.
 */
function sendingOnce(client: Stripe.HttpClient): Stripe.HttpClient {
  const makeRequest = client.makeRequest.bind(client);
  client.makeRequest = async (...call) => {
    const [, , , method] = call;
    try {
      return await makeRequest(...call);
    } catch (cause) {
      if (method === 'GET') throw cause;
      throw new Error(cause instanceof Error ? cause.message : 'the connection broke', { cause });
    }
  };
  return client;
}

/** How long the first wait before a read is made again is; doubled each time, with full jitter over its half. */
const READ_WAIT_MS = 250;

/** Makes a read again that Stripe did not answer, or answered with 5xx, 409 or 429. What comes last is passed on. */
function readingAgain(client: Stripe.HttpClient, triesMax: number): Stripe.HttpClient {
  const makeRequest = client.makeRequest.bind(client);
  client.makeRequest = async (...call) => {
    const [, , , method] = call;
    const triesHere = method === 'GET' ? triesMax : 1;
    for (let tries = 1; tries < triesHere; tries += 1) {
      const response = await makeRequest(...call).catch(() => undefined);
      if (response !== undefined && !isPassing(response.getStatusCode())) return response;
      const waitMs = (READ_WAIT_MS * 2 ** (tries - 1) * (1 + Math.random())) / 2;
      await new Promise((resolve) => setTimeout(resolve, waitMs));
    }
    return makeRequest(...call);
  };
  return client;
}

/**
 * The package's own limit is on silence: a peer that sends a byte now and then holds a call for ever. This one is on the
 * whole call, from its beginning to the last byte of its answer.
 */
function bounded(client: Stripe.HttpClient, limitMs: number): Stripe.HttpClient {
  const makeRequest = client.makeRequest.bind(client);
  client.makeRequest = async (...call) => {
    const untilMs = performance.now() + limitMs;
    const late = Stripe.HttpClient.makeTimeoutError();
    const response = await within(limitMs, makeRequest(...call), () => {
      throw late;
    });
    const toJson = response.toJSON.bind(response);
    response.toJSON = () =>
      within(untilMs - performance.now(), toJson() as Promise<unknown>, () => {
        (response.getRawResponse() as IncomingMessage).destroy();
        throw Stripe.HttpClient.makeResponseBodyError(late);
      });
    return response;
  };
  return client;
}

function isPassing(statusCode: number): boolean {
  return statusCode >= 500 || statusCode === 409 || statusCode === 429;
}
