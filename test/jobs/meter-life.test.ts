/** How a meter begins, stops and ends: a definition that is tried, sending that stops, an archived meter. */
import { describe, expect, it } from 'vitest';
import { previewMeter } from '../../src/aggregation/preview-meter.ts';
import { archiveMeter, putMeter } from '../../src/meters/put-meter.ts';
import type { MeterChange } from '../../src/meters/meter-definition.ts';
import { toMeter } from '../../src/meters/meters-store.ts';
import { auditedCustomerIds, withUsageAudit } from '../../src/explain/usage-audit-store.ts';
import { type Pipeline, withPipeline } from '../support/pipeline.ts';
import { type EventInput, ingestEvents, meterOf, storeMeters } from '../support/usage.ts';

interface Used {
  readonly pipeline: Pipeline;
  readonly put: (change: MeterChange) => Promise<unknown>;
  /** Stores usage, lets everything follow, and says what Stripe has counted. */
  readonly totalWith: (...events: EventInput[]) => Promise<string>;
}

/** At noon, with a meter that has counted 1 of an hour before. */
function withUsedMeter(use: (used: Used) => Promise<void>): Promise<void> {
  return withPipeline({}, async (pipeline) => {
    const { stores, clock } = pipeline;
    await storeMeters(stores.database.db, [meterOf({ key: 'calls', stripe: { eventName: 'calls' } })]);
    await pipeline.run('sync-meters');
    const customer = await pipeline.mapCustomer('acme');
    const totalWith: Used['totalWith'] = async (...events) => {
      await ingestEvents(stores.database.db, events);
      for (const job of ['requeue-usage', 'aggregate-usage', 'submit-meter-events']) await pipeline.run(job);
      return pipeline.simulator.countedTotal({ customer, meter: 'calls' });
    };
    const put: Used['put'] = (change) => putMeter({ clock, meters: stores.meters }, { key: 'calls', change });
    expect(await totalWith({ at: '2026-06-15T11:10:00Z', quantity: '1' })).toBe('1');
    await use({ pipeline, put, totalWith });
  });
}

const meterCalls = ({ stores, clock }: Pipeline) => ({ clock, meters: stores.meters });

describe('a meter that is archived', () => {
  it('counts and sends what was used before, and nothing from that instant on', () =>
    withUsedMeter(async ({ pipeline, totalWith }) => {
      const { clock, stores } = pipeline;
      const dry = await archiveMeter(meterCalls(pipeline), { key: 'calls', dryRun: true });
      expect(dry.meter.archivedFrom).toEqual(new Date('2026-06-15T13:00:00Z'));
      expect((await stores.meters.find('calls'))?.archivedFrom).toBeUndefined();
      await archiveMeter(meterCalls(pipeline), { key: 'calls' });
      // Again it says the same, also later.
      clock.advance(5 * 3_600_000);
      const again = await archiveMeter(meterCalls(pipeline), { key: 'calls' });
      expect(again.meter).toMatchObject({ archivedFrom: new Date('2026-06-15T13:00:00Z'), revision: 2 });
      expect(
        await totalWith(
          { at: '2026-06-15T12:59:59.999Z', quantity: '2' },
          { at: '2026-06-15T13:00:00Z', quantity: '4' },
          { at: '2026-06-15T15:00:00Z', quantity: '8' },
        ),
      ).toBe('3');
      expect(await pipeline.run('verify-usage', { period: '2026-06' })).toMatchObject({ differing: 0 });
      expect(await pipeline.run('reconcile-usage')).toMatchObject({ verdicts: { match: 1 } });
    }));

  it('counts again when that is undone, also what came meanwhile', () =>
    withUsedMeter(async ({ pipeline, put, totalWith }) => {
      await archiveMeter(meterCalls(pipeline), { key: 'calls' });
      pipeline.clock.advance(5 * 3_600_000);
      expect(await totalWith({ at: '2026-06-15T15:00:00Z', quantity: '8' })).toBe('1');
      await put({ archivedFrom: null });
      expect(await totalWith()).toBe('9');
    }));

  it.each(['2026-06-15T12:00:00Z', '2026-06-15T13:30:00Z', 'soon'])('is not archived from %s', (from) =>
    withUsedMeter(async ({ pipeline }) => {
      await expect(archiveMeter(meterCalls(pipeline), { key: 'calls', from })).rejects.toMatchObject({
        code: 'meter_invalid',
        context: { pointer: '/archivedFrom' },
      });
    }),
  );
});

describe('a meter whose sending is stopped', () => {
  it('goes on counting, sends nothing, and goes on where it was, to the same Stripe meter only', () =>
    withUsedMeter(async ({ pipeline, put, totalWith }) => {
      pipeline.clock.advance(5 * 3_600_000);
      await put({ stripe: null });
      expect(await totalWith({ at: '2026-06-15T15:00:00Z', quantity: '8' })).toBe('1');
      expect(await pipeline.stores.submissions.countInStates(['blocked'])).toBe(0);
      await expect(put({ stripe: { eventName: 'others' } })).rejects.toMatchObject({ code: 'meter_in_use' });
      await put({ stripe: { eventName: 'calls' } });
      expect(await totalWith()).toBe('9');
    }));
});

describe('a definition that is tried', () => {
  it('says what it would have counted of past events, and stores nothing', () =>
    withUsedMeter(async ({ pipeline }) => {
      const { db } = pipeline.stores.database;
      await ingestEvents(db, [
        { at: '2026-06-15T10:00:00Z', properties: { status: '200', size: 5 } },
        { at: '2026-06-15T10:30:00Z', properties: { status: '200', size: 'big' } },
        { at: '2026-06-15T10:40:00Z', properties: { status: '500', size: 7 } },
        { at: '2026-06-15T11:40:00Z', customerId: 'bolt', properties: { status: '200', size: 9 } },
      ]);
      const before = await pipeline.stores.meters.list();
      const deps = {
        clock: pipeline.clock,
        toMeter: (definition: Parameters<Parameters<typeof previewMeter>[0]['toMeter']>[0]) =>
          toMeter({ ...definition, where: [...definition.where], groupBy: [...definition.groupBy] }),
        customerIds: (hours: { from: number; to: number }) => auditedCustomerIds(db, hours),
        withAudit: <T>(work: Parameters<typeof withUsageAudit<T>>[1]) => withUsageAudit(db, work),
      };
      const definition: MeterChange = {
        eventType: 'call',
        aggregation: 'sum',
        valueFrom: 'properties.size',
        where: [{ property: 'status', in: ['200'] }],
      };
      const range = { from: '2026-06-15T10:00:00Z', to: '2026-06-15T12:00:00Z' };
      expect(await previewMeter(deps, { definition, ...range })).toMatchObject({
        customers: [
          { customerId: 'acme', quantity: '5', eventCount: 1, uncountable: 1 },
          { customerId: 'bolt', quantity: '9', eventCount: 1, uncountable: 0 },
        ],
        hasMore: false,
      });
      const max: MeterChange = { eventType: 'call', aggregation: 'max', valueFrom: 'properties.size' };
      expect(await previewMeter(deps, { definition: max, ...range, customerId: 'acme' })).toMatchObject({
        customers: [{ quantity: '7', eventCount: 2, uncountable: 2 }],
      });
      expect(await pipeline.stores.meters.list()).toEqual(before);
      await expect(previewMeter(deps, { definition: {}, ...range })).rejects.toMatchObject({ code: 'meter_invalid' });
      await expect(previewMeter(deps, { definition, from: range.to, to: range.from })).rejects.toMatchObject({
        code: 'range_invalid',
      });
    }));
});
