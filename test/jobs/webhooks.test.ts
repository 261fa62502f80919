import type { Db } from 'mongodb';
import { describe, expect, it } from 'vitest';
import type { MirrorAccountDeps } from '../../src/mirror/mirror-account.ts';
import { mirrorInvoice } from '../../src/mirror/mirror-invoice.ts';
import { mirrorSubscription } from '../../src/mirror/mirror-subscription.ts';
import { processWebhooks, type ProcessWebhooksDeps } from '../../src/webhooks/process-webhooks.ts';
import { putCustomer } from '../../src/customers/put-customer.ts';
import { mirrorCalendar, mirrorWaitingCalendars } from '../../src/mirror/mirror-calendar.ts';
import { requeueUsage } from '../../src/aggregation/requeue-usage.ts';
import { ManualClock } from '../../src/platform/clock.ts';
import type { Invoice } from '../../src/mirror/invoice.ts';
import type { Subscription } from '../../src/mirror/subscription.ts';
import { Refusals } from '../../src/stripe/stripe-refusal.ts';
import { topicOf, type WebhookEvent } from '../../src/webhooks/webhook.ts';
import { DaemonError } from '../../src/platform/errors.ts';
import { Customers } from '../../src/customers/customers-store.ts';
import { DirtyHours } from '../../src/usage/dirty-hours-store.ts';
import { InvoiceMirror } from '../../src/mirror/invoices-store.ts';
import { Meters } from '../../src/meters/meters-store.ts';
import { RawFacts } from '../../src/usage/raw-facts-store.ts';
import { SubscriptionMirror } from '../../src/mirror/subscriptions-store.ts';
import { UsageAggregates } from '../../src/aggregation/usage-aggregates-store.ts';
import { UsagePeriods } from '../../src/aggregation/usage-periods-store.ts';
import { WebhookInbox } from '../../src/webhooks/webhook-inbox-store.ts';
import { withDatabase } from '../support/services.ts';

const NOW_MS = Date.parse('2026-02-28T12:00:00Z');
const at = (text: string): Date => new Date(text);

/** What Stripe has at a moment, by id. */
interface Present {
  readonly subscriptions: Map<string, Subscription>;
  readonly invoices: Map<string, Invoice>;
}

interface Parts {
  readonly db: Db;
  readonly clock: ManualClock;
  readonly present: Present;
  readonly inbox: WebhookInbox;
  readonly mirror: MirrorAccountDeps;
  /** Records events, processes what is due, and says what came of it. */
  readonly process: (
    events: readonly WebhookEvent[],
    handlers?: Partial<ProcessWebhooksDeps['handlers']>,
    pace?: () => Promise<void>,
  ) => ReturnType<typeof processWebhooks>;
  readonly mapCustomer: (customerId: string, stripeCustomerId: string) => Promise<void>;
}

function withParts(use: (parts: Parts) => Promise<void>): Promise<void> {
  return withDatabase(async (db) => {
    const clock = new ManualClock(NOW_MS);
    const present: Present = { subscriptions: new Map(), invoices: new Map() };
    const inbox = new WebhookInbox(db);
    const customers = new Customers(db);
    const mirror: MirrorAccountDeps = {
      customers,
      subscriptions: new SubscriptionMirror(db),
      invoices: new InvoiceMirror(db),
      usage: new UsageAggregates(db),
      clock,
      fetchSubscription: (id) => Promise.resolve(present.subscriptions.get(id)),
      fetchInvoice: (id) => Promise.resolve(present.invoices.get(id)),
      async *listSubscriptions() {
        yield* present.subscriptions.values();
      },
      async *listInvoices() {
        yield* present.invoices.values();
      },
    };
    const silent = { warn: () => {}, error: () => {} };
    await use({
      db,
      clock,
      present,
      inbox,
      mirror,
      process: async (events, handlers = {}, pace = () => Promise.resolve()) => {
        const isHandled = (event: WebhookEvent): boolean => topicOf(event) !== undefined;
        await inbox.record(events, { at: new Date(clock.now()), source: 'delivery', isHandled });
        return processWebhooks({
          inbox,
          handlers: {
            subscription: (id) => mirrorSubscription(mirror, id),
            invoice: (id) => mirrorInvoice(mirror, id),
            'error-report': () => Promise.resolve(),
            ...handlers,
          },
          pace,
          random: () => 0.5,
          clock,
          log: silent,
        });
      },
      mapCustomer: async (customerId, stripeCustomerId) => {
        const deps = { clock, customers, usage: new UsageAggregates(db) };
        await putCustomer(deps, { customerId, change: { stripeCustomerId } });
      },
    });
  });
}

function subscription(id: string, fields: Partial<Subscription> = {}): Subscription {
  return {
    _id: id,
    stripeCustomerId: `cus_${id}`,
    status: 'active',
    items: [
      {
        id: `si_${id}`,
        priceId: 'price_1',
        stripeMeterId: 'mtr_1',
        interval: 'month',
        intervalCount: 1,
        currentPeriodStart: at('2026-01-31T10:23:45Z'),
        currentPeriodEnd: at('2026-02-28T10:23:45Z'),
      },
    ],
    billingCycleAnchor: at('2026-01-31T10:23:45Z'),
    startAt: at('2026-01-31T10:23:45Z'),
    ...fields,
  };
}

function invoice(id: string, fields: Partial<Invoice> = {}): Invoice {
  return {
    _id: id,
    stripeCustomerId: `cus_${id}`,
    status: 'draft',
    billingReason: 'subscription_cycle',
    autoAdvance: true,
    createdAt: at('2026-02-28T10:23:45Z'),
    lines: [
      {
        id: `il_${id}`,
        stripeMeterId: 'mtr_1',
        from: at('2026-01-31T10:23:45Z'),
        to: at('2026-02-28T10:23:45Z'),
        quantityDecimal: '12.5',
      },
    ],
    ...fields,
  };
}

let count = 0;

function event(type: string, objectId: string, fields: Partial<WebhookEvent> = {}): WebhookEvent {
  count += 1;
  return { id: `evt_${count}`, kind: 'snapshot', type, objectId, createdAtMs: NOW_MS, isLive: false, ...fields };
}

describe('the five events of a renewal whose payment fails at first', () => {
  const finalizedAt = at('2026-02-28T11:30:00Z');
  /** What happens at Stripe, and what it tells of it. */
  const STAGES: readonly { type: string; happens: (present: Present, id: string) => void }[] = [
    {
      type: 'customer.subscription.updated',
      happens: ({ subscriptions }, id) => {
        const renewed = subscription(id);
        const items = renewed.items.map((item) => ({
          ...item,
          currentPeriodStart: at('2026-02-28T10:23:45Z'),
          currentPeriodEnd: at('2026-03-31T10:23:45Z'),
        }));
        subscriptions.set(id, { ...renewed, items });
      },
    },
    { type: 'invoice.created', happens: ({ invoices }, id) => void invoices.set(id, invoice(id)) },
    {
      type: 'invoice.finalized',
      happens: ({ invoices }, id) => {
        const lines = invoice(id).lines.map((line) => ({ ...line, quantityDecimal: '13' }));
        invoices.set(id, invoice(id, { status: 'open', finalizedAt, lines }));
      },
    },
    {
      type: 'invoice.payment_failed',
      happens: ({ invoices }, id) =>
        void invoices.set(id, { ...(invoices.get(id) ?? invoice(id)), autoAdvance: false }),
    },
    {
      type: 'invoice.paid',
      happens: ({ invoices }, id) => void invoices.set(id, { ...(invoices.get(id) ?? invoice(id)), status: 'paid' }),
    },
  ];

  it('end in the same state in each of their 120 orders, each of them also twice', { timeout: 60_000 }, () =>
    withParts(async ({ db, present, process, mapCustomer }) => {
      const orders = permutations(STAGES.map((_stage, index) => index));
      expect(orders).toHaveLength(120);
      const ids = orders.map((_order, index) => `o${index}`);
      await Promise.all(ids.map((id) => mapCustomer(`acme-${id}`, `cus_${id}`)));
      const happened = new Map<string, number>();
      const told = new Map<string, WebhookEvent>();
      for (let round = 0; round < STAGES.length; round += 1) {
        const delivered = orders.flatMap((order, index) => {
          const id = ids[index] ?? '';
          const stage = order[round] ?? 0;
          // Stripe tells nothing before it has happened, and by then more may have happened.
          for (let next = happened.get(id) ?? 0; next <= stage; next += 1) {
            STAGES[next]?.happens(present, id);
            happened.set(id, next + 1);
          }
          const first = event(STAGES[stage]?.type ?? '', id);
          const twin = event(STAGES[stage]?.type ?? '', id);
          const earlier = told.get(id);
          told.set(id, first);
          return [first, first, twin, ...(earlier === undefined ? [] : [earlier])];
        });
        await process(delivered);
      }
      const states = await Promise.all(ids.map((id) => stateOf(db, id)));
      expect(new Set(states).size).toBe(1);
      expect(JSON.parse(states[0] ?? '')).toMatchObject({
        subscription: { status: 'active', items: [{ currentPeriodEnd: '2026-03-31T10:23:45.000Z' }] },
        invoice: { status: 'paid', finalizedAt: finalizedAt.toISOString(), lines: [{ quantityDecimal: '13' }] },
        customer: { calendars: [{ source: 'subscription', anchor: '2026-01-31T10:23:45.000Z' }] },
      });
      expect(await db.collection('webhook_inbox').countDocuments({ state: { $ne: 'done' } })).toBe(0);
    }),
  );

  /** What is stored of one customer, as text without its ids and without the counters of the fences. */
  async function stateOf(db: Db, id: string): Promise<string> {
    const [found, stored, customer] = await Promise.all([
      db.collection<{ _id: string }>('subscriptions').findOne({ _id: id }, { projection: { mirrorRevision: 0 } }),
      new InvoiceMirror(db).find(id),
      db
        .collection<{ _id: string }>('customers')
        .findOne({ _id: `acme-${id}` }, { projection: { revision: 0, createdAt: 0, updatedAt: 0 } }),
    ]);
    const { mirrorRevision: _revision, ...rest } = stored ?? { mirrorRevision: 0 };
    return JSON.stringify({ subscription: found, invoice: rest, customer }).replaceAll(id, 'ID');
  }

  function permutations<T>(items: readonly T[]): T[][] {
    if (items.length <= 1) return [[...items]];
    return items.flatMap((item, index) => permutations(items.toSpliced(index, 1)).map((rest) => [item, ...rest]));
  }
});

describe('a fetch that overlaps another one', () => {
  it('is repeated rather than stored over a newer one', async () => {
    await withParts(async ({ mirror, present }) => {
      present.subscriptions.set('sub_1', subscription('sub_1', { status: 'trialing' }));
      let release = (): void => {};
      const held = new Promise<void>((resolve) => (release = resolve));
      let fetches = 0;
      const slow: MirrorAccountDeps = {
        ...mirror,
        fetchSubscription: async (id) => {
          const found = present.subscriptions.get(id);
          fetches += 1;
          if (fetches === 1) await held;
          return found;
        },
      };
      const first = mirrorSubscription(slow, 'sub_1');
      present.subscriptions.set('sub_1', subscription('sub_1', { status: 'active' }));
      await mirrorSubscription(mirror, 'sub_1');
      release();
      await first;
      expect(fetches).toBe(2);
      expect(await mirror.subscriptions.find('sub_1')).toMatchObject({ status: 'active', mirrorRevision: 2 });
    });
  });

  it('of an invoice that is deleted meanwhile leaves none behind', async () => {
    await withParts(async ({ mirror, present }) => {
      present.invoices.set('in_1', invoice('in_1'));
      await mirrorInvoice(mirror, 'in_1');
      present.invoices.delete('in_1');
      expect(await mirrorInvoice(mirror, 'in_1')).toBeUndefined();
      expect(await mirror.invoices.find('in_1')).toBeNull();
      expect(await mirrorInvoice(mirror, 'in_1')).toBeUndefined();
    });
  });
});

describe('an object that Stripe does not have', () => {
  it('is nothing when it was never mirrored, and never forgotten when it was', async () => {
    await withParts(async ({ mirror, present }) => {
      await mirrorSubscription(mirror, 'sub_none');
      present.subscriptions.set('sub_1', subscription('sub_1'));
      present.invoices.set('in_1', invoice('in_1', { status: 'open' }));
      await mirrorSubscription(mirror, 'sub_1');
      await mirrorInvoice(mirror, 'in_1');
      present.subscriptions.clear();
      present.invoices.clear();
      const missing = { kind: 'rejected', code: 'stripe_object_missing' };
      await expect(mirrorSubscription(mirror, 'sub_1')).rejects.toMatchObject(missing);
      await expect(mirrorInvoice(mirror, 'in_1')).rejects.toMatchObject(missing);
      expect(await mirror.subscriptions.find('sub_1')).not.toBeNull();
      expect(await mirror.invoices.find('in_1')).not.toBeNull();
    });
  });
});

describe('the calendar of a customer', () => {
  it('waits for the customer to be mapped, without making one', async () => {
    await withParts(async ({ db, mirror, present }) => {
      present.subscriptions.set('sub_1', subscription('sub_1'));
      await mirrorSubscription(mirror, 'sub_1');
      expect(await mirrorWaitingCalendars(mirror, new Refusals())).toBe(0);
      expect(await db.collection('customers').countDocuments({})).toBe(0);
      expect(await db.collection('subscriptions').countDocuments({ calendarDue: true })).toBe(1);
    });
  });

  it('is looked at once more before its hours are queued: who read too early may have set it last', async () => {
    await withParts(async ({ db, clock, mirror, present, mapCustomer }) => {
      await mapCustomer('acme', 'cus_1');
      present.subscriptions.set('sub_1', subscription('sub_1', { stripeCustomerId: 'cus_1' }));
      await mirrorSubscription(mirror, 'sub_1');
      await mirror.customers.setMirroredCalendar('acme', undefined, new Date(clock.now()));
      const requeue = (): ReturnType<typeof requeueUsage> =>
        requeueUsage({
          clock,
          mirrorCalendar: (customerId) => mirrorCalendar(mirror, customerId),
          customers: new Customers(db),
          meters: new Meters(db),
          usageEvents: new RawFacts(db),
          dirtyHours: new DirtyHours(db),
          aggregates: new UsageAggregates(db),
          periods: new UsagePeriods(db),
        });
      expect(await requeue()).toMatchObject({ customers: 1 });
      const customer = await new Customers(db).find('acme');
      expect(customer?.calendars.at(-1)).toMatchObject({ source: 'subscription' });
      expect(customer).not.toHaveProperty('requeueFrom');
    });
  });

  it("is that of Stripe's own id once usage came under it", async () => {
    await withParts(async ({ db, mirror, present }) => {
      present.subscriptions.set('sub_1', subscription('sub_1', { stripeCustomerId: 'cus_1' }));
      await mirrorSubscription(mirror, 'sub_1');
      await db.collection<{ _id: object }>('usage_aggregates').insertOne({
        _id: { customerId: 'cus_1', meter: 'm', windowStart: at('2026-02-01T00:00:00Z') },
      });
      expect(await mirrorWaitingCalendars(mirror, new Refusals())).toBe(1);
      expect(await db.collection<{ _id: string }>('customers').findOne({ _id: 'cus_1' })).toMatchObject({
        stripeCustomerId: 'cus_1',
        calendars: [{ source: 'subscription' }],
      });
      expect(await db.collection('subscriptions').countDocuments({ calendarDue: true })).toBe(0);
      expect(await mirrorWaitingCalendars(mirror, new Refusals())).toBe(0);
    });
  });
});

describe('an event that could not be dealt with', () => {
  const away = new DaemonError({ kind: 'transient', code: 'stripe_unavailable', message: 'Away.' });
  const refused = new DaemonError({ kind: 'rejected', code: 'stripe_refused', message: 'No.' });

  it('is tried again, later each time, for as long as Stripe does not answer', async () => {
    await withParts(async ({ clock, inbox, process }) => {
      const invoiceAway = { invoice: () => Promise.reject(away) };
      const [told] = [event('invoice.paid', 'in_1')];
      const delays: number[] = [];
      for (let attempt = 0; attempt < 40; attempt += 1) {
        expect(await process(attempt === 0 ? [told] : [], invoiceAway)).toMatchObject({ postponed: 1, failed: 0 });
        const entry = await inbox.find(told.id);
        delays.push((entry?.dueAt?.getTime() ?? 0) - clock.now());
        expect(await process([], invoiceAway)).toMatchObject({ done: 0, postponed: 0 });
        clock.advance(delays.at(-1) ?? 0);
      }
      expect(delays.slice(0, 4)).toEqual([5_000, 10_000, 20_000, 40_000]);
      expect(delays.at(-1)).toBe(3_600_000);
      expect(await process([])).toMatchObject({ done: 1, invoices: 1 });
    });
  });

  it('fails after a number of refusals, stays to be seen, and can be tried again', async () => {
    await withParts(async ({ clock, inbox, process }) => {
      const told = event('customer.subscription.updated', 'sub_1');
      const handlers = { subscription: () => Promise.reject(refused) };
      let result = await process([told], handlers);
      for (; result.postponed === 1; result = await process([], handlers)) clock.advance(3_600_000);
      expect(result).toMatchObject({ failed: 1 });
      expect(await inbox.find(told.id)).toMatchObject({
        state: 'failed',
        attempts: 14,
        error: { code: 'stripe_refused' },
      });
      expect(await inbox.census()).toMatchObject([{ state: 'failed', count: 1 }]);
      expect(await inbox.prune(new Date(8.64e15))).toBe(0);
      expect(await inbox.retry(told.id, new Date(clock.now()))).toBe(true);
      expect(await process([])).toMatchObject({ done: 1 });
      expect(await inbox.prune(new Date(8.64e15))).toBe(1);
    });
  });

  it('does not keep the others from being dealt with, and an outage ends the run', async () => {
    await withParts(async ({ process }) => {
      const poison = event('invoice.paid', 'in_poison');
      const others = Array.from({ length: 20 }, (_, index) => event('invoice.paid', `in_${index}`));
      const invoiceHandler = (id: string): Promise<void> =>
        id === 'in_poison' ? Promise.reject(new TypeError('poison')) : Promise.resolve();
      expect(await process([poison, ...others], { invoice: invoiceHandler })).toMatchObject({ done: 20, postponed: 1 });
      const more = Array.from({ length: 20 }, (_, index) => event('invoice.paid', `in_${index}`));
      let calls = 0;
      const outage = { invoice: () => Promise.reject(away).finally(() => (calls += 1)) };
      expect(await process(more, outage)).toMatchObject({ done: 0, postponed: 8 });
      expect(calls).toBe(8);
    });
  });

  it('is one of thousands about few objects that are one fetch each, at the pace that is given', async () => {
    await withParts(async ({ process }) => {
      const backlog = Array.from({ length: 3_000 }, (_, index) => event('invoice.paid', `in_${index % 3}`));
      const told: string[] = [];
      const fetched = (id: string): Promise<void> => Promise.resolve(void told.push(id));
      const pace = (): Promise<void> => Promise.resolve(void told.push('pace'));
      expect(await process(backlog, { invoice: fetched }, pace)).toMatchObject({ done: 3_000, invoices: 3_000 });
      expect(told.filter((id) => id !== 'pace').sort()).toEqual(['in_0', 'in_1', 'in_2']);
      expect(told.filter((id) => id === 'pace')).toHaveLength(3);
    });
  });

  it('is one of several about the same object that are one fetch, and a report is handled by its own id', async () => {
    await withParts(async ({ process }) => {
      const handled: string[] = [];
      const keep = (id: string): Promise<void> => Promise.resolve(void handled.push(id));
      const types = ['invoice.created', 'invoice.finalized', 'invoice.paid'];
      const report = event('v1.billing.meter.no_meter_found', 'mtr_1', { kind: 'thin' });
      const again = event('v1.billing.meter.no_meter_found', 'mtr_1', { kind: 'thin' });
      const result = await process([...types.map((type) => event(type, 'in_1')), report, again], {
        invoice: keep,
        'error-report': keep,
      });
      expect(handled.sort()).toEqual([report.id, again.id, 'in_1'].sort());
      expect(result).toMatchObject({ done: 5, invoices: 3 });
    });
  });
});
