import type { Stripe } from 'stripe';
import { SNAPSHOT_TYPES, THIN_TYPES, toWebhookEvent, type WebhookEvent, type WebhookKind } from './webhook.ts';
import { readRejectionReport, type RejectionReport } from './webhook-rejections.ts';
import { toStripeError } from '../stripe/errors.ts';
import { type OnRefused, type Pace, PAGE, paced } from '../stripe/paging.ts';

/** Lists what Stripe told, or would have told, and fetches what thin events are about. Kept there for 30 days. */
export class StripeEvents {
  readonly #stripe: Stripe;
  readonly #pace: Pace;

  constructor(stripe: Stripe, pace: Pace) {
    this.#stripe = stripe;
    this.#pace = pace;
  }

  /**
   * Snapshot events that something is done for, created in `[fromMs, toMs)`; in no order that could be relied on. One that
   * cannot be read is told to `onRefused`.
   */
  async *listSnapshots(fromMs: number, toMs: number, onRefused: OnRefused): AsyncGenerator<WebhookEvent> {
    const created = { gte: Math.floor(fromMs / 1_000), lt: Math.ceil(toMs / 1_000) };
    const list = (): AsyncIterable<Stripe.Event> =>
      this.#stripe.events.list({ types: [...SNAPSHOT_TYPES], created, limit: PAGE });
    try {
      for await (const event of paced(list, this.#pace)) {
        const read = event.account === undefined ? readListed(event, 'snapshot', onRefused) : undefined;
        if (read !== undefined) yield read;
      }
    } catch (error) {
      throw toStripeError(error);
    }
  }

  /**
   * Thin events that something is done for, created since an instant. Stripe does not say in which order they are
   * listed: older ones end the list only where it has shown that it goes back in time.
   */
  async *listThin(sinceMs: number, onRefused: OnRefused): AsyncGenerator<WebhookEvent> {
    const list = (): AsyncIterable<unknown> =>
      this.#stripe.v2.core.events.list({ types: [...THIN_TYPES], limit: PAGE });
    let newestMs: number | undefined;
    try {
      for await (const found of paced(list, this.#pace)) {
        const event = readListed(found, 'thin', onRefused);
        if (event === undefined) continue;
        if (event.createdAtMs >= sinceMs) yield event;
        else if (newestMs !== undefined && newestMs > event.createdAtMs) return;
        newestMs = Math.max(newestMs ?? event.createdAtMs, event.createdAtMs);
      }
    } catch (error) {
      throw toStripeError(error);
    }
  }

  /**
   * What a thin event reports.
   * @throws DaemonError `stripe_refused` for an event that Stripe does not have (any more), `stripe_unavailable`.
   */
  async fetchReport(eventId: string): Promise<RejectionReport> {
    await this.#pace();
    try {
      const event = await this.#stripe.v2.core.events.retrieve(eventId);
      return readRejectionReport(eventId, 'data' in event ? event.data : undefined);
    } catch (error) {
      throw toStripeError(error);
    }
  }
}

function readListed(found: unknown, kind: WebhookKind, onRefused: OnRefused): WebhookEvent | undefined {
  try {
    return toWebhookEvent(found, kind);
  } catch (error) {
    onRefused(String((found as { id?: unknown }).id), error);
    return undefined;
  }
}
