import { afterEach, describe, expect, it } from 'vitest';
import { onBoundary } from '../../src/platform/boundary.ts';
import { HOUR_MS, MINUTE_MS } from '../../src/platform/durations.ts';
import { guardOf, hear, latestInvoice, look, passTime, subscribe, wayOf } from '../support/billing.ts';
import { loseAtStripe } from '../support/drift.ts';
import { type Pipeline, withPipeline } from '../support/pipeline.ts';
import { ingestEvents, meterOf, ms, storeMeters } from '../support/usage.ts';

const BEGIN_MS = ms('2026-06-15T12:23:45Z');
const END_MS = ms('2026-07-15T12:23:45Z');
const DUE_MS = END_MS + 50 * MINUTE_MS;
const FINAL_MS = END_MS + HOUR_MS;

type Options = Parameters<typeof withPipeline>[0];

/** A customer with usage in a period that has just ended, and the draft of its invoice. */
function withDraft(options: Options, use: (pipeline: Pipeline, customer: string) => Promise<void>): Promise<void> {
  return withPipeline(options, async (pipeline) => {
    const { stores, clock, simulator } = pipeline;
    await storeMeters(stores.database.db, [meterOf({ key: 'calls', stripe: { eventName: 'calls' } })]);
    await pipeline.run('sync-meters');
    const customer = await pipeline.mapCustomer('acme');
    clock.advance(BEGIN_MS - clock.now());
    await subscribe(pipeline, customer, ['calls']);
    await hear(pipeline);
    await simulator.advanceTo(END_MS - 2 * HOUR_MS);
    await ingestEvents(stores.database.db, [
      { at: '2026-06-15T12:23:44.999Z', quantity: '1000' },
      { at: '2026-06-15T12:23:45Z', quantity: '5' },
      { at: '2026-07-10T08:00:00Z', quantity: '7.000000000001' },
    ]);
    await sendAll(pipeline);
    await simulator.advanceTo(END_MS);
    await ingestEvents(stores.database.db, [
      { at: '2026-07-15T12:23:44.999Z', quantity: '3' },
      { at: '2026-07-15T12:23:45Z', quantity: '100' },
    ]);
    await hear(pipeline);
    await use(pipeline, customer);
  });
}

async function sendAll(pipeline: Pipeline): Promise<void> {
  await pipeline.run('aggregate-usage');
  await pipeline.run('submit-meter-events');
}

/** Stripe loses the meter event of 5, without our knowing. */
async function loseOne(pipeline: Pipeline): Promise<void> {
  const lost = pipeline.simulator.meterEvents().find(({ value }) => value === '5');
  await loseAtStripe(pipeline, lost?.identifier ?? '');
}

async function billed(pipeline: Pipeline, customer: string): Promise<string | undefined> {
  return (await latestInvoice(pipeline, customer)).lines.data[0]?.quantity_decimal?.toString();
}

afterEach(() => onBoundary(undefined));

describe('guardInvoices', () => {
  it('has what is left of the period sent, passes, looks once more before the time, and compares what is billed', () =>
    withDraft({ environment: { WINDOW_SETTLE_MS: '86400000' } }, async (pipeline, customer) => {
      const { clock, simulator } = pipeline;
      const wanted = [];
      for (let minutes = 0; minutes < 3; minutes += 1) {
        wanted.push(...(await look(pipeline)).map(({ job, input }) => [job, input]));
        await simulator.advanceTo(clock.now() + MINUTE_MS);
      }
      expect(wanted).toEqual([
        ['aggregate-usage', undefined],
        ['submit-meter-events', { flush: true, customerId: 'acme' }],
      ]);
      expect(await guardOf(pipeline, customer)).toMatchObject({ state: 'passed', customerId: 'acme' });
      await ingestEvents(pipeline.stores.database.db, [{ at: '2026-07-15T12:00:00Z', quantity: '0.5' }]);
      await passTime(pipeline, FINAL_MS + 3 * MINUTE_MS);
      const guard = await guardOf(pipeline, customer);
      expect(wayOf(guard)).toEqual(['watching', 'passed', 'watching', 'passed', 'final']);
      expect(guard.checkAt).toBeUndefined();
      expect(
        guard.lines.map((line) => ({ ...line, local: line.local?.toString(), billed: line.billed?.toString() })),
      ).toMatchObject([{ meter: 'calls', local: '15.500000000001', billed: '15.500000000001', verdict: 'match' }]);
      expect(await billed(pipeline, customer)).toBe('15.500000000001');
    }));

  it('holds an invoice whose summaries lag, and releases it when they are equal', () =>
    withDraft({ simulator: { summaryLagMs: 3 * HOUR_MS } }, async (pipeline, customer) => {
      await passTime(pipeline, DUE_MS - 1);
      expect(await guardOf(pipeline, customer)).toMatchObject({ state: 'watching' });
      expect(await latestInvoice(pipeline, customer)).toMatchObject({ status: 'draft', auto_advance: true });
      await passTime(pipeline, FINAL_MS + HOUR_MS);
      expect(await guardOf(pipeline, customer)).toMatchObject({ state: 'held', previousAutoAdvance: true });
      expect(await latestInvoice(pipeline, customer)).toMatchObject({ status: 'draft', auto_advance: false });
      await passTime(pipeline, END_MS + 6 * HOUR_MS);
      const guard = await guardOf(pipeline, customer);
      expect(wayOf(guard)).toEqual(['watching', 'holding', 'held', 'releasing', 'released', 'final']);
      expect(guard).toMatchObject({ releasedBy: 'tallystick', reason: 'equal', lines: [{ verdict: 'match' }] });
      expect(await latestInvoice(pipeline, customer)).toMatchObject({ status: 'paid' });
      expect(await billed(pipeline, customer)).toBe('15.000000000001');
    }));

  it('has drift reconciled while it holds, and releases what was healed', () =>
    withDraft({ environment: { HEAL_FRACTION_MAX: '1' } }, async (pipeline, customer) => {
      await sendAll(pipeline);
      await loseOne(pipeline);
      await passTime(pipeline, FINAL_MS);
      expect(await guardOf(pipeline, customer)).toMatchObject({ state: 'held', lines: [{ verdict: 'missing' }] });
      await passTime(pipeline, END_MS + 20 * HOUR_MS);
      expect(await guardOf(pipeline, customer)).toMatchObject({ state: 'final', lines: [{ verdict: 'match' }] });
      expect(await billed(pipeline, customer)).toBe('15.000000000001');
    }));

  it('lets a person release it, before or while it is held, and says afterwards that it bills less', () =>
    withDraft({}, async (pipeline, customer) => {
      const { stores, clock } = pipeline;
      await sendAll(pipeline);
      await loseOne(pipeline);
      await passTime(pipeline, DUE_MS + MINUTE_MS);
      const { id } = await latestInvoice(pipeline, customer);
      const release = { actor: 'dana', reason: 'customer agreed', at: new Date(clock.now()) };
      expect(await stores.invoiceGuards.requestRelease(id, release)).toMatchObject({ state: 'held' });
      expect(await stores.invoiceGuards.requestRelease(id, release)).toBeNull();
      await look(pipeline);
      expect(await guardOf(pipeline, customer)).toMatchObject({ state: 'released', releasedBy: 'dana' });
      await passTime(pipeline, clock.now() + 3 * HOUR_MS);
      expect(await guardOf(pipeline, customer)).toMatchObject({
        state: 'final',
        differs: true,
        lines: [{ verdict: 'missing' }],
      });
      expect(await stores.invoiceGuards.countDiffering(new Date(0))).toBe(1);
    }));

  it.each([
    ['hold', 'held', false],
    ['release', 'passed', true],
  ])('goes by GUARD_WITHOUT_VERDICT=%s when Stripe does not tell in time', (rule, state, advances) =>
    withDraft({ environment: { GUARD_WITHOUT_VERDICT: rule } }, async (pipeline, customer) => {
      await sendAll(pipeline);
      const route = 'GET /v1/billing/meters/{id}/event_summaries';
      pipeline.simulator.failNext('errorBefore', { route, times: 1_000 });
      await passTime(pipeline, DUE_MS + MINUTE_MS);
      expect(await guardOf(pipeline, customer)).toMatchObject({ state, reason: 'without_verdict' });
      expect((await latestInvoice(pipeline, customer)).auto_advance).toBe(advances);
    }),
  );
});
