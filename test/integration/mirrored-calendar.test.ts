import { describe, expect, it } from 'vitest';
import { putCustomer } from '../../src/customers/put-customer.ts';
import { ManualClock } from '../../src/platform/clock.ts';
import type { HourCuts } from '../../src/customers/calendar/window.ts';
import { Customers } from '../../src/customers/customers-store.ts';
import { UsageAggregates } from '../../src/aggregation/usage-aggregates-store.ts';
import { withDatabase } from '../support/services.ts';
import { ms } from '../support/usage.ts';

const NOW = new Date('2026-11-21T05:30:00Z');
const cutsAt = (anchor: string): HourCuts => ({ calendar: { anchorMs: ms(anchor), interval: 'month' } });
const CUTS = cutsAt('2026-11-15T10:23:45Z');

describe('setMirroredCalendar', () => {
  it('changes the calendar and marks its hours in one write, and writes nothing when nothing changes', async () => {
    await withDatabase(async (db) => {
      const customers = new Customers(db);
      expect(await customers.setMirroredCalendar('acme', undefined, NOW)).toBe(false);
      expect(await customers.find('acme')).toBeNull();
      expect(await customers.setMirroredCalendar('acme', CUTS, NOW)).toBe(true);
      const requeueFrom = new Date('2026-11-01T00:00:00Z');
      expect(await customers.find('acme')).toMatchObject({ calendars: [{ layout: 1 }], requeueFrom, revision: 1 });
      expect(await customers.setMirroredCalendar('acme', CUTS, NOW)).toBe(false);
      expect(await customers.find('acme')).toMatchObject({ revision: 1 });
      const billing = (await customers.billingOf(['acme'])).get('acme');
      expect(billing?.calendars.at(-1)).toEqual({ layout: 1, ...CUTS });
    });
  });

  it('loses nothing of changes that are made at the same time', async () => {
    await withDatabase(async (db) => {
      const customers = new Customers(db);
      const deps = { clock: new ManualClock(NOW.getTime()), customers, usage: new UsageAggregates(db) };
      await Promise.all([
        putCustomer(deps, { customerId: 'acme', change: { billingAnchor: '2026-11-10T00:00:00Z' } }),
        customers.setMirroredCalendar('acme', CUTS, NOW),
        putCustomer(deps, { customerId: 'acme', change: { name: 'Acme' } }),
      ]);
      const found = await customers.find('acme');
      expect(found).toMatchObject({ name: 'Acme', billingAnchor: new Date('2026-11-10T00:00:00Z') });
      expect(found?.calendars.at(-1)).toMatchObject({
        source: 'subscription',
        anchor: new Date(CUTS.calendar.anchorMs),
      });
    });
  });
});
