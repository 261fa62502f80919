import { Stripe } from 'stripe';

export interface StripeSettings {
  readonly secretKey: string;
  /** Another address than Stripe's: the simulator's. */
  readonly apiBase?: string;
  /** How often a read is made at most until Stripe answers it; default 1. */
  readonly readTriesMax?: number;
}

/** How long a call may take. A lost answer is a stored state, so waiting longer gains nothing. */
export const STRIPE_CALL_MS_MAX = 20_000;

/** A client that makes one call on the wire for each call of ours that changes something. */
export function openStripe(settings: StripeSettings): Stripe {
  const base = settings.apiBase === undefined ? undefined : new URL(settings.apiBase);
  return new Stripe(settings.secretKey, {
    maxNetworkRetries: 0,
    timeout: STRIPE_CALL_MS_MAX,
    telemetry: false,
    appInfo: { name: 'tallystick' },
    httpClient: readingAgain(sendingOnce(Stripe.createNodeHttpClient()), settings.readTriesMax ?? 1),
    ...(base !== undefined && {
      host: base.hostname,
      port: base.port === '' ? (base.protocol === 'https:' ? 443 : 80) : Number(base.port),
      protocol: base.protocol === 'https:' ? ('https' as const) : ('http' as const),
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

function isPassing(statusCode: number): boolean {
  return statusCode >= 500 || statusCode === 409 || statusCode === 429;
}
