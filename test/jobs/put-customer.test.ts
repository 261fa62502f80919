import type { Db } from 'mongodb';
import { describe, expect, it } from 'vitest';
import { putCustomer, type PutCustomerDeps } from '../../src/customers/put-customer.ts';
import { ManualClock } from '../../src/platform/clock.ts';
import type { Customer, CustomerChange } from '../../src/customers/customer.ts';
import { CALENDAR_CHANGES_MAX } from '../../src/customers/calendar/customer-calendar.ts';
import { Customers } from '../../src/customers/customers-store.ts';
import { ensureIndexes } from '../../src/daemon/indexes-store.ts';
import { UsageAggregates } from '../../src/aggregation/usage-aggregates-store.ts';
import { withDatabase } from '../support/services.ts';
import { derive, meterOf, ms, storeEvents, storeMeters } from '../support/usage.ts';

const NOW = '2026-11-21T05:30:00Z';
const at = (text: string): Date => new Date(text);

function depsOf(db: Db, now = NOW): PutCustomerDeps {
  return { clock: new ManualClock(ms(now)), customers: new Customers(db), usage: new UsageAggregates(db) };
}

function put(db: Db, change: CustomerChange, customerId = 'acme', now = NOW): ReturnType<typeof putCustomer> {
  return putCustomer(depsOf(db, now), { customerId, change });
}

/** Puts changes one after the other, and returns the customer. */
function afterAll(changes: readonly CustomerChange[], customerId = 'acme'): Promise<Customer | null> {
  return withDatabase(async (db) => {
    await ensureIndexes(db);
    for (const change of changes) await put(db, change, customerId);
    return new Customers(db).find(customerId);
  });
}

describe('putCustomer', () => {
  it('creates a customer, then changes the given fields only, and clears those that are null', async () => {
    await withDatabase(async (db) => {
      const first = await put(db, { name: 'Acme', email: 'a@acme.test', timeZone: 'Europe/Berlin', currency: 'EUR' });
      expect(first.created).toBe(true);
      expect(first.customer).toMatchObject({ name: 'Acme', currency: 'eur', revision: 1, calendars: [] });
      const second = await put(db, { name: 'Acme Ltd', email: null }, 'acme', '2026-11-22T00:00:00Z');
      expect(second.created).toBe(false);
      const stored = await new Customers(db).find('acme');
      expect(stored).toEqual(second.customer);
      expect(stored).toMatchObject({ name: 'Acme Ltd', timeZone: 'Europe/Berlin', revision: 2, createdAt: at(NOW) });
      expect(stored).not.toHaveProperty('email');
    });
  });

  it('changes nothing when the same is put again', async () => {
    const change = { stripeCustomerId: 'cus_1', billingAnchor: '2026-11-15T10:23:45Z', name: 'Acme' };
    expect(await afterAll([change, change, {}])).toMatchObject({ revision: 1 });
  });

  it('maps from the start of the open billing period, and makes planning look there', async () => {
    expect(await afterAll([{ stripeCustomerId: 'cus_1' }])).toMatchObject({
      submitFrom: at('2026-11-01T00:00:00Z'),
      requeueFrom: at('2026-11-01T00:00:00Z'),
    });
    expect(await afterAll([{ stripeCustomerId: 'cus_1', billingAnchor: '2026-01-15T10:23:45Z' }])).toMatchObject({
      submitFrom: at('2026-11-15T10:23:45Z'),
    });
  });

  it('keeps where submission began when the customer is mapped anew, and queues from there', async () => {
    const changes = [
      { stripeCustomerId: 'cus_1' },
      { submitFrom: '2026-11-10T00:00:00Z' },
      { stripeCustomerId: 'cus_2' },
    ];
    expect(await afterAll(changes)).toMatchObject({
      stripeCustomerId: 'cus_2',
      submitFrom: at('2026-11-10T00:00:00Z'),
    });
  });

  it('moves the default back when the anchor comes after the mapping and opens the period earlier', async () => {
    const changes = [{ stripeCustomerId: 'cus_1' }, { billingAnchor: '2026-01-25T00:00:00Z' }];
    expect(await afterAll(changes)).toMatchObject({ submitFrom: at('2026-10-25T00:00:00Z') });
  });

  it('queues from an earlier submitFrom, and not from a later one', async () => {
    const earlier = await afterAll([{ stripeCustomerId: 'cus_1' }, { submitFrom: '2026-10-05T00:00:00Z' }]);
    expect(earlier).toMatchObject({ requeueFrom: at('2026-10-05T00:00:00Z') });
    const later = await afterAll([{ stripeCustomerId: 'cus_1' }, { submitFrom: '2026-11-05T00:00:00Z' }]);
    expect(later).toMatchObject({ submitFrom: at('2026-11-05T00:00:00Z'), requeueFrom: at('2026-11-01T00:00:00Z') });
    const cleared = await afterAll([
      { stripeCustomerId: 'cus_1', submitFrom: '2026-10-05T00:00:00Z' },
      { submitFrom: null },
    ]);
    expect(cleared).toMatchObject({ submitFrom: at('2026-11-01T00:00:00Z') });
  });

  it('appends every change of the calendar and queues from the earlier start of the open period', async () => {
    const changes: CustomerChange[] = [
      { name: 'Acme' },
      { billingAnchor: '2026-11-15T10:23:45Z' },
      { billingInterval: 'year' },
      { billingAnchor: null },
    ];
    expect(await afterAll(changes.slice(0, 2))).toMatchObject({
      calendars: [{ layout: 1, anchor: at('2026-11-15T10:23:45Z'), interval: 'month' }],
      requeueFrom: at('2026-11-01T00:00:00Z'),
    });
    const customer = await afterAll(changes);
    expect(customer?.calendars).toEqual([
      { layout: 1, anchor: at('2026-11-15T10:23:45Z'), interval: 'month' },
      { layout: 2, anchor: at('2026-11-15T10:23:45Z'), interval: 'year' },
      { layout: 3 },
    ]);
    expect(customer).not.toHaveProperty('billingInterval');
  });

  it('takes the monthly default for an interval as no change', async () => {
    const changes = [{ billingAnchor: '2026-11-15T10:23:45Z' }, { billingInterval: 'month' as const }];
    expect((await afterAll(changes))?.calendars).toHaveLength(1);
  });

  it('maps an id of Stripe to itself, without a bound', async () => {
    const customer = await afterAll([{ name: 'Acme' }], 'cus_1');
    expect(customer).toMatchObject({ stripeCustomerId: 'cus_1' });
    expect(customer).not.toHaveProperty('submitFrom');
  });

  it.each([
    ['another customer has', async (db: Db) => put(db, { stripeCustomerId: 'cus_1' }, 'other')],
    ['maps to itself', async (db: Db) => put(db, {}, 'cus_1')],
    [
      'has usage of its own',
      async (db: Db) => {
        await storeMeters(db, [meterOf({ key: 'm' })]);
        await derive(db, await storeEvents(db, [{ at: NOW, customerId: 'cus_1' }]));
      },
    ],
  ] as [string, (db: Db) => Promise<unknown>][])('refuses a Stripe customer that %s', async (_, prepare) => {
    await withDatabase(async (db) => {
      await ensureIndexes(db);
      await prepare(db);
      const error = { kind: 'conflict', code: 'stripe_customer_taken' };
      await expect(put(db, { stripeCustomerId: 'cus_1' })).rejects.toMatchObject(error);
      expect(await new Customers(db).find('acme')).toBeNull();
    });
  });

  it('leaves usage of an id of Stripe without destination once another customer has it', async () => {
    await withDatabase(async (db) => {
      await put(db, { stripeCustomerId: 'cus_1' });
      const billing = await new Customers(db).billingOf(['cus_1', 'cus_2', 'acme']);
      const mapped = [...billing.values()].map(({ stripeCustomerId }) => stripeCustomerId);
      expect(mapped).toEqual([undefined, 'cus_2', 'cus_1']);
    });
  });

  it.each([
    ['/stripeCustomerId', { stripeCustomerId: 'acct_1' }],
    ['/billingAnchor', { billingAnchor: '2026-11-15T10:23:45.5Z' }],
    ['/billingAnchor', { billingAnchor: '2026-11-15' }],
    ['/billingInterval', { billingInterval: 'month' }],
    ['/timeZone', { timeZone: 'Europe/Nowhere' }],
    ['/timeZone', { timeZone: '+02:00' }],
    ['/currency', { currency: 'euro' }],
    ['/email', { email: 'nobody' }],
    ['/name', { name: 'a\u0000b' }],
    ['/name', { name: 'M\ufffdller' }],
    ['/submitFrom', { submitFrom: 'yesterday' }],
  ] as [string, CustomerChange][])('refuses what breaks a rule at %s: %o', async (pointer, change) => {
    await withDatabase(async (db) => {
      const error = { kind: 'invalid', code: 'customer_invalid', context: { pointer } };
      await expect(put(db, change)).rejects.toMatchObject(error);
    });
  });

  it('refuses a calendar that changes without end', async () => {
    await withDatabase(async (db) => {
      const calendars = Array.from({ length: CALENDAR_CHANGES_MAX }, (_, index) => ({ layout: index + 1 }));
      const document = { _id: 'acme', calendars, revision: 1, createdAt: at(NOW), updatedAt: at(NOW) };
      await new Customers(db).save(document, undefined);
      const error = { code: 'calendar_changes_too_many' };
      await expect(put(db, { billingAnchor: '2026-11-15T10:00:00Z' })).rejects.toMatchObject(error);
    });
  });

  it('loses none of many changes made at once', async () => {
    await withDatabase(async (db) => {
      await ensureIndexes(db);
      const changes = [{ name: 'Acme' }, { email: 'a@acme.test' }, { currency: 'eur' }, { timeZone: 'Europe/Berlin' }];
      await Promise.all(changes.map((change) => put(db, change)));
      expect(await new Customers(db).find('acme')).toMatchObject(Object.assign({ revision: 4 }, ...changes));
    });
  });
});
