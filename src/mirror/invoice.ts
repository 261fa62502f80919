import type { Quantity } from '../platform/quantity.ts';

/** One line of an invoice. */
export interface InvoiceLine {
  readonly id: string;
  /** The Stripe meter whose usage it bills; absent for other lines. */
  readonly stripeMeterId?: string;
  readonly priceId?: string;
  readonly subscriptionItemId?: string;
  /** Half-open. */
  readonly from: Date;
  readonly to: Date;
  /** As of the last fetch: of a draft it is not final, Stripe computes it anew when it finalises. */
  readonly quantityDecimal?: Quantity;
}

/** An invoice at Stripe, as it was when it was last fetched. */
export interface Invoice {
  /** Stripe's id. */
  readonly _id: string;
  readonly stripeCustomerId: string;
  readonly subscriptionId?: string;
  /** `draft`, `open`, `paid`, `uncollectible` or `void`; Stripe may invent more. */
  readonly status: string;
  readonly billingReason?: string;
  readonly autoAdvance: boolean;
  readonly createdAt: Date;
  readonly automaticallyFinalizesAt?: Date;
  readonly finalizedAt?: Date;
  readonly lines: readonly InvoiceLine[];
}

/** Usage of a meter in `[fromMs, toMs)` is on this invoice, and none that comes later will be on any. */
export interface FinalPeriod {
  readonly stripeMeterId: string;
  readonly fromMs: number;
  readonly toMs: number;
  readonly finalizedAtMs: number;
  readonly invoiceId: string;
}

/** Whether any line bills usage. */
export function billsUsage({ lines }: Invoice): boolean {
  return lines.some(({ stripeMeterId }) => stripeMeterId !== undefined);
}

/** Invoices that bill what there is and leave the rest of the period to the next one. */
const PARTIAL_REASONS: readonly string[] = ['subscription_threshold', 'upcoming'];

/**
 * The periods that an invoice closed. One that is finalised before a line's period ends (the first invoice of a
 * subscription, one over a threshold) closes nothing: the usage of that period is billed later.
 */
export function finalPeriods(invoice: Invoice): FinalPeriod[] {
  const { _id: invoiceId, status, billingReason, finalizedAt, createdAt, lines } = invoice;
  if (finalizedAt === undefined && status === 'draft') return [];
  if (billingReason !== undefined && PARTIAL_REASONS.includes(billingReason)) return [];
  const finalizedAtMs = (finalizedAt ?? createdAt).getTime();
  return lines.flatMap(({ stripeMeterId, from, to }) => {
    const [fromMs, toMs] = [from.getTime(), to.getTime()];
    const isClosed = stripeMeterId !== undefined && fromMs < toMs && toMs <= finalizedAtMs;
    return isClosed ? [{ stripeMeterId, fromMs, toMs, finalizedAtMs, invoiceId }] : [];
  });
}
