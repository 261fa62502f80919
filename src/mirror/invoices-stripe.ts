import type { Stripe } from 'stripe';
import type { Invoice, InvoiceLine } from './invoice.ts';
import { canonicalQuantity } from '../platform/quantity.ts';
import { isMissing, toStripeError } from '../stripe/errors.ts';
import { idOf, type OnRefused, type Pace, PAGE, paced, toDate } from '../stripe/paging.ts';

/** Prices whose meter is remembered; it never changes. */
const PRICES_MAX = 10_000;

/** Reads invoices as they are now, with all of their lines. */
export class StripeInvoices {
  readonly #stripe: Stripe;
  readonly #pace: Pace;
  readonly #meters = new Map<string, string | undefined>();

  constructor(stripe: Stripe, pace: Pace) {
    this.#stripe = stripe;
    this.#pace = pace;
  }

  /** One invoice; undefined when Stripe has none of this id (a draft that was deleted), or it has no customer. */
  async fetch(id: string): Promise<Invoice | undefined> {
    await this.#pace();
    try {
      return await this.#toInvoice(await this.#stripe.invoices.retrieve(id));
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw toStripeError(error);
    }
  }

  /**
   * Every invoice created since an instant, and those that are open however old they are. One whose lines Stripe refuses
   * is told to `onRefused`, and the list goes on.
   */
  async *list(sinceMs: number, onRefused: OnRefused): AsyncGenerator<Invoice> {
    const since = { created: { gte: Math.floor(sinceMs / 1_000) } };
    const before = { created: { lt: since.created.gte }, status: 'open' as const };
    try {
      for (const query of [since, before]) {
        const list = (): AsyncIterable<Stripe.Invoice> => this.#stripe.invoices.list({ ...query, limit: PAGE });
        for await (const found of paced(list, this.#pace)) {
          const invoice = await this.#toInvoice(found).catch((error: unknown) => {
            onRefused(found.id, toStripeError(error));
            return undefined;
          });
          if (invoice !== undefined) yield invoice;
        }
      }
    } catch (error) {
      throw toStripeError(error);
    }
  }

  async #toInvoice(found: Stripe.Invoice): Promise<Invoice | undefined> {
    const { customer, parent, billing_reason: billingReason, automatically_finalizes_at: finalizesAt } = found;
    if (customer === null) return undefined;
    const subscription = parent?.subscription_details?.subscription;
    const finalizedAt = found.status_transitions.finalized_at;
    return {
      _id: found.id,
      stripeCustomerId: idOf(customer),
      ...(subscription && { subscriptionId: idOf(subscription) }),
      status: found.status ?? 'draft',
      ...(billingReason !== null && { billingReason }),
      autoAdvance: found.auto_advance === true,
      createdAt: toDate(found.created),
      ...(typeof finalizesAt === 'number' && { automaticallyFinalizesAt: toDate(finalizesAt) }),
      ...(typeof finalizedAt === 'number' && { finalizedAt: toDate(finalizedAt) }),
      lines: await this.#linesOf(found),
    };
  }

  async #linesOf({ id, lines }: Stripe.Invoice): Promise<InvoiceLine[]> {
    const inline = lines.has_more ? undefined : lines.data;
    const all: InvoiceLine[] = [];
    for await (const line of inline ?? this.#listLines(id)) all.push(await this.#toLine(line));
    return all;
  }

  #listLines(invoiceId: string): AsyncIterable<Stripe.InvoiceLineItem> {
    return paced(() => this.#stripe.invoices.listLineItems(invoiceId, { limit: PAGE }), this.#pace);
  }

  async #toLine(line: Stripe.InvoiceLineItem): Promise<InvoiceLine> {
    const price = line.pricing?.price_details?.price;
    const subscriptionItemId = line.parent?.subscription_item_details?.subscription_item;
    const stripeMeterId = price === undefined ? undefined : await this.#meterOf(price);
    return {
      id: line.id,
      ...(stripeMeterId !== undefined && { stripeMeterId }),
      ...(price !== undefined && { priceId: idOf(price) }),
      ...(subscriptionItemId !== undefined && { subscriptionItemId }),
      from: toDate(line.period.start),
      to: toDate(line.period.end),
      ...(line.quantity_decimal && { quantityDecimal: canonicalQuantity(line.quantity_decimal.toString()) }),
    };
  }

  async #meterOf(price: string | Stripe.Price): Promise<string | undefined> {
    if (typeof price !== 'string') return price.recurring?.meter ?? undefined;
    if (this.#meters.has(price)) return this.#meters.get(price);
    await this.#pace();
    const meter = (await this.#stripe.prices.retrieve(price)).recurring?.meter ?? undefined;
    if (this.#meters.size >= PRICES_MAX) this.#meters.clear();
    this.#meters.set(price, meter);
    return meter;
  }
}
