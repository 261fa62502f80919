import { afterEach, describe, expect, it } from 'vitest';
import { onBoundary } from '../../src/platform/boundary.ts';
import { adjust } from '../support/adjustments.ts';
import { ingestEvents, meterOf, storeMeters } from '../support/usage.ts';
import { type Pipeline, withPipeline } from '../support/pipeline.ts';

afterEach(() => onBoundary(undefined));

const SUM = meterOf({ key: 'calls', stripe: { eventName: 'calls' } });

async function prepare(pipeline: Pipeline, meters = [SUM]): Promise<void> {
  await storeMeters(pipeline.stores.database.db, meters);
  await pipeline.run('sync-meters');
}

/** What Stripe counted, per customer; and the states of all submissions. */
async function outcome({
  stores,
  simulator,
}: Pipeline): Promise<{ counted: Record<string, string>; states: string[] }> {
  const counted = Object.fromEntries(
    simulator.totals().map(({ customer, eventName, total }) => [`${customer} ${eventName}`, total]),
  );
  const census = await stores.submissions.census();
  return { counted, states: census.map(({ state, count }) => `${state} ${count}`).sort() };
}

describe('submitMeterEvents', () => {
  it('sends each window once, and nothing when run again', () =>
    withPipeline({}, async (pipeline) => {
      await prepare(pipeline);
      const customer = await pipeline.mapCustomer('acme');
      await ingestEvents(pipeline.stores.database.db, [
        { at: '2026-06-15T08:10:00Z', quantity: '1.5' },
        { at: '2026-06-15T08:20:00Z', quantity: '2.25' },
        { at: '2026-06-15T09:00:00Z', quantity: '4' },
      ]);
      await pipeline.run('aggregate-usage');
      expect(await pipeline.run('submit-meter-events')).toMatchObject({ planned: 2, calls: 2, accepted: 2 });
      expect(await pipeline.run('submit-meter-events')).toMatchObject({ planned: 0, calls: 0 });
      expect(await outcome(pipeline)).toEqual({ counted: { [`${customer} calls`]: '7.75' }, states: ['accepted 2'] });
    }));

  it('sends the difference when a late event raises a window that was sent', () =>
    withPipeline({}, async (pipeline) => {
      await prepare(pipeline);
      const customer = await pipeline.mapCustomer('acme');
      for (const quantity of ['3', '4']) {
        await ingestEvents(pipeline.stores.database.db, [{ at: '2026-06-15T08:10:00Z', quantity }]);
        await pipeline.run('aggregate-usage');
        await pipeline.run('submit-meter-events');
      }
      const sent = pipeline.simulator.meterEvents().map(({ value, timestamp }) => ({ value, timestamp }));
      const timestamp = Date.parse('2026-06-15T08:00:00Z') / 1000;
      expect(sent).toEqual([
        { value: '3', timestamp },
        { value: '4', timestamp },
      ]);
      expect((await outcome(pipeline)).counted).toEqual({ [`${customer} calls`]: '7' });
    }));

  it.each([
    ['the answer was lost', 'answerLost', 2],
    ['a 500 came after the effect', 'errorAfter', 1],
    ['a 500 came before the effect', 'errorBefore', 1],
    ['a 500 without effect was stored', 'errorDuring', 1],
    ['the connection was reset before the effect', 'resetBefore', 2],
    ['Stripe said 429', 'tooManyRequests', 3],
    ['Stripe said 409', 'conflict', 3],
  ] as const)('counts an event once when %s', (_, fault, times) =>
    withPipeline({}, async (pipeline) => {
      await prepare(pipeline);
      const customer = await pipeline.mapCustomer('acme');
      await ingestEvents(pipeline.stores.database.db, [{ at: '2026-06-15T08:10:00Z', quantity: '5' }]);
      await pipeline.run('aggregate-usage');
      pipeline.simulator.failNext(fault, { route: 'POST /v1/billing/meter_events', times });
      await pipeline.run('submit-meter-events');
      const { counted, states } = await outcome(pipeline);
      expect(counted).toEqual({ [`${customer} calls`]: '5' });
      expect(states).toHaveLength(1);
      expect(states[0]).toMatch(/^(accepted|duplicate) 1$/);
    }),
  );

  it.each([1, 2, 3])('counts 200 events exactly once at 30 percent faults (seed %i)', (seed) =>
    withPipeline({ simulator: { seed } }, async (pipeline) => {
      await prepare(pipeline);
      const events = Array.from({ length: 200 }, (_, index) => ({
        customerId: `c${index % 10}`,
        at: new Date(Date.parse('2026-06-15T00:00:00Z') - (index % 20) * 3_600_000).toISOString(),
        quantity: String(index + 1),
      }));
      for (let index = 0; index < 10; index += 1) await pipeline.mapCustomer(`c${index}`);
      await ingestEvents(pipeline.stores.database.db, events);
      await pipeline.run('aggregate-usage');
      const routes = ['POST /v1/billing/meter_events'];
      const probability = 0.05;
      for (const kind of [
        'tooManyRequests',
        'conflict',
        'errorBefore',
        'errorAfter',
        'answerLost',
        'resetBefore',
      ] as const) {
        pipeline.simulator.setFaults({ [kind]: { probability, routes } });
      }
      pipeline.simulator.setFaults({
        tooManyRequests: { probability, routes },
        conflict: { probability, routes },
        errorBefore: { probability, routes },
        errorAfter: { probability, routes },
        answerLost: { probability, routes },
        resetBefore: { probability, routes },
      });
      for (let round = 0; round < 5; round += 1) {
        await pipeline.run('submit-meter-events');
        pipeline.clock.advance(60_000);
      }
      const total = pipeline.simulator.totals().reduce((sum, entry) => sum + Number(entry.total), 0);
      expect(total).toBe((200 * 201) / 2);
      const { states } = await outcome(pipeline);
      expect(states.filter((state) => !/^(accepted|duplicate) /.test(state))).toEqual([]);
    }),
  );

  it('keeps usage of an unmapped customer blocked and visible, and sends it once mapped', () =>
    withPipeline({}, async (pipeline) => {
      await prepare(pipeline);
      await ingestEvents(pipeline.stores.database.db, [{ at: '2026-06-15T08:10:00Z', quantity: '5' }]);
      await pipeline.run('aggregate-usage');
      await pipeline.run('submit-meter-events');
      expect(await pipeline.stores.submissions.blockedReasons()).toEqual([{ reason: 'customer_not_mapped', count: 1 }]);
      const customer = await pipeline.mapCustomer('acme');
      await pipeline.run('submit-meter-events');
      expect(await outcome(pipeline)).toEqual({ counted: { [`${customer} calls`]: '5' }, states: ['accepted 1'] });
    }));

  it('keeps usage blocked while its Stripe meter is missing, and sends it once there is one', () =>
    withPipeline({}, async (pipeline) => {
      await storeMeters(pipeline.stores.database.db, [SUM]);
      const customer = await pipeline.mapCustomer('acme');
      await ingestEvents(pipeline.stores.database.db, [{ at: '2026-06-15T08:10:00Z', quantity: '5' }]);
      await pipeline.run('aggregate-usage');
      await pipeline.run('submit-meter-events');
      expect(await pipeline.stores.submissions.blockedReasons()).toEqual([{ reason: 'meter_missing', count: 1 }]);
      await pipeline.run('sync-meters');
      await pipeline.run('submit-meter-events');
      expect(await outcome(pipeline)).toEqual({ counted: { [`${customer} calls`]: '5' }, states: ['accepted 1'] });
    }));

  it('sends running figures no further than they are derived, where a process stopped between windows and periods', () =>
    withPipeline({}, async (pipeline) => {
      const max = meterOf({ key: 'peak', aggregation: 'max', stripe: { eventName: 'peak' } });
      const unique = meterOf({
        key: 'seats',
        aggregation: 'unique',
        uniqueBy: { kind: 'userId' },
        stripe: { eventName: 'seats' },
      });
      await prepare(pipeline, [max, unique]);
      await pipeline.mapCustomer('acme');
      const { db } = pipeline.stores.database;
      await ingestEvents(db, [{ at: '2026-06-15T06:10:00Z', quantity: '5', userId: 'a' }]);
      await pipeline.run('aggregate-usage');
      await ingestEvents(db, [{ at: '2026-06-15T06:20:00Z', quantity: '9', userId: 'b' }]);
      onBoundary((name) => {
        if (name === 'aggregate.unique-merged') throw new Error('stopped');
        return undefined;
      });
      await pipeline.run('aggregate-usage').catch((error: unknown) => {
        if (!String(error).includes('stopped')) throw error;
      });
      onBoundary(undefined);
      const sent = (): string[] =>
        pipeline.simulator.meterEvents().map(({ eventName, value }) => `${eventName} ${value}`);
      await pipeline.run('submit-meter-events');
      expect(sent().sort()).toEqual(['peak 5', 'seats 1']);
      await pipeline.run('aggregate-usage');
      await pipeline.run('submit-meter-events');
      expect(sent().sort()).toEqual(['peak 4', 'peak 5', 'seats 1', 'seats 1']);
    }));

  it('splits a value of more than 15 significant digits into meter events that add up', () =>
    withPipeline({}, async (pipeline) => {
      await prepare(pipeline);
      const customer = await pipeline.mapCustomer('acme');
      await ingestEvents(pipeline.stores.database.db, [
        { at: '2026-06-15T08:10:00Z', quantity: '100000000000000' },
        { at: '2026-06-15T08:11:00Z', quantity: '0.123456789012' },
      ]);
      await pipeline.run('aggregate-usage');
      await pipeline.run('submit-meter-events');
      expect((await outcome(pipeline)).counted).toEqual({ [`${customer} calls`]: '100000000000000.123456789012' });
    }));

  it('stamps each step of a running figure with the window that changed it', () =>
    withPipeline({}, async (pipeline) => {
      const max = meterOf({ key: 'peak', aggregation: 'max', stripe: { eventName: 'peak' } });
      const last = meterOf({ key: 'level', aggregation: 'last', stripe: { eventName: 'level' } });
      const unique = meterOf({
        key: 'seats',
        aggregation: 'unique',
        uniqueBy: { kind: 'userId' },
        stripe: { eventName: 'seats' },
      });
      await prepare(pipeline, [max, last, unique]);
      await pipeline.mapCustomer('acme');
      await ingestEvents(pipeline.stores.database.db, [
        { at: '2026-06-15T06:10:00Z', quantity: '5', userId: 'a' },
        { at: '2026-06-15T07:10:00Z', quantity: '3', userId: 'b' },
        { at: '2026-06-15T08:10:00Z', quantity: '9', userId: 'a' },
      ]);
      await pipeline.run('aggregate-usage');
      await pipeline.run('submit-meter-events');
      const sent = pipeline.simulator
        .meterEvents()
        .map(
          ({ eventName, value, timestamp }) =>
            `${eventName} ${new Date(timestamp * 1000).toISOString().slice(11, 13)} ${value}`,
        )
        .sort();
      expect(sent).toEqual([
        'level 06 5',
        'level 07 -2',
        'level 08 6',
        'peak 06 5',
        'peak 08 4',
        'seats 06 1',
        'seats 07 1',
      ]);
    }));

  it('takes back what a stopped run planned when the figure changed back meanwhile', () =>
    withPipeline({}, async (pipeline) => {
      await prepare(pipeline);
      const customer = await pipeline.mapCustomer('acme');
      const { db } = pipeline.stores.database;
      await ingestEvents(db, [{ at: '2026-06-15T08:10:00Z', quantity: '5' }]);
      await pipeline.run('aggregate-usage');
      onBoundary((name) => {
        if (name === 'plan.submissions-inserted') throw new Error('stopped');
        return undefined;
      });
      await expect(pipeline.run('submit-meter-events')).rejects.toThrow('stopped');
      onBoundary(undefined);
      await adjust(db, { meter: 'calls', quantity: '-5', occurredAt: '2026-06-15T08:20:00Z' });
      await pipeline.run('aggregate-usage');
      for (let round = 0; round < 2; round += 1) await pipeline.run('submit-meter-events');
      const sent = pipeline.simulator.meterEvents().map(({ value }) => value);
      expect(sent).toEqual(['5', '-5']);
      expect((await outcome(pipeline)).counted).toEqual({ [`${customer} calls`]: '0' });
    }));

  it('reaches the same end when it is stopped after any of its side effects', async () => {
    let stops = 0;
    for (let stopAt = 1; stopAt < 100; stopAt += 1) {
      let wasStopped = false;
      await withPipeline({}, async (pipeline) => {
        await prepare(pipeline);
        const customer = await pipeline.mapCustomer('acme');
        await ingestEvents(pipeline.stores.database.db, [
          { at: '2026-06-15T08:10:00Z', quantity: '5' },
          { at: '2026-06-15T09:10:00Z', quantity: '6' },
        ]);
        let seen = 0;
        onBoundary((name) => {
          seen += 1;
          if (seen === stopAt) throw new Error(`stopped at ${name}`);
          return undefined;
        });
        for (const job of ['aggregate-usage', 'submit-meter-events']) {
          await pipeline.run(job).catch((error: unknown) => {
            if (!String(error).includes('stopped at')) throw error;
            wasStopped = true;
          });
        }
        onBoundary(undefined);
        for (let round = 0; round < 3; round += 1) {
          pipeline.clock.advance(60_000);
          await pipeline.run('aggregate-usage');
          await pipeline.run('submit-meter-events');
        }
        expect((await outcome(pipeline)).counted).toEqual({ [`${customer} calls`]: '11' });
      });
      if (!wasStopped) break;
      stops += 1;
    }
    expect(stops).toBeGreaterThan(8);
  });
});
