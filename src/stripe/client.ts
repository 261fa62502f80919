import { Stripe } from 'stripe';

export interface StripeSettings {
  readonly secretKey: string;
  /** Another address than Stripe's: the simulator's. */
  readonly apiBase?: string;
}

/** How long a call may take. A lost answer is a stored state, so waiting longer gains nothing. */
export const STRIPE_CALL_MS_MAX = 20_000;

/** A client without retries of its own. */
export function openStripe(settings: StripeSettings): Stripe {
  const base = settings.apiBase === undefined ? undefined : new URL(settings.apiBase);
  return new Stripe(settings.secretKey, {
    maxNetworkRetries: 0,
    timeout: STRIPE_CALL_MS_MAX,
    telemetry: false,
    appInfo: { name: 'tallystick' },
    ...(base !== undefined && {
      host: base.hostname,
      port: base.port === '' ? (base.protocol === 'https:' ? 443 : 80) : Number(base.port),
      protocol: base.protocol === 'https:' ? ('https' as const) : ('http' as const),
    }),
  });
}
