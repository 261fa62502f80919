import { describe, expect, it } from 'vitest';
import type { Invoice, InvoiceLine } from '../../src/mirror/invoice.ts';
import { mirroredCalendar, type Subscription, type SubscriptionItem } from '../../src/mirror/subscription.ts';
import { type BillingAtStripe, unbilledSpans } from '../../src/reconciliation/unbilled-usage.ts';

const at = (text: string): Date => new Date(text);
const ms = (text: string): number => Date.parse(text);
const METER = 'mtr_calls';
const RANGE = { fromMs: ms('2026-06-01T00:00:00Z'), toMs: ms('2026-06-20T00:00:00Z') };

function item(fields: Partial<SubscriptionItem> = {}): SubscriptionItem {
  return {
    id: 'si_1',
    priceId: 'price_1',
    stripeMeterId: METER,
    interval: 'month',
    intervalCount: 1,
    currentPeriodStart: at('2026-06-10T10:30:05Z'),
    currentPeriodEnd: at('2026-07-10T10:30:05Z'),
    ...fields,
  };
}

function subscription(fields: Partial<Subscription> = {}): Subscription {
  return {
    _id: 'sub_1',
    stripeCustomerId: 'cus_1',
    status: 'active',
    items: [item()],
    billingCycleAnchor: at('2026-06-10T10:30:05Z'),
    startAt: at('2026-06-10T10:30:05Z'),
    ...fields,
  };
}

function invoice(line: Partial<InvoiceLine>, fields: Partial<Invoice> = {}): Invoice {
  const lines = [{ id: 'il_1', stripeMeterId: METER, from: at('2026-06-01T00:00:00Z'), to: RANGE_END, ...line }];
  return {
    _id: 'in_1',
    stripeCustomerId: 'cus_1',
    status: 'paid',
    autoAdvance: true,
    createdAt: RANGE_END,
    lines,
    ...fields,
  };
}
const RANGE_END = at('2026-06-20T00:00:00Z');

function spans(known: Partial<BillingAtStripe>): [string, string, string][] {
  const found = unbilledSpans(METER, RANGE, { subscriptions: [], invoices: [], nowMs: RANGE.toMs, ...known });
  return found.map(({ reason, fromMs, toMs }) => [reason, text(fromMs), text(toMs)]);
}

function text(instantMs: number): string {
  return new Date(instantMs).toISOString().replace('.000Z', '').slice(5);
}

const [FROM, TO] = ['06-01T00:00:00', '06-20T00:00:00'];

describe('usage that nothing bills', () => {
  it('is all of it without a subscription, and where no item has a price on the meter', () => {
    expect(spans({})).toEqual([['no_subscription', FROM, TO]]);
    expect(spans({ subscriptions: [subscription({ status: 'incomplete_expired' })] })).toEqual([
      ['no_subscription', FROM, TO],
    ]);
    const other = subscription({ items: [item({ stripeMeterId: 'mtr_other' })] });
    expect(spans({ subscriptions: [other] })).toEqual([
      ['no_subscription', FROM, '06-10T10:30:05'],
      ['no_item_for_meter', '06-10T10:30:05', TO],
    ]);
  });

  it('is what was used before the item began, to the second', () => {
    expect(spans({ subscriptions: [subscription()] })).toEqual([['before_item', FROM, '06-10T10:30:05']]);
  });

  it('ends where an item was added to a subscription that had begun long before', () => {
    const [start, added] = [at('2026-05-10T00:00:00Z'), at('2026-06-05T07:08:09Z')];
    const grown = subscription({ startAt: start, createdAt: start, items: [item({ createdAt: added })] });
    expect(spans({ subscriptions: [grown] })).toEqual([['before_item', FROM, '06-05T07:08:09']]);
    // What is used within that hour is told apart by its stamp.
    expect(mirroredCalendar([grown])?.splitsMs).toContain(added.getTime());
  });

  it('is none where a subscription was put into the past with its items', () => {
    const made = at('2026-06-15T00:00:00Z');
    const backdated = subscription({
      startAt: at('2026-05-01T00:00:00Z'),
      createdAt: made,
      items: [item({ createdAt: made })],
    });
    expect(spans({ subscriptions: [backdated] })).toEqual([]);
  });

  it.each(['trialing', 'past_due', 'unpaid', 'active'])('is none of a subscription that is %s', (status) => {
    expect(spans({ subscriptions: [subscription({ status, startAt: at('2026-05-01T00:00:00Z') })] })).toEqual([]);
  });

  it('is told between two subscriptions, and by neither of two that overlap', () => {
    const first = subscription({ startAt: at('2026-05-10T00:00:00Z'), endedAt: at('2026-06-03T00:00:00Z') });
    const bills = invoice(
      { from: at('2026-05-10T00:00:00Z'), to: at('2026-06-03T00:00:00Z') },
      { createdAt: at('2026-06-03T00:00:00Z') },
    );
    expect(spans({ subscriptions: [first, subscription({ _id: 'sub_2' })], invoices: [bills] })).toEqual([
      ['before_item', '06-03T00:00:00', '06-10T10:30:05'],
    ]);
    const second = subscription({ _id: 'sub_2', startAt: at('2026-06-02T00:00:00Z') });
    expect(spans({ subscriptions: [first, second], invoices: [bills] })).toEqual([]);
  });

  it('is what came after the subscription ended, and its last period unless an invoice bills it', () => {
    const ended = at('2026-06-15T00:00:00Z');
    const cancelled = subscription({ status: 'canceled', endedAt: ended, startAt: at('2026-05-01T00:00:00Z') });
    const after: [string, string, string] = ['after_item', '06-15T00:00:00', TO];
    expect(spans({ subscriptions: [cancelled] })).toEqual([['no_invoice', '06-10T10:30:05', '06-15T00:00:00'], after]);
    const period = { from: at('2026-06-10T10:30:05Z'), to: ended };
    expect(spans({ subscriptions: [cancelled], invoices: [invoice(period, { createdAt: ended })] })).toEqual([after]);
    // Its invoice may be on its way for a while.
    const nowMs = ended.getTime() + 60_000;
    const range = { fromMs: RANGE.fromMs, toMs: nowMs };
    expect(unbilledSpans(METER, range, { subscriptions: [cancelled], invoices: [], nowMs })).toEqual([
      { reason: 'after_item', fromMs: ended.getTime(), toMs: nowMs },
    ]);
  });

  it('is not billed by a line over a period that had just begun, nor once the subscription is paused', () => {
    const ended = at('2026-06-15T00:00:00Z');
    const start = at('2026-06-01T00:00:00Z');
    const cancelled = subscription({ endedAt: ended, startAt: start, items: [item({ currentPeriodStart: start })] });
    const first = invoice({ from: start, to: at('2026-07-01T00:00:00Z') }, { createdAt: start, finalizedAt: start });
    expect(spans({ subscriptions: [cancelled], invoices: [first] })[0]).toEqual(['no_invoice', FROM, '06-15T00:00:00']);
    const paused = subscription({ status: 'paused', startAt: start, items: [item({ currentPeriodEnd: ended })] });
    expect(spans({ subscriptions: [paused] })).toEqual([['subscription_paused', '06-15T00:00:00', TO]]);
  });

  it('is none where an invoice bills it, whatever became of the items', () => {
    expect(spans({ invoices: [invoice({})] })).toEqual([]);
    expect(spans({ invoices: [invoice({ stripeMeterId: 'mtr_other' })] })).toEqual([['no_subscription', FROM, TO]]);
  });
});
