import type { Stripe } from 'stripe';
import { addQuantities, canonicalQuantity, type Quantity } from '../domain/quantity.ts';
import { toStripeError } from './errors.ts';

/** A half-open range `[fromMs, toMs)` on whole minutes; on whole hours for `hourly`. */
export interface SummaryRange {
  readonly stripeCustomerId: string;
  readonly stripeMeterId: string;
  readonly fromMs: number;
  readonly toMs: number;
}

const PAGE = 100;

/** Reads Stripe's own totals. They lag, come newest first, leave out empty hours, and reads are budgeted. */
export class EventSummaries {
  readonly #stripe: Stripe;

  constructor(stripe: Stripe) {
    this.#stripe = stripe;
  }

  /** The total of a range. */
  async total(range: SummaryRange): Promise<Quantity> {
    const rows = await this.#read(range, {});
    return addQuantities('0', ...rows.map(({ quantity }) => quantity));
  }

  /** The total of each hour that has one, by the hour's start. */
  async hourly(range: SummaryRange): Promise<Map<number, Quantity>> {
    const rows = await this.#read(range, { value_grouping_window: 'hour' });
    return new Map(rows.map(({ fromMs, quantity }) => [fromMs, quantity]));
  }

  async #read(
    range: SummaryRange,
    grouping: { value_grouping_window?: 'hour' },
  ): Promise<{ fromMs: number; quantity: Quantity }[]> {
    const rows: { fromMs: number; quantity: Quantity }[] = [];
    try {
      const summaries = this.#stripe.billing.meters.listEventSummaries(range.stripeMeterId, {
        customer: range.stripeCustomerId,
        start_time: range.fromMs / 1000,
        end_time: range.toMs / 1000,
        limit: PAGE,
        ...grouping,
      });
      for await (const summary of summaries) {
        // A JSON number: its shortest decimal form is what Stripe wrote, up to 15 digits.
        rows.push({ fromMs: summary.start_time * 1000, quantity: canonicalQuantity(String(summary.aggregated_value)) });
      }
      return rows;
    } catch (error) {
      throw toStripeError(error);
    }
  }
}
