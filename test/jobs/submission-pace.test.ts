import { Decimal128 } from 'mongodb';
import { describe, expect, it } from 'vitest';
import { groupBy } from '../../src/platform/grouping.ts';
import { HOUR_MS, MINUTE_MS } from '../../src/platform/durations.ts';
import { Leases } from '../../src/platform/mongo/leases.ts';
import {
  METER_SUBMISSIONS,
  type MeterSubmissionDocument,
  plannedNow,
} from '../../src/submissions/meter-submissions-store.ts';
import { submitNow } from '../../src/daemon/submission-jobs.ts';
import { type Pipeline, START_MS, withPipeline } from '../support/pipeline.ts';
import { ingestEvents, meterOf, storeMeters } from '../support/usage.ts';

const ROUTE = 'POST /v1/billing/meter_events';
const CALLS = meterOf({ key: 'calls', stripe: { eventName: 'calls' } });

/** Usage of each customer in each of the hours from an instant on. */
async function prepare(pipeline: Pipeline, size: { customers: number; hours: number; fromMs: number }): Promise<void> {
  await storeMeters(pipeline.stores.database.db, [CALLS]);
  await pipeline.run('sync-meters');
  const customers = Array.from({ length: size.customers }, (_, index) => `c${index}`);
  for (const customerId of customers) await pipeline.mapCustomer(customerId);
  const hours = Array.from({ length: size.hours }, (_, index) => size.fromMs + index * HOUR_MS + MINUTE_MS);
  await ingestEvents(
    pipeline.stores.database.db,
    hours.flatMap((atMs) => customers.map((customerId) => ({ customerId, at: new Date(atMs).toISOString() }))),
  );
  await pipeline.run('aggregate-usage');
}

/** Submissions of three customers, due at an instant. */
function manyDue(count: number, at: Date): MeterSubmissionDocument[] {
  const one = Decimal128.fromString('1');
  return Array.from({ length: count }, (_, index) => ({
    _id: `test0001:many:${index}`,
    customerId: `c${index % 3}`,
    meter: 'calls',
    subject: 'window',
    subjectStart: at,
    sequence: 1,
    fromQuantity: Decimal128.fromString('0'),
    toQuantity: one,
    value: one,
    timestamp: at,
    ...plannedNow(at),
  }));
}

describe('the meter events of an hour', () => {
  const environment = { WINDOW_SETTLE_MS: String(10 * MINUTE_MS), STRIPE_CALLS_PER_SECOND_MAX: '1' };

  it('are spread over the time that the account needs for them, not sent in the moment they have settled', () =>
    withPipeline({ environment }, async (pipeline) => {
      await prepare(pipeline, { customers: 60, hours: 1, fromMs: START_MS - HOUR_MS });
      pipeline.clock.advance(10 * MINUTE_MS);
      expect(await pipeline.run('submit-meter-events')).toMatchObject({ planned: 60, accepted: 60 });
      const secondsAfter = pipeline.simulator
        .meterEvents()
        .map(({ receivedAt }) => Math.floor((receivedAt - START_MS - 10 * MINUTE_MS) / 1_000));
      expect(Math.max(...secondsAfter)).toBeGreaterThan(45);
      const perSecond = groupBy(secondsAfter, (second) => second);
      expect(Math.max(...[...perSecond.values()].map(({ length }) => length))).toBeLessThan(10);
    }));

  it('go out at once for one customer when that is asked for', () =>
    withPipeline({ environment }, async (pipeline) => {
      await prepare(pipeline, { customers: 3, hours: 1, fromMs: START_MS - HOUR_MS });
      pipeline.clock.advance(1_000);
      expect(await pipeline.run('submit-meter-events')).toMatchObject({ planned: 0, calls: 0 });
      expect(await submitNow(pipeline.parts, { customerId: 'c1', flush: true })).toMatchObject({ accepted: 1 });
      expect(pipeline.simulator.totals().map(({ total }) => total)).toEqual(['1']);
    }));
});

describe('a process that finds every lane taken by another', () => {
  it('ends its run after few looks at a long outbox, and sends nothing', { timeout: 30_000 }, () =>
    withPipeline({}, async (pipeline) => {
      await prepare(pipeline, { customers: 3, hours: 1, fromMs: START_MS - HOUR_MS });
      const { db } = pipeline.stores.database;
      await pipeline.stores.submissions.insertAll(manyDue(3_000, new Date(START_MS)));
      const shards = Array.from({ length: 32 }, (_, index) => `lanes.${index}`);
      await new Leases(db, 'another').acquire(shards, 60_000);
      await db.command({ profile: 2 });
      expect(await pipeline.run('submit-meter-events')).toMatchObject({ calls: 0 });
      await db.command({ profile: 0 });
      const looks = await db
        .collection('system.profile')
        .countDocuments({ ns: `${db.databaseName}.${METER_SUBMISSIONS}`, 'command.sort': { state: 1, dueAt: 1 } });
      expect(looks).toBeGreaterThan(0);
      expect(looks).toBeLessThan(10);
      expect(pipeline.simulator.meterEventCount).toBe(0);
    }),
  );
});

describe('an outage of Stripe', () => {
  it('of two days costs few calls, leaves little in doubt, and then drains oldest first', { timeout: 60_000 }, () =>
    withPipeline({}, async (pipeline) => {
      const customers = 12;
      const hours = 48;
      await prepare(pipeline, { customers, hours, fromMs: START_MS });
      pipeline.simulator.setFaults({ errorBefore: { probability: 1, routes: [ROUTE] } });
      for (let minutes = 0; minutes < hours * 60; minutes += 30) {
        if (minutes === 40 * 60) pipeline.simulator.setFaults({ resetBefore: { probability: 1, routes: [ROUTE] } });
        pipeline.clock.advance(30 * MINUTE_MS);
        await pipeline.run('submit-meter-events');
      }
      expect(pipeline.simulator.meterEventCount).toBe(0);
      const inDoubt = await pipeline.stores.submissions.countInStates(['in_doubt']);
      expect(inDoubt).toBeLessThan(100);

      pipeline.simulator.clearFaults();
      pipeline.clock.advance(20 * MINUTE_MS);
      await pipeline.run('submit-meter-events');
      const drained = pipeline.simulator.meterEvents();
      expect(drained.length).toBeGreaterThan(customers * hours - 100);
      const perCustomer = [...groupBy(drained, ({ customer }) => customer).values()];
      const late = perCustomer.flatMap((events) => stepsBack(events.map(({ timestamp }) => timestamp)));
      expect(late.length).toBeLessThanOrEqual(inDoubt);

      // What was in doubt for too long is decided by Stripe's totals.
      pipeline.clock.advance(13 * HOUR_MS);
      await pipeline.run('resolve-submissions');
      pipeline.clock.advance(11 * MINUTE_MS);
      await pipeline.run('resolve-submissions');
      await pipeline.run('submit-meter-events');
      expect(pipeline.simulator.totals().map(({ total }) => total)).toEqual(
        Array<string>(customers).fill(String(hours)),
      );
      const requests = pipeline.simulator.requests()[ROUTE]?.requests ?? Number.NaN;
      expect(requests / (customers * hours)).toBeLessThanOrEqual(1.5);
    }),
  );
});

/** What of a sequence is below something that came before it. */
function stepsBack(values: readonly number[]): number[] {
  let highest = Number.NEGATIVE_INFINITY;
  return values.filter((value) => {
    highest = Math.max(highest, value);
    return value < highest;
  });
}
