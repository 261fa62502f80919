import { afterEach, describe, expect, it } from 'vitest';
import { requeueUsage } from '../../src/aggregation/requeue-usage.ts';
import { onBoundary } from '../../src/platform/boundary.ts';
import { billingPeriodOf } from '../../src/customers/calendar/billing-customer.ts';
import type { MirroredCalendar } from '../../src/customers/calendar/customer-calendar.ts';
import { isWithin, type Period } from '../../src/customers/calendar/period.ts';
import type { HourCuts } from '../../src/customers/calendar/window.ts';
import { closePeriod, listLate } from '../support/late-usage.ts';
import { type Pipeline, withPipeline } from '../support/pipeline.ts';
import { type EventInput, ingestEvents, meterOf, ms, storeMeters } from '../support/usage.ts';

afterEach(() => onBoundary(undefined));

const METERS = [
  meterOf({ key: 'calls', stripe: { eventName: 'calls' } }),
  meterOf({ key: 'peak', aggregation: 'max', stripe: { eventName: 'peak' } }),
  meterOf({ key: 'level', aggregation: 'last', stripe: { eventName: 'level' } }),
  meterOf({ key: 'seats', aggregation: 'unique', uniqueBy: { kind: 'userId' }, stripe: { eventName: 'seats' } }),
];

const monthly = (anchor: string): HourCuts => ({ calendar: { anchorMs: ms(anchor), interval: 'month' } });
const BOUNDARY = monthly('2026-06-08T10:23:45Z');

/** Usage on both sides of every boundary that the tests move, in the same hours too. */
const EVENTS: readonly EventInput[] = [
  { at: '2026-05-20T08:00:00Z', quantity: '80', userId: 'a' },
  { at: '2026-05-31T23:10:00Z', quantity: '90', userId: 'b' },
  { at: '2026-06-02T09:00:00Z', quantity: '40', userId: 'a' },
  { at: '2026-06-05T09:00:00Z', quantity: '100', userId: 'c' },
  { at: '2026-06-08T10:00:10Z', quantity: '20', userId: 'a' },
  { at: '2026-06-08T10:23:44.999Z', quantity: '120', userId: 'd' },
  { at: '2026-06-08T10:23:45Z', quantity: '30', userId: 'd' },
  { at: '2026-06-08T10:50:00Z', quantity: '35', userId: 'e' },
  { at: '2026-06-09T00:00:00Z', quantity: '140', userId: 'c' },
  { at: '2026-06-14T15:00:00Z', quantity: '60.5', userId: 'f' },
];

/** Where a change is stopped. */
const STOPS = [
  'aggregate.windows-emptied',
  'aggregate.windows-merged',
  'aggregate.periods-merged',
  'plan.submissions-inserted',
  'plan.rows-moved',
  'submit.answered',
];

/** What a meter counts of some events: worked out from them alone. */
function figureOf(meter: string, events: readonly EventInput[]): number {
  const inOrder = [...events].sort((a, b) => ms(a.at) - ms(b.at));
  const quantities = inOrder.map(({ quantity }) => Number(quantity));
  if (meter === 'calls') return quantities.reduce((sum, quantity) => sum + quantity, 0);
  if (meter === 'peak') return Math.max(0, ...quantities);
  if (meter === 'level') return quantities.at(-1) ?? 0;
  return new Set(inOrder.map(({ userId }) => userId)).size;
}

/** What Stripe counted of each meter in a period. */
function countedIn(pipeline: Pipeline, period: Period): Record<string, number> {
  const counted: Record<string, number> = {};
  for (const { eventName, value, timestamp } of pipeline.simulator.meterEvents()) {
    if (isWithin(period, timestamp * 1000)) counted[eventName] = (counted[eventName] ?? 0) + Number(value);
  }
  return Object.fromEntries(METERS.map(({ key }) => [key, counted[key] ?? 0]));
}

function expectedIn(events: readonly EventInput[], period: Period): Record<string, number> {
  const inside = events.filter(({ at }) => isWithin(period, ms(at)));
  return Object.fromEntries(METERS.map(({ key }) => [key, figureOf(key, inside)]));
}

async function present(pipeline: Pipeline, instantMs: number): Promise<Period> {
  const customer = (await pipeline.stores.customers.billingOf(['acme'])).get('acme');
  if (customer === undefined) throw new Error('no customer');
  return billingPeriodOf(customer, instantMs);
}

async function settle(pipeline: Pipeline): Promise<void> {
  const { stores, clock } = pipeline;
  await requeueUsage({
    clock,
    // The tests set calendars without subscriptions.
    mirrorCalendar: () => Promise.resolve(false),
    customers: stores.customers,
    meters: stores.meters,
    usageEvents: stores.rawFacts,
    dirtyHours: stores.dirtyHours,
    aggregates: stores.usageAggregates,
    periods: stores.usagePeriods,
  });
  for (const job of ['aggregate-usage', 'submit-meter-events']) await pipeline.run(job);
}

async function move(pipeline: Pipeline, cuts: MirroredCalendar | undefined): Promise<void> {
  await pipeline.stores.customers.setMirroredCalendar('acme', cuts, new Date(pipeline.clock.now()));
}

async function prepare(pipeline: Pipeline): Promise<string> {
  await storeMeters(pipeline.stores.database.db, METERS);
  await pipeline.run('sync-meters');
  return pipeline.mapCustomer('acme');
}

/** Stripe's totals in the periods whose invoices may be drafts are the figures of those periods. */
async function expectEqualTotals(pipeline: Pipeline, events: readonly EventInput[]): Promise<void> {
  const current = await present(pipeline, pipeline.clock.now());
  const former = await present(pipeline, current.fromMs - 1);
  for (const period of [former, current]) {
    const name = new Date(period.fromMs).toISOString();
    expect({ name, ...countedIn(pipeline, period) }).toEqual({ name, ...expectedIn(events, period) });
  }
}

describe('a billing calendar that is learnt or moved after submission', () => {
  it.each([
    ['learnt late', [BOUNDARY]],
    ['moved', [monthly('2026-06-03T00:00:00Z'), BOUNDARY]],
    ['moved to another second of the same hour', [monthly('2026-06-08T10:00:05Z'), BOUNDARY]],
    ['moved and moved back', [BOUNDARY, monthly('2026-05-30T09:30:00Z'), BOUNDARY]],
    ['set anew while it runs', [monthly('2026-05-30T09:30:00Z'), { ...BOUNDARY, sinceMs: ms('2026-06-08T10:23:45Z') }]],
    ['given up', [BOUNDARY, undefined]],
    [
      'of months, then of two, then of days',
      [
        BOUNDARY,
        { calendar: { anchorMs: ms('2026-06-08T10:23:45Z'), interval: 'month', count: 2 } },
        { calendar: { anchorMs: ms('2026-06-08T10:23:45Z'), interval: 'day' } },
      ],
    ],
  ] as [string, (MirroredCalendar | undefined)[]][])(
    'leaves in each of its periods what that period came to: %s',
    (_, changes) =>
      withPipeline({}, async (pipeline) => {
        await prepare(pipeline);
        await ingestEvents(pipeline.stores.database.db, EVENTS);
        await settle(pipeline);
        await expectEqualTotals(pipeline, EVENTS);
        for (const change of changes) {
          await move(pipeline, change);
          await settle(pipeline);
          await expectEqualTotals(pipeline, EVENTS);
        }
        const sent = pipeline.simulator.meterEvents().length;
        await settle(pipeline);
        expect(pipeline.simulator.meterEvents()).toHaveLength(sent);
        expect(await pipeline.stores.usagePeriods.countPlanDue()).toBe(0);
        expect(await pipeline.stores.usageAggregates.countPlanDue()).toBe(0);
      }),
  );

  it('leaves of a final invoice one difference for each running figure, listed as late, and bills the open period', () =>
    withPipeline({}, async (pipeline) => {
      const customer = await prepare(pipeline);
      await ingestEvents(pipeline.stores.database.db, EVENTS);
      await settle(pipeline);
      const to = '2026-06-08T10:23:45Z';
      await closePeriod(pipeline, { customer, from: '2026-05-08T10:23:45Z', to, finalizedAt: '2026-06-15T12:30:00Z' });
      const sent = pipeline.simulator.meterEvents().length;
      await move(pipeline, BOUNDARY);
      await settle(pipeline);
      const after = pipeline.simulator.meterEvents().slice(sent);
      expect(after.filter(({ timestamp }) => timestamp * 1000 < ms(to))).toEqual([]);
      const late = (await listLate(pipeline)).map(({ meter, quantity }) => `${meter} ${quantity.toString()}`);
      // Its figures are those of May and of June together: what was stamped in it before the calendar was known.
      expect(late.sort()).toEqual(['calls -65', 'calls 65', 'level -5', 'peak -90', 'seats -2']);
      const { fromMs, toMs } = await present(pipeline, pipeline.clock.now());
      const { calls: _, ...running } = expectedIn(EVENTS, { fromMs, toMs });
      expect(countedIn(pipeline, { fromMs, toMs })).toEqual({ calls: 200.5, ...running });
    }));

  it('comes to the same wherever planning or derivation stops', async () => {
    const events = EVENTS.slice(3, 9);
    for (const stops of [STOPS.slice(0, 3), STOPS.slice(3)]) {
      await withPipeline({}, async (pipeline) => {
        await prepare(pipeline);
        await ingestEvents(pipeline.stores.database.db, events);
        await settle(pipeline);
        for (const place of stops) {
          for (const cuts of [BOUNDARY, monthly('2026-06-05T09:30:00Z')]) {
            await move(pipeline, cuts);
            onBoundary((name) => {
              if (name === place) throw new Error(`stopped at ${place}`);
              return undefined;
            });
            await expect(settle(pipeline), place).rejects.toThrow('stopped at');
            onBoundary(undefined);
            pipeline.clock.advance(60_000);
            await settle(pipeline);
            await expectEqualTotals(pipeline, events);
          }
        }
      });
    }
  });

  it.each([
    ['periods that are no more', undefined, BOUNDARY, 9],
    [
      'periods that end later',
      undefined,
      { ...monthly('2026-06-10T00:00:00Z'), sinceMs: ms('2026-06-10T00:00:00Z') },
      9,
    ],
    ['windows that are no more', BOUNDARY, undefined, 6],
  ] as [string, MirroredCalendar | undefined, MirroredCalendar | undefined, number][])(
    'is safe from a planning run that had read %s in the former calendar',
    (_, before, after, known) =>
      withPipeline({}, async (pipeline) => {
        await prepare(pipeline);
        const { outbox, database } = pipeline.stores;
        await move(pipeline, before);
        await ingestEvents(database.db, EVENTS.slice(0, known));
        await settle(pipeline);
        await ingestEvents(database.db, EVENTS.slice(known));
        await pipeline.run('aggregate-usage');
        const held: (() => Promise<unknown>)[] = [];
        const store = outbox.store.bind(outbox);
        outbox.store = (...stored) => {
          held.push(() => store(...stored));
          return Promise.resolve({ planned: 0, late: 0 });
        };
        await pipeline.run('submit-meter-events');
        outbox.store = store;
        await move(pipeline, after);
        await settle(pipeline);
        await expectEqualTotals(pipeline, EVENTS);
        for (const late of held) await late();
        await settle(pipeline);
        await expectEqualTotals(pipeline, EVENTS);
      }),
  );
});
