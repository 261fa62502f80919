import type { Stripe } from 'stripe';
import { toStripeError } from '../stripe/errors.ts';
import type { StripeWrites } from '../stripe/writes.ts';

/** A Stripe meter, as far as feeding it goes. */
export interface StripeMeter {
  readonly id: string;
  readonly eventName: string;
  readonly displayName: string;
  readonly formula: string;
  readonly eventTimeWindow: string | null;
  readonly isActive: boolean;
  readonly customerKey: string;
  readonly valueKey: string;
}

const PAGE = 100;

/** The meters of the account. */
export class StripeMeters {
  readonly #stripe: Stripe;
  readonly #writes: Pick<StripeWrites, 'ensure'>;

  constructor(stripe: Stripe, writes: Pick<StripeWrites, 'ensure'>) {
    this.#stripe = stripe;
    this.#writes = writes;
  }

  /** Every meter of the account. */
  list(): Promise<StripeMeter[]> {
    return listStripeMeters(this.#stripe);
  }

  /**
   * Sees to it that there is a `sum` meter, which is what all our aggregations feed with differences. Stripe has one meter
   * of an event name at most, so trying again is safe.
   */
  async create(input: { eventName: string; displayName: string }): Promise<StripeMeter> {
    const { eventName } = input;
    const params = {
      event_name: eventName,
      display_name: input.displayName,
      default_aggregation: { formula: 'sum' as const },
      customer_mapping: { type: 'by_id' as const, event_payload_key: 'stripe_customer_id' },
      value_settings: { event_payload_key: 'value' },
    };
    const write = { name: 'createMeter' as const, params, key: `tallystick-meter-${eventName}` };
    const find = async (): Promise<Stripe.Billing.Meter | undefined> =>
      (await readMeters(this.#stripe)).find((meter) => meter.event_name === eventName);
    return toStripeMeter(await this.#writes.ensure(write, find));
  }
}

/** Every meter of the account. @throws DaemonError `stripe_key_refused`, `stripe_unavailable`. */
export async function listStripeMeters(stripe: Stripe): Promise<StripeMeter[]> {
  return (await readMeters(stripe)).map(toStripeMeter);
}

async function readMeters(stripe: Stripe): Promise<Stripe.Billing.Meter[]> {
  try {
    const meters: Stripe.Billing.Meter[] = [];
    for await (const meter of stripe.billing.meters.list({ limit: PAGE })) meters.push(meter);
    return meters;
  } catch (error) {
    throw toStripeError(error);
  }
}

function toStripeMeter(meter: Stripe.Billing.Meter): StripeMeter {
  return {
    id: meter.id,
    eventName: meter.event_name,
    displayName: meter.display_name,
    formula: meter.default_aggregation.formula,
    eventTimeWindow: meter.event_time_window,
    isActive: meter.status === 'active',
    customerKey: meter.customer_mapping.event_payload_key,
    valueKey: meter.value_settings.event_payload_key,
  };
}
