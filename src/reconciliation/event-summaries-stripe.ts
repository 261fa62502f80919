import type { Stripe } from 'stripe';
import { addQuantities, canonicalQuantity, type Quantity } from '../platform/quantity.ts';
import { toStripeError } from '../stripe/errors.ts';

/** A half-open range `[fromMs, toMs)` on whole minutes; on whole hours for `hourly`. */
export interface SummaryRange {
  readonly stripeCustomerId: string;
  readonly stripeMeterId: string;
  readonly fromMs: number;
  readonly toMs: number;
}

type BeforeCall = () => Promise<void>;

const PAGE = 100;
const PACED_ELSEWHERE: BeforeCall = () => Promise.resolve();

/** Reads Stripe's own totals. They lag, come newest first, leave out empty hours, and reads are budgeted. */
export class EventSummaries {
  readonly #stripe: Stripe;

  constructor(stripe: Stripe) {
    this.#stripe = stripe;
  }

  /**
   * The total of a range.
   * @param beforeCall awaited before each call: for pacing, and to count what Stripe's allocation of reads is spent on.
   */
  async total(range: SummaryRange, beforeCall: BeforeCall = PACED_ELSEWHERE): Promise<Quantity> {
    const rows = await this.#read(range, {}, beforeCall);
    return addQuantities('0', ...rows.map(({ quantity }) => quantity));
  }

  /** The total of each hour that has one, by the hour's start. A call for each hundred of them. */
  async hourly(range: SummaryRange, beforeCall: BeforeCall = PACED_ELSEWHERE): Promise<Map<number, Quantity>> {
    const rows = await this.#read(range, { value_grouping_window: 'hour' }, beforeCall);
    return new Map(rows.map(({ fromMs, quantity }) => [fromMs, quantity]));
  }

  async #read(
    range: SummaryRange,
    grouping: { value_grouping_window?: 'hour' },
    beforeCall: BeforeCall,
  ): Promise<{ fromMs: number; quantity: Quantity }[]> {
    const rows: { fromMs: number; quantity: Quantity }[] = [];
    try {
      let after: { starting_after?: string } | undefined = {};
      while (after !== undefined) {
        await beforeCall();
        const page: Stripe.ApiList<Stripe.Billing.MeterEventSummary> =
          await this.#stripe.billing.meters.listEventSummaries(range.stripeMeterId, {
            customer: range.stripeCustomerId,
            start_time: range.fromMs / 1000,
            end_time: range.toMs / 1000,
            limit: PAGE,
            ...grouping,
            ...after,
          });
        rows.push(...page.data.map(toRow));
        const last = page.data.at(-1);
        after = page.has_more && last !== undefined ? { starting_after: last.id } : undefined;
      }
      return rows;
    } catch (error) {
      throw toStripeError(error);
    }
  }
}

function toRow(summary: Stripe.Billing.MeterEventSummary): { fromMs: number; quantity: Quantity } {
  // A JSON number: its shortest decimal form is what Stripe wrote, up to 15 digits.
  return { fromMs: summary.start_time * 1000, quantity: canonicalQuantity(String(summary.aggregated_value)) };
}
