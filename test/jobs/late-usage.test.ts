import { afterEach, describe, expect, it } from 'vitest';
import { decideLateUsage } from '../../src/late-usage/decide-late-usage.ts';
import { putCustomer } from '../../src/customers/put-customer.ts';
import { readBoundaryNames } from '../../scripts/lib/torture/boundaries.ts';
import { onBoundary } from '../../src/platform/boundary.ts';
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../../src/platform/durations.ts';
import type { LateUsageDocument } from '../../src/submissions/late-usage-store.ts';
import { decideDeps } from '../../src/daemon/late-usage.ts';
import { adjust, balance, closePeriod, listLate } from '../support/late-usage.ts';
import { type Pipeline, withPipeline } from '../support/pipeline.ts';
import { type EventInput, ingestEvents, meterOf, storeMeters } from '../support/usage.ts';

afterEach(() => onBoundary(undefined));

const CALLS = meterOf({ key: 'calls', stripe: { eventName: 'calls' } });
/** The first half of June, invoiced on the 15th; the tests begin at noon of that day. */
const FIRST_HALF = { from: '2026-06-01T00:00:00Z', to: '2026-06-15T00:00:00Z', finalizedAt: '2026-06-15T01:00:00Z' };

/** Where planning, noting and deciding is stopped; the rest of the stage's boundaries have tests of their own. */
const STOPS = [
  'late.unbilled-noted',
  'late.invoice-checked',
  'late.decided',
  'late.submission-made',
  'plan.submissions-inserted',
  'late.entries-made',
  'plan.rows-moved',
];

async function prepare(pipeline: Pipeline, meters = [CALLS]): Promise<string> {
  await storeMeters(pipeline.stores.database.db, meters);
  await pipeline.run('sync-meters');
  return pipeline.mapCustomer('acme');
}

async function use(pipeline: Pipeline, ...events: EventInput[]): Promise<void> {
  await ingestEvents(pipeline.stores.database.db, events);
}

async function submit(pipeline: Pipeline): Promise<void> {
  for (const job of ['requeue-usage', 'aggregate-usage', 'submit-meter-events']) await pipeline.run(job);
}

function totalOf({ simulator }: Pipeline, customer: string, meter = 'calls'): string {
  return simulator.countedTotal({ customer, meter });
}

function decide(pipeline: Pipeline, id: string, policy: 'next_period' | 'dismiss'): Promise<LateUsageDocument> {
  return decideLateUsage(decideDeps(pipeline.parts), { id, policy, actor: 'ann' });
}

/** Ends whatever comes to a boundary first. */
function stopAt(place: string): void {
  onBoundary((name) => {
    if (name === place) throw new Error(`stopped at ${place}`);
    return undefined;
  });
}

const shapeOf = ({ quantity, reason, state, timestamp }: LateUsageDocument): string =>
  `${timestamp.toISOString().slice(5, 16)} ${quantity.toString()} ${reason} ${state}`;

async function shapes(pipeline: Pipeline): Promise<string[]> {
  return (await listLate(pipeline)).map(shapeOf);
}

async function expectBalance(pipeline: Pipeline, total: string): Promise<void> {
  expect(await balance(pipeline)).toEqual([total, total]);
}

it('is stopped here at every boundary of its stage', () => {
  const names = readBoundaryNames().filter((name) => name.startsWith('late.'));
  expect(new Set([...STOPS, 'late.submission-replaced', 'late.unit-followed'])).toEqual(
    new Set([...names, 'plan.submissions-inserted', 'plan.rows-moved']),
  );
});

describe('usage in a period whose invoice is final', () => {
  it('is listed instead of sent, once, however often planning runs; usage of the open period is sent', () =>
    withPipeline({}, async (pipeline) => {
      const customer = await prepare(pipeline);
      await use(pipeline, { at: '2026-06-10T08:10:00Z', quantity: '5' }, { at: '2026-06-15T08:10:00Z', quantity: '7' });
      const invoiceId = await closePeriod(pipeline, { customer, ...FIRST_HALF });
      await submit(pipeline);
      await submit(pipeline);
      expect(totalOf(pipeline, customer)).toBe('7');
      expect(await shapes(pipeline)).toEqual(['06-10T08:00 5 invoice_final waiting']);
      expect((await listLate(pipeline))[0]).toMatchObject({ invoiceId, policy: 'review', sequence: 1 });
      await use(pipeline, { at: '2026-06-10T08:20:00Z', quantity: '2.5' });
      await submit(pipeline);
      expect(await shapes(pipeline)).toEqual([
        '06-10T08:00 5 invoice_final waiting',
        '06-10T08:00 2.5 invoice_final waiting',
      ]);
      await expectBalance(pipeline, '14.5');
    }));

  it('is only the difference where usage was sent before; a correction downwards is late as well', () =>
    withPipeline({}, async (pipeline) => {
      const customer = await prepare(pipeline);
      await use(pipeline, { at: '2026-06-10T08:10:00Z', quantity: '5' });
      await submit(pipeline);
      await closePeriod(pipeline, { customer, ...FIRST_HALF, finalizedAt: '2026-06-15T12:30:00Z' });
      pipeline.clock.advance(HOUR_MS);
      await adjust(pipeline, '2026-06-10T08:30:00Z', '-2');
      await submit(pipeline);
      expect(await shapes(pipeline)).toEqual(['06-10T08:00 -2 invoice_final waiting']);
      expect(totalOf(pipeline, customer)).toBe('5');
      await expectBalance(pipeline, '3');
      const [entry] = await listLate(pipeline);
      await decide(pipeline, entry?._id ?? '', 'next_period');
      await submit(pipeline);
      expect(totalOf(pipeline, customer)).toBe('3');
      await expectBalance(pipeline, '3');
    }));

  it('takes the steps of a running figure at once, and a value of many digits in parts', () =>
    withPipeline({}, async (pipeline) => {
      const peak = meterOf({ key: 'peak', aggregation: 'max', stripe: { eventName: 'peak' } });
      const customer = await prepare(pipeline, [CALLS, peak]);
      await closePeriod(pipeline, { customer, ...FIRST_HALF });
      await use(
        pipeline,
        { at: '2026-06-10T08:10:00Z', quantity: '100000000000000' },
        { at: '2026-06-10T08:11:00Z', quantity: '0.123456789012' },
        { at: '2026-06-11T08:10:00Z', quantity: '200000000000000' },
      );
      await submit(pipeline);
      await expectBalance(pipeline, '300000000000000.123456789012');
      const steps = (await listLate(pipeline)).filter(({ meter }) => meter === 'peak').map(shapeOf);
      expect(steps).toEqual([
        '06-10T08:00 100000000000000 invoice_final waiting',
        '06-11T08:00 100000000000000 invoice_final waiting',
      ]);
      expect(pipeline.simulator.meterEventCount).toBe(0);
    }));

  it.each(['plan.submissions-inserted', 'plan.rows-moved'])(
    'is listed instead of sent when the invoice became final after %s and before sending',
    (place) =>
      withPipeline({}, async (pipeline) => {
        const customer = await prepare(pipeline);
        await use(pipeline, { at: '2026-06-10T08:10:00Z', quantity: '5' });
        await pipeline.run('aggregate-usage');
        stopAt(place);
        await expect(pipeline.run('submit-meter-events')).rejects.toThrow('stopped');
        onBoundary(undefined);
        expect((await pipeline.stores.submissions.census()).map(({ state }) => state)).toEqual(['planned']);
        await closePeriod(pipeline, { customer, ...FIRST_HALF });
        // Moved, and the entry not made yet.
        stopAt('late.submission-replaced');
        await expect(pipeline.run('submit-meter-events')).rejects.toThrow('stopped');
        onBoundary(undefined);
        await submit(pipeline);
        expect(pipeline.simulator.meterEventCount).toBe(0);
        const [entry] = await listLate(pipeline);
        expect(await pipeline.stores.submissions.find(entry?.identifier ?? '')).toMatchObject({
          state: 'replaced',
          replacedBy: entry?._id,
        });
        await expectBalance(pipeline, '5');
      }),
  );

  it('is planned by two runs at once as one entry', () =>
    withPipeline({}, async (pipeline) => {
      const customer = await prepare(pipeline);
      await use(pipeline, { at: '2026-06-10T08:10:00Z', quantity: '5' }, { at: '2026-06-11T08:10:00Z', quantity: '6' });
      await pipeline.run('aggregate-usage');
      await closePeriod(pipeline, { customer, ...FIRST_HALF });
      await Promise.all([pipeline.run('submit-meter-events'), pipeline.run('submit-meter-events')]);
      expect(await shapes(pipeline)).toHaveLength(2);
      await expectBalance(pipeline, '11');
    }));
});

describe('usage beyond 35 days', () => {
  it('is listed when it is planned, and when it grew too old while it was blocked', () =>
    withPipeline({}, async (pipeline) => {
      await storeMeters(pipeline.stores.database.db, [CALLS]);
      await pipeline.run('sync-meters');
      await use(pipeline, { at: '2026-05-01T08:10:00Z', quantity: '3' }, { at: '2026-06-14T08:10:00Z', quantity: '4' });
      await submit(pipeline);
      expect(await shapes(pipeline)).toEqual(['05-01T08:00 3 too_old waiting']);
      expect(await pipeline.stores.submissions.blockedReasons()).toEqual([{ reason: 'customer_not_mapped', count: 1 }]);
      pipeline.clock.advance(36 * DAY_MS);
      expect(await pipeline.run('settle-late-usage')).toMatchObject({ late: 1 });
      expect(await shapes(pipeline)).toEqual(['05-01T08:00 3 too_old waiting', '06-14T08:00 4 too_old waiting']);
      await expectBalance(pipeline, '7');
    }));

  it('stays blocked where it is from before the customer is submitted', () =>
    withPipeline({}, async (pipeline) => {
      await storeMeters(pipeline.stores.database.db, [{ ...CALLS, lateUsage: 'next_period' }]);
      await pipeline.run('sync-meters');
      await use(pipeline, { at: '2026-05-20T08:10:00Z', quantity: '3' });
      await submit(pipeline);
      const stripeCustomerId = await pipeline.mapCustomer('other');
      await pipeline.stores.customers.save(
        {
          _id: 'acme',
          stripeCustomerId: `${stripeCustomerId}x`,
          submitFrom: new Date('2026-06-01T00:00:00Z'),
          calendars: [],
          revision: 1,
          createdAt: new Date(0),
          updatedAt: new Date(0),
        },
        undefined,
      );
      pipeline.clock.advance(40 * DAY_MS);
      await submit(pipeline);
      expect(await shapes(pipeline)).toEqual([]);
      expect(await pipeline.stores.submissions.blockedReasons()).toEqual([{ reason: 'before_submit_from', count: 1 }]);
    }));
});

describe('submissions that Stripe took after their invoice was final', () => {
  it('are listed once, with the policy of their meter, and are no second time part of what is owed', () =>
    withPipeline({}, async (pipeline) => {
      const customer = await prepare(pipeline);
      await use(pipeline, { at: '2026-06-10T08:10:00Z', quantity: '5' });
      await submit(pipeline);
      await closePeriod(pipeline, { customer, ...FIRST_HALF });
      expect(await pipeline.run('settle-late-usage')).toMatchObject({ unbilled: 1 });
      pipeline.clock.advance(2 * DAY_MS);
      expect(await pipeline.run('settle-late-usage')).toMatchObject({ unbilled: 0 });
      expect(await shapes(pipeline)).toEqual(['06-10T08:00 5 accepted_after_finalization waiting']);
      await expectBalance(pipeline, '5');
    }));

  it('are left to a person where an answer was lost around that time, also under the policy next_period', () =>
    withPipeline({}, async (pipeline) => {
      const customer = await prepare(pipeline, [{ ...CALLS, lateUsage: 'next_period' }]);
      await use(pipeline, { at: '2026-06-10T08:10:00Z', quantity: '5' });
      await pipeline.run('aggregate-usage');
      pipeline.simulator.failNext('answerLost', { route: 'POST /v1/billing/meter_events', times: 2 });
      await pipeline.run('submit-meter-events');
      const finalizedAt = new Date(Date.parse('2026-06-15T12:00:00Z') + 100).toISOString();
      await closePeriod(pipeline, { customer, ...FIRST_HALF, finalizedAt });
      expect(await pipeline.run('settle-late-usage')).toMatchObject({ unbilled: 1, submitted: 0 });
      expect((await listLate(pipeline))[0]).toMatchObject({ policy: 'review', state: 'waiting' });
    }));

  it('stand for usage that is not at Stripe when Stripe rejects them afterwards', () =>
    withPipeline({}, async (pipeline) => {
      const customer = await prepare(pipeline);
      await use(pipeline, { at: '2026-06-10T08:10:00Z', quantity: '5' });
      await submit(pipeline);
      await closePeriod(pipeline, { customer, ...FIRST_HALF });
      await pipeline.run('settle-late-usage');
      const [{ _id: identifier } = { _id: '' }] = await pipeline.stores.submissions.list({ limit: 1 });
      await pipeline.stores.ledger.replace(identifier, { reason: 'not_counted', at: new Date(pipeline.clock.now()) });
      await submit(pipeline);
      expect(await shapes(pipeline)).toEqual(['06-10T08:00 5 invoice_final waiting']);
      await expectBalance(pipeline, '5');
    }));
});

describe('a decision about late usage', () => {
  const prepareLate = async (pipeline: Pipeline, meters = [CALLS]): Promise<string> => {
    const customer = await prepare(pipeline, meters);
    await closePeriod(pipeline, { customer, ...FIRST_HALF });
    await use(pipeline, { at: '2026-06-10T08:10:00Z', quantity: '5' });
    await submit(pipeline);
    return customer;
  };

  it('bills it with the open period, stamped with the present window, once', () =>
    withPipeline({}, async (pipeline) => {
      const customer = await prepareLate(pipeline);
      pipeline.clock.advance(40 * MINUTE_MS);
      const [{ _id: id } = { _id: '' }] = await listLate(pipeline);
      const [first, second] = await Promise.all([
        decide(pipeline, id, 'next_period'),
        decide(pipeline, id, 'next_period'),
      ]);
      expect(first).toMatchObject({ state: 'submitted', decision: { policy: 'next_period', actor: 'ann' } });
      expect(second.decision).toEqual(first.decision);
      expect(first.decision?.timestamp?.toISOString()).toBe('2026-06-15T12:00:00.000Z');
      await submit(pipeline);
      await submit(pipeline);
      expect(totalOf(pipeline, customer)).toBe('5');
      expect(await pipeline.stores.submissions.find(id)).toMatchObject({ subject: 'late', state: 'accepted' });
      await expectBalance(pipeline, '5');
      await expect(decide(pipeline, id, 'dismiss')).rejects.toMatchObject({ code: 'late_usage_decided' });
    }));

  it('dismisses it for good, and keeps who and why', () =>
    withPipeline({}, async (pipeline) => {
      const customer = await prepareLate(pipeline);
      const [{ _id: id } = { _id: '' }] = await listLate(pipeline);
      const input = { id, policy: 'dismiss' as const, actor: 'ann', reason: 'a gift' };
      await decideLateUsage(decideDeps(pipeline.parts), input);
      await submit(pipeline);
      expect(totalOf(pipeline, customer)).toBe('0');
      expect((await listLate(pipeline))[0]).toMatchObject({ state: 'dismissed', decision: { reason: 'a gift' } });
      await expectBalance(pipeline, '5');
    }));

  it('is refused without an open period, and where it needs a price book', () =>
    withPipeline({}, async (pipeline) => {
      const customer = await prepareLate(pipeline);
      const [{ _id: id } = { _id: '' }] = await listLate(pipeline);
      const unavailable = decideLateUsage(decideDeps(pipeline.parts), { id, policy: 'invoice_item', actor: 'ann' });
      await expect(unavailable).rejects.toMatchObject({ code: 'policy_not_available', kind: 'invalid' });
      await closePeriod(pipeline, {
        customer,
        from: '2026-06-15T00:00:00Z',
        to: '2026-06-15T13:00:00Z',
        finalizedAt: '2026-06-15T13:00:00Z',
      });
      await expect(decide(pipeline, id, 'next_period')).rejects.toMatchObject({ code: 'no_open_period' });
      await expect(decide(pipeline, 'nothing', 'dismiss')).rejects.toMatchObject({ code: 'late_usage_not_found' });
    }));

  it('is made by the policy of the meter', () =>
    withPipeline({}, async (pipeline) => {
      const customer = await prepareLate(pipeline, [{ ...CALLS, lateUsage: 'next_period' }]);
      expect(totalOf(pipeline, customer)).toBe('5');
      expect((await listLate(pipeline))[0]).toMatchObject({
        state: 'submitted',
        decision: { policy: 'next_period', actor: 'policy' },
      });
      await expectBalance(pipeline, '5');
    }));

  it('reaches the same end when planning, noting or deciding is stopped after any side effect', () =>
    withPipeline({}, async (pipeline) => {
      const customer = await prepare(pipeline, [{ ...CALLS, lateUsage: 'next_period' }]);
      await closePeriod(pipeline, { customer, ...FIRST_HALF, to: '2026-06-10T00:00:00Z' });
      const hourOf = (from: string, index: number): string =>
        new Date(Date.parse(from) + index * HOUR_MS).toISOString();
      for (const [index, place] of STOPS.entries()) {
        // One hour that was delivered before its invoice was known to be final, and one that was not.
        const from = hourOf('2026-06-12T00:00:00Z', index);
        await use(pipeline, { at: from, quantity: '3' });
        await pipeline.run('aggregate-usage');
        await pipeline.run('submit-meter-events');
        const to = hourOf('2026-06-12T00:00:00Z', index + 1);
        await closePeriod(pipeline, { customer, from, to, finalizedAt: FIRST_HALF.finalizedAt });
        await use(pipeline, { at: hourOf('2026-06-01T00:00:00Z', index), quantity: '5' });
        await pipeline.run('aggregate-usage');
        stopAt(place);
        await expect(pipeline.run('submit-meter-events'), place).rejects.toThrow('stopped');
        onBoundary(undefined);
        pipeline.clock.advance(60_000);
        await pipeline.run('submit-meter-events');
        const states = (await shapes(pipeline)).map((shape) => shape.slice(shape.indexOf(' ') + 1)).sort();
        const one = ['3 accepted_after_finalization submitted', '5 invoice_final submitted'];
        expect(states, place).toEqual(one.flatMap((state) => Array.from({ length: index + 1 }, () => state)));
        // What was accepted after its invoice was final is sent once more, the other for the first time.
        expect(totalOf(pipeline, customer), place).toBe(String(11 * (index + 1)));
        await expectBalance(pipeline, String(8 * (index + 1)));
      }
    }));
});

describe('a correction by a moved anchor', () => {
  const ANCHOR = '2026-06-15T10:23:45Z';
  /** Sends an hour as one window, then splits it. */
  const split = async (pipeline: Pipeline): Promise<string> => {
    const customer = await prepare(pipeline);
    await use(pipeline, { at: '2026-06-15T10:10:00Z', quantity: '4' }, { at: '2026-06-15T10:40:00Z', quantity: '6' });
    await submit(pipeline);
    expect(totalOf(pipeline, customer)).toBe('10');
    await moveAnchor(pipeline, ANCHOR);
    return customer;
  };
  const moveAnchor = async ({ stores, clock }: Pipeline, billingAnchor: string): Promise<void> => {
    const deps = { clock, customers: stores.customers, usage: stores.usageAggregates };
    await putCustomer(deps, { customerId: 'acme', change: { billingAnchor } });
  };

  it('is sent as two halves while neither period is final', () =>
    withPipeline({}, async (pipeline) => {
      const customer = await split(pipeline);
      await submit(pipeline);
      expect(totalOf(pipeline, customer)).toBe('10');
      expect(pipeline.simulator.meterEvents().map(({ value }) => value)).toEqual(['10', '-6', '6']);
    }));

  it.each([
    ['before', '2026-05-15T10:23:45Z', ANCHOR, ANCHOR],
    ['after', ANCHOR, '2026-06-15T11:00:00Z', '2026-06-15T11:00:00Z'],
  ])('is late as a whole where the period %s it is final, and decided as one', (_, from, to, finalizedAt) =>
    withPipeline({}, async (pipeline) => {
      const customer = await split(pipeline);
      await closePeriod(pipeline, { customer, from, to, finalizedAt });
      await pipeline.run('requeue-usage');
      await pipeline.run('aggregate-usage');
      await pipeline.run('submit-meter-events');
      expect(totalOf(pipeline, customer)).toBe('10');
      const halves = (await listLate(pipeline)).filter(({ reason }) => reason === 'invoice_final');
      expect(halves.map(({ quantity }) => quantity.toString())).toEqual(['-6', '6']);
      expect(new Set(halves.map(({ unit }) => unit)).size).toBe(1);
      await expectBalance(pipeline, '10');
      stopAt('late.unit-followed');
      await expect(decide(pipeline, halves[1]?._id ?? '', 'next_period')).rejects.toThrow('stopped');
      onBoundary(undefined);
      await expect(decide(pipeline, halves[0]?._id ?? '', 'dismiss')).rejects.toMatchObject({
        code: 'late_usage_decided',
      });
      await submit(pipeline);
      const states = (await listLate(pipeline)).filter(({ unit }) => unit !== undefined).map(({ state }) => state);
      expect(states).toEqual(['submitted', 'submitted']);
      expect(
        pipeline.simulator
          .meterEvents()
          .map(({ value }) => value)
          .sort(),
      ).toEqual(['-6', '10', '6']);
      expect(totalOf(pipeline, customer)).toBe('10');
    }),
  );

  it('is late as a whole where one period became final between planning and sending', () =>
    withPipeline({}, async (pipeline) => {
      const customer = await split(pipeline);
      await pipeline.run('requeue-usage');
      await pipeline.run('aggregate-usage');
      stopAt('plan.rows-moved');
      await expect(pipeline.run('submit-meter-events')).rejects.toThrow('stopped');
      onBoundary(undefined);
      await closePeriod(pipeline, { customer, from: '2026-05-15T10:23:45Z', to: ANCHOR, finalizedAt: ANCHOR });
      await submit(pipeline);
      const halves = (await listLate(pipeline)).filter(({ unit }) => unit !== undefined);
      expect(halves.map(({ quantity }) => quantity.toString())).toEqual(['-6', '6']);
      expect(new Set(halves.map(({ unit }) => unit)).size).toBe(1);
      await expectBalance(pipeline, '10');
    }));

  it('waits while a half may not be derived yet', () =>
    withPipeline({}, async (pipeline) => {
      const customer = await split(pipeline);
      await pipeline.run('requeue-usage');
      // The run ends between the two windows of the hour.
      stopAt('aggregate.windows-merged');
      await expect(pipeline.run('aggregate-usage')).rejects.toThrow('stopped');
      onBoundary(undefined);
      await closePeriod(pipeline, { customer, from: '2026-05-15T10:23:45Z', to: ANCHOR, finalizedAt: ANCHOR });
      await pipeline.run('submit-meter-events');
      expect((await shapes(pipeline)).filter((shape) => shape.includes('invoice_final'))).toEqual([]);
      await submit(pipeline);
      expect((await shapes(pipeline)).filter((shape) => shape.includes('invoice_final'))).toHaveLength(2);
      await expectBalance(pipeline, '10');
    }));
});
