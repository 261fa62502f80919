/** The guard's runs stopped, frozen and doubled at every boundary, and people who do things at Stripe meanwhile. */
import { afterEach, describe, expect, it } from 'vitest';
import { onBoundary } from '../../src/platform/boundary.ts';
import { HOUR_MS, MINUTE_MS } from '../../src/platform/durations.ts';
import { guardOf, hear, latestInvoice, look, passTime, stripeOf, subscribe, wayOf } from '../support/billing.ts';
import { type Pipeline, withPipeline } from '../support/pipeline.ts';
import { ingestEvents, meterOf, ms, storeMeters } from '../support/usage.ts';

const END_MS = ms('2026-07-15T12:00:00Z');
const DUE_MS = END_MS + 50 * MINUTE_MS;
const LAG_MS = 4 * HOUR_MS;

/** A customer whose summaries lag, at the moment at which the draft of its invoice is to be held. */
function withLaggingDraft(use: (pipeline: Pipeline, customer: string) => Promise<void>): Promise<void> {
  return withPipeline({ simulator: { summaryLagMs: LAG_MS, releasedInvoice: 'after-grace' } }, async (pipeline) => {
    const { stores, simulator } = pipeline;
    await storeMeters(stores.database.db, [meterOf({ key: 'calls', stripe: { eventName: 'calls' } })]);
    await pipeline.run('sync-meters');
    const customer = await pipeline.mapCustomer('acme');
    await subscribe(pipeline, customer, ['calls']);
    await hear(pipeline);
    await simulator.advanceTo(END_MS - HOUR_MS);
    await ingestEvents(stores.database.db, [{ at: '2026-07-15T08:00:00Z', quantity: '12' }]);
    await pipeline.run('aggregate-usage');
    await pipeline.run('submit-meter-events');
    await simulator.advanceTo(END_MS);
    await hear(pipeline);
    await passTime(pipeline, DUE_MS - 1);
    await simulator.advanceTo(DUE_MS);
    await use(pipeline, customer);
  });
}

/** A run that stays at a boundary, as a process does that is stopped there, until it is let go. */
async function freezeAt(
  pipeline: Pipeline,
  customer: string,
  place: [name: string, state: string],
): Promise<() => Promise<void>> {
  let thaw = (): void => {};
  let run: Promise<unknown> = Promise.resolve();
  await new Promise<void>((frozen, reject) => {
    onBoundary(async (name) => {
      if (name !== place[0] || (await guardOf(pipeline, customer)).state !== place[1]) return;
      onBoundary(undefined);
      frozen();
      await new Promise<void>((resolve) => {
        thaw = resolve;
      });
    });
    run = pipeline.run('guard-invoices');
    run.then(() => reject(new Error(`no run came to ${place.join(' of ')}`)), reject);
  });
  return async () => {
    thaw();
    await run;
  };
}

afterEach(() => onBoundary(undefined));

describe('a run of the guard that stops between two side effects', () => {
  it('is taken over with the same end, also when it wakes up again after all', () =>
    withLaggingDraft(async (pipeline, customer) => {
      const { clock } = pipeline;
      const thaws: (() => Promise<void>)[] = [];
      const stopAt = async (name: string, state: string): Promise<void> => {
        thaws.push(await freezeAt(pipeline, customer, [name, state]));
        clock.advance(2 * MINUTE_MS);
      };
      await stopAt('guard.stored', 'holding');
      expect(await guardOf(pipeline, customer)).toMatchObject({ state: 'holding', previousAutoAdvance: true });
      expect((await latestInvoice(pipeline, customer)).auto_advance).toBe(true);
      await stopAt('guard.called', 'holding');
      expect((await latestInvoice(pipeline, customer)).auto_advance).toBe(false);
      await stopAt('guard.call-stored', 'held');
      clock.advance(LAG_MS);
      await stopAt('guard.stored', 'releasing');
      expect((await latestInvoice(pipeline, customer)).auto_advance).toBe(false);
      await stopAt('guard.called', 'releasing');
      await stopAt('guard.call-stored', 'released');
      // The one that was about to hold wakes up last.
      for (const thaw of thaws.toReversed()) await thaw();
      expect(await latestInvoice(pipeline, customer)).toMatchObject({ status: 'draft', auto_advance: true });
      const guard = await guardOf(pipeline, customer);
      expect(wayOf(guard)).toEqual(['watching', 'holding', 'held', 'releasing', 'released']);
      expect(guard).toMatchObject({ previousAutoAdvance: true, releasedBy: 'tallystick', reason: 'equal' });
      await passTime(pipeline, clock.now() + 3 * HOUR_MS);
      expect(await guardOf(pipeline, customer)).toMatchObject({ state: 'final', lines: [{ verdict: 'match' }] });
    }));

  it.each(['errorBefore', 'errorDuring', 'errorAfter'] as const)(
    'has no effect when it wakes up before its hold after everything is over, also when the hold met %s meanwhile',
    (fault) =>
      withLaggingDraft(async (pipeline, customer) => {
        const { clock, simulator } = pipeline;
        const thaw = await freezeAt(pipeline, customer, ['guard.stored', 'holding']);
        clock.advance(2 * MINUTE_MS);
        simulator.failNext(fault, { route: 'POST /v1/invoices/{id}' });
        for (let rounds = 0; rounds < 2; rounds += 1) {
          await pipeline.run('guard-invoices');
          clock.advance(2 * MINUTE_MS);
        }
        expect(await guardOf(pipeline, customer)).toMatchObject({ state: 'held', previousAutoAdvance: true });
        clock.advance(LAG_MS);
        await look(pipeline);
        expect(await guardOf(pipeline, customer)).toMatchObject({ state: 'released', releasedBy: 'tallystick' });
        await thaw();
        expect(await latestInvoice(pipeline, customer)).toMatchObject({ status: 'draft', auto_advance: true });
        await passTime(pipeline, clock.now() + 3 * HOUR_MS);
        expect(await guardOf(pipeline, customer)).toMatchObject({ state: 'final', lines: [{ verdict: 'match' }] });
      }),
  );

  it('holds once and releases once when two run at the same time, and Stripe fails some of their calls', () =>
    withLaggingDraft(async (pipeline, customer) => {
      const { clock, simulator } = pipeline;
      const route = 'POST /v1/invoices/{id}';
      const both = async (): Promise<void> => {
        simulator.failNext('errorAfter', { route });
        simulator.failNext('answerLost', { route });
        for (let rounds = 0; rounds < 4; rounds += 1) {
          await Promise.all([pipeline.run('guard-invoices'), pipeline.run('guard-invoices')]);
          clock.advance(5 * MINUTE_MS);
        }
      };
      await both();
      expect(await guardOf(pipeline, customer)).toMatchObject({ state: 'held', previousAutoAdvance: true });
      expect((await latestInvoice(pipeline, customer)).auto_advance).toBe(false);
      clock.advance(LAG_MS);
      await both();
      const guard = await guardOf(pipeline, customer);
      expect(wayOf(guard)).toEqual(['watching', 'holding', 'held', 'releasing', 'released']);
      expect((await latestInvoice(pipeline, customer)).auto_advance).toBe(true);
    }));
});

describe('what a person does at Stripe', () => {
  it('stays done: an invoice that was kept from advancing is not held, and not released', () =>
    withLaggingDraft(async (pipeline, customer) => {
      const { id } = await latestInvoice(pipeline, customer);
      await stripeOf(pipeline).invoices.update(id, { auto_advance: false });
      // Before the webhook: the mirror still says that it advances.
      await look(pipeline);
      expect(await guardOf(pipeline, customer)).toMatchObject({ state: 'watching' });
      await passTime(pipeline, DUE_MS + LAG_MS + 7 * HOUR_MS);
      const guard = await guardOf(pipeline, customer);
      expect(guard).toMatchObject({ state: 'passed' });
      expect(guard.previousAutoAdvance).toBeUndefined();
      expect(await latestInvoice(pipeline, customer)).toMatchObject({ status: 'draft', auto_advance: false });
    }));

  it('ends a hold: what was finalised by hand is collected', () =>
    withLaggingDraft(async (pipeline, customer) => {
      const { invoices } = stripeOf(pipeline);
      await look(pipeline);
      const { id } = await latestInvoice(pipeline, customer);
      await invoices.finalizeInvoice(id);
      expect((await latestInvoice(pipeline, customer)).auto_advance).toBe(false);
      await hear(pipeline);
      await look(pipeline);
      expect(await latestInvoice(pipeline, customer)).toMatchObject({ status: 'open', auto_advance: true });
      const guard = await guardOf(pipeline, customer);
      expect(wayOf(guard)).toEqual(['watching', 'holding', 'held', 'releasing', 'released', 'final']);
      expect(guard).toMatchObject({
        reason: 'finalised_at_stripe',
        lines: [{ billed: expect.anything(), verdict: 'match' }],
      });
    }));

  it('ends a hold: what was let go there is not held again', () =>
    withLaggingDraft(async (pipeline, customer) => {
      await look(pipeline);
      const { id } = await latestInvoice(pipeline, customer);
      await stripeOf(pipeline).invoices.update(id, { auto_advance: true });
      await passTime(pipeline, DUE_MS + 2 * HOUR_MS);
      const guard = await guardOf(pipeline, customer);
      expect(wayOf(guard)).toEqual(['watching', 'holding', 'held', 'released', 'final']);
      expect(guard).toMatchObject({ releasedBy: 'stripe' });
    }));
});
