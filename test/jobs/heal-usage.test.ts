/** What reconciliation mends by itself, and what it leaves to a person. */
import { afterEach, describe, expect, it } from 'vitest';
import { onBoundary } from '../../src/platform/boundary.ts';
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../../src/platform/durations.ts';
import {
  addAtStripe,
  countTwice,
  loseAtStripe,
  prepareMeter,
  sendUsage,
  type SentCustomer,
  settle,
  USED,
} from '../support/drift.ts';
import { type Pipeline, withPipeline } from '../support/pipeline.ts';

afterEach(() => onBoundary(undefined));

const ANY_HEAL = { environment: { HEAL_FRACTION_MAX: '1' } };
const ADJUSTMENTS = 'POST /v1/billing/meter_event_adjustments';

/** Lends a pipeline with one customer whose usage is at Stripe. */
function withSent(use: (pipeline: Pipeline, sent: SentCustomer) => Promise<void>): Promise<void> {
  return withPipeline(ANY_HEAL, async (pipeline) => {
    await prepareMeter(pipeline);
    const [sent] = await sendUsage(pipeline, ['acme']);
    if (sent === undefined) throw new Error('nothing was sent');
    await use(pipeline, sent);
  });
}

function totalOf({ simulator }: Pipeline, sent: SentCustomer): string {
  return simulator.countedTotal({ customer: sent.stripeCustomerId, meter: 'calls' });
}

describe('a replaced submission that counted all the same', () => {
  it.each([
    ['is lost', 'answerLost'],
    ['is a 500 after the effect', 'errorAfter'],
    ['is a 500 before it', 'errorBefore'],
    ['asks for patience', 'tooManyRequests'],
  ] as const)('is cancelled once, also when the first answer %s', (_, fault) =>
    withSent(async (pipeline, sent) => {
      await countTwice(pipeline, sent);
      await settle(pipeline);
      expect(totalOf(pipeline, sent)).toBe('17');
      // The SDK sends a request again once when its connection breaks.
      pipeline.simulator.failNext(fault, { route: ADJUSTMENTS, times: 2 });
      expect(await pipeline.run('reconcile-usage')).toMatchObject({ verdicts: { surplus: 1 }, healed: 1 });
      pipeline.simulator.clearFaults();
      expect(await cancellationOf(pipeline, sent)).toMatchObject({ state: 'calling', attempts: 1 });
      pipeline.clock.advance(2 * MINUTE_MS);
      await pipeline.run('reconcile-usage', { dryRun: true });
      expect(await cancellationOf(pipeline, sent)).toMatchObject({ attempts: 1 });
      await pipeline.run('reconcile-usage');
      expect((await cancellationOf(pipeline, sent))?.state).not.toBe('calling');
      expect(totalOf(pipeline, sent)).toBe(USED);
      expect(await pipeline.run('reconcile-usage')).toMatchObject({ verdicts: { match: 1 }, healed: 0 });
      expect(pipeline.simulator.meterEventCount).toBe(3);
    }),
  );

  it('is taken back by a negative delta in its hour when Stripe refuses to cancel it, once no call can act any more', () =>
    withSent(async (pipeline, sent) => {
      await countTwice(pipeline, sent);
      await settle(pipeline);
      // Stripe's meter is asked for under another name: it does not know the event.
      await pipeline.stores.database.db
        .collection<{ _id: string }>('meter_submissions')
        .updateOne({ _id: sent.identifier }, { $set: { eventName: 'another' } });
      await pipeline.run('reconcile-usage');
      expect(await cancellationOf(pipeline, sent)).toMatchObject({ state: 'refused', attempts: 1 });
      pipeline.clock.advance(10 * HOUR_MS);
      await pipeline.run('reconcile-usage');
      await settle(pipeline, { lagMs: 3 * HOUR_MS });
      expect(await pipeline.run('reconcile-usage')).toMatchObject({ verdicts: { surplus: 1 }, healed: 1 });
      await pipeline.run('submit-meter-events');
      expect(totalOf(pipeline, sent)).toBe(USED);
      const [last] = pipeline.simulator.meterEvents().slice(-1);
      expect(last).toMatchObject({ value: '-7', timestamp: sent.hourMs / 1000 });
      expect(await pipeline.run('reconcile-usage')).toMatchObject({ verdicts: { match: 1 }, healed: 0 });
    }));
});

describe('a submission in doubt past its last attempt', () => {
  it('is confirmed when the total has exactly its value more, and nothing is sent', () =>
    withSent(async (pipeline, sent) => {
      await leaveInDoubt(pipeline, sent);
      expect(await pipeline.run('reconcile-usage')).toMatchObject({ verdicts: { in_flight: 1 } });
      expect((await pipeline.stores.submissions.find(sent.identifier))?.state).toBe('confirmed');
      expect(await pipeline.run('reconcile-usage')).toMatchObject({ verdicts: { match: 1 } });
      expect(pipeline.simulator.meterEventCount).toBe(2);
    }));

  it('is confirmed also by a process that stops right after', () =>
    withSent(async (pipeline, sent) => {
      await leaveInDoubt(pipeline, sent);
      onBoundary((name) => {
        if (name === 'correct.doubt-confirmed') throw new Error('the process stops here');
        return undefined;
      });
      await expect(pipeline.run('reconcile-usage')).rejects.toThrow('stops here');
      onBoundary(undefined);
      expect(await pipeline.run('reconcile-usage')).toMatchObject({ verdicts: { match: 1 }, healed: 0 });
    }));

  it('waits for a person when the total tells neither', () =>
    withSent(async (pipeline, sent) => {
      await addAtStripe(pipeline, sent, '1');
      await leaveInDoubt(pipeline, sent);
      expect(await pipeline.run('reconcile-usage')).toMatchObject({ healed: 0, waiting: 1 });
      expect((await pipeline.stores.submissions.find(sent.identifier))?.state).toBe('in_doubt');
    }));
});

describe('usage at Stripe that is not ours', () => {
  it('is not touched, whatever else is mended beside it', () =>
    withSent(async (pipeline, sent) => {
      await addAtStripe(pipeline, sent, '100');
      await settle(pipeline);
      expect(await pipeline.run('reconcile-usage')).toMatchObject({
        verdicts: { surplus: 1 },
        healed: 0,
        waiting: 1,
      });
      expect(totalOf(pipeline, sent)).toBe('110');
    }));
});

describe('what was lost after a match', () => {
  it('is noticed with the reads left over, a day later, though nothing was submitted since', () =>
    withSent(async (pipeline, sent) => {
      pipeline.clock.advance(13 * HOUR_MS);
      expect(await pipeline.run('reconcile-usage')).toMatchObject({ verdicts: { match: 1 }, reads: 1 });
      await loseAtStripe(pipeline, sent.identifier);
      expect(await pipeline.run('reconcile-usage')).toMatchObject({ verdicts: { match: 1 }, reads: 0 });
      await settle(pipeline, { lagMs: 21 * HOUR_MS });
      expect(await pipeline.run('reconcile-usage')).toMatchObject({ verdicts: { missing: 1 }, healed: 1 });
    }));

  it('is looked for once more when the period has ended, before the rest', () =>
    withSent(async (pipeline) => {
      pipeline.clock.advance(13 * HOUR_MS);
      await pipeline.run('reconcile-usage');
      // 15 June: the calendar month ends in a fortnight, and the lag half a day later.
      pipeline.clock.advance(Date.parse('2026-07-01T11:00:00Z') - pipeline.clock.now());
      await pipeline.run('reconcile-usage');
      expect(await pipeline.run('reconcile-usage')).toMatchObject({ reads: 0 });
      pipeline.clock.advance(2 * HOUR_MS);
      const result = await pipeline.run('reconcile-usage');
      expect(result).toMatchObject({ verdicts: { match: 2 }, reads: 1 });
    }));
});

async function cancellationOf(
  { stores }: Pipeline,
  sent: SentCustomer,
): Promise<{ state: string; attempts: number } | undefined> {
  return (await stores.submissions.find(sent.identifier))?.cancellation;
}

/** As after a day of lost answers: Stripe has counted it, and nobody knows. */
async function leaveInDoubt(pipeline: Pipeline, sent: SentCustomer): Promise<void> {
  const at = new Date(pipeline.clock.now());
  await pipeline.stores.database.db
    .collection<{ _id: string }>('meter_submissions')
    .updateOne(
      { _id: sent.identifier },
      { $set: { state: 'in_doubt', doubtful: true, firstAttemptAt: at, lastAttemptAt: at }, $unset: { acceptedAt: 1 } },
    );
  pipeline.clock.advance(DAY_MS);
  await pipeline.run('reconcile-usage');
  pipeline.clock.advance(11 * MINUTE_MS);
}
