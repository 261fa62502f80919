import { Stripe } from 'stripe';

export interface StripeSettings {
  readonly secretKey: string;
  /** Another address than Stripe's: the simulator's. */
  readonly apiBase?: string;
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
    httpClient: sendingOnce(Stripe.createNodeHttpClient()),
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
