import type { Stripe } from 'stripe';
import type { Subscription } from './subscription-object.ts';

type Pricing = Omit<Stripe.InvoiceLineItem.Pricing, 'unit_amount_decimal'> & { unit_amount_decimal: string };

/** A line as it goes over the wire: decimals are text there. */
export type InvoiceLine = Omit<Stripe.InvoiceLineItem, 'quantity_decimal' | 'pricing' | 'parent'> & {
  quantity_decimal: string;
  pricing: Pricing;
  parent: Stripe.InvoiceLineItem.Parent & {
    subscription_item_details: Stripe.InvoiceLineItem.Parent.SubscriptionItemDetails;
  };
};

/** An invoice as it goes over the wire. */
export type Invoice = Omit<Stripe.Invoice, 'lines' | 'customer' | 'parent'> & {
  lines: Stripe.ApiList<InvoiceLine>;
  customer: string;
  parent: { quote_details: null; subscription_details: SubscriptionDetails; type: 'subscription_details' };
};

interface SubscriptionDetails {
  metadata: Stripe.Metadata;
  subscription: string;
}

export type BillingReason = 'subscription_create' | 'subscription_cycle' | 'subscription_update';

interface NewInvoice {
  id: string;
  subscription: Subscription;
  reason: BillingReason;
  /** Unix seconds. */
  created: number;
  period: { start: number; end: number };
}

/** A draft without lines. */
export function newInvoice({ id, subscription, reason, created, period }: NewInvoice): Invoice {
  const dueDays = subscription.collection_method === 'send_invoice' ? (subscription.days_until_due ?? 30) : undefined;
  return {
    ...nothingOwed(),
    ...nothingSet(),
    id,
    object: 'invoice',
    auto_advance: true,
    automatic_tax: { disabled_reason: null, enabled: false, liability: null, provider: null, status: null },
    automatically_finalizes_at: null,
    billing_reason: reason,
    collection_method: subscription.collection_method,
    created,
    currency: subscription.currency,
    customer: subscription.customer,
    due_date: dueDays === undefined ? null : created + dueDays * 86_400,
    issuer: { type: 'self' },
    lines: { object: 'list', data: [], has_more: false, url: `/v1/invoices/${id}/lines` },
    livemode: false,
    metadata: {},
    parent: {
      quote_details: null,
      subscription_details: { metadata: subscription.metadata, subscription: subscription.id },
      type: 'subscription_details',
    },
    payment_settings: { default_mandate: null, payment_method_options: null, payment_method_types: null },
    period_end: period.end,
    period_start: period.start,
    status: 'draft',
    status_transitions: { finalized_at: null, marked_uncollectible_at: null, paid_at: null, voided_at: null },
  };
}

/** Adds the lines up. The first page of them is part of the invoice, the rest is listed. */
export function setLines(invoice: Invoice, lines: readonly InvoiceLine[]): void {
  const linesOnInvoice = 10;
  const total = lines.reduce((sum, { amount }) => sum + amount, 0);
  invoice.lines.data = lines.slice(0, linesOnInvoice);
  invoice.lines.has_more = lines.length > linesOnInvoice;
  Object.assign(invoice, { subtotal: total, subtotal_excluding_tax: total, total, total_excluding_tax: total });
  invoice.amount_due = total;
  invoice.amount_remaining = total - invoice.amount_paid;
}

function nothingOwed() {
  return {
    amount_due: 0,
    amount_overpaid: 0,
    amount_paid: 0,
    amount_remaining: 0,
    amount_shipping: 0,
    attempt_count: 0,
    attempted: false,
    post_payment_credit_notes_amount: 0,
    pre_payment_credit_notes_amount: 0,
    starting_balance: 0,
    subtotal: 0,
    subtotal_excluding_tax: 0,
    total: 0,
    total_discount_amounts: [],
    total_excluding_tax: 0,
    total_pretax_credit_amounts: [],
    total_taxes: [],
    discounts: [],
    default_tax_rates: [],
  };
}

function nothingSet() {
  return {
    account_country: 'US',
    account_name: null,
    account_tax_ids: null,
    application: null,
    custom_fields: null,
    customer_account: null,
    customer_address: null,
    customer_email: null,
    customer_name: null,
    customer_phone: null,
    customer_shipping: null,
    customer_tax_exempt: 'none',
    customer_tax_ids: [],
    default_payment_method: null,
    default_source: null,
    description: null,
    effective_at: null,
    ending_balance: null,
    footer: null,
    from_invoice: null,
    hosted_invoice_url: null,
    invoice_pdf: null,
    last_finalization_error: null,
    latest_revision: null,
    next_payment_attempt: null,
    number: null,
    on_behalf_of: null,
    receipt_number: null,
    rendering: null,
    shipping_cost: null,
    shipping_details: null,
    statement_descriptor: null,
    test_clock: null,
    webhooks_delivered_at: null,
  };
}
