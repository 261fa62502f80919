import type { Stripe } from 'stripe';
import { toStripeError } from './errors.ts';

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

export class StripeMeters {
  readonly #stripe: Stripe;

  constructor(stripe: Stripe) {
    this.#stripe = stripe;
  }

  /** Every meter of the account. */
  async list(): Promise<StripeMeter[]> {
    try {
      const meters: StripeMeter[] = [];
      for await (const meter of this.#stripe.billing.meters.list({ limit: PAGE })) meters.push(toStripeMeter(meter));
      return meters;
    } catch (error) {
      throw toStripeError(error);
    }
  }

  /** Creates a `sum` meter: what all our aggregations feed with differences. */
  async create(input: { eventName: string; displayName: string }): Promise<StripeMeter> {
    try {
      const meter = await this.#stripe.billing.meters.create(
        {
          event_name: input.eventName,
          display_name: input.displayName,
          default_aggregation: { formula: 'sum' },
          customer_mapping: { type: 'by_id', event_payload_key: 'stripe_customer_id' },
          value_settings: { event_payload_key: 'value' },
        },
        { idempotencyKey: `tallystick-meter-${input.eventName}` },
      );
      return toStripeMeter(meter);
    } catch (error) {
      throw toStripeError(error);
    }
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
