import { Decimal128 } from 'mongodb';
import { afterEach, describe, expect, it } from 'vitest';
import { decideSubmission } from '../../src/submissions/resolving/decide-submission.ts';
import { resendSubmission } from '../../src/submissions/resolving/resend-submission.ts';
import { onBoundary } from '../../src/platform/boundary.ts';
import type { SubmissionState } from '../../src/submissions/submission.ts';
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../../src/platform/durations.ts';
import { openStripe } from '../../src/stripe/client.ts';
import { rejectSamples, submitNow } from '../../src/daemon/submission-jobs.ts';
import { loseAtStripe, settle } from '../support/drift.ts';
import { type Pipeline, withPipeline } from '../support/pipeline.ts';
import { ingestEvents, meterOf, storeMeters } from '../support/usage.ts';

afterEach(() => onBoundary(undefined));

const ROUTE = 'POST /v1/billing/meter_events';
const CALLS = meterOf({ key: 'calls', stripe: { eventName: 'calls' } });
const HOUR = '2026-06-15T08';

async function prepare(pipeline: Pipeline): Promise<string> {
  await storeMeters(pipeline.stores.database.db, [CALLS]);
  await pipeline.run('sync-meters');
  return pipeline.mapCustomer('acme');
}

/** Adds usage to the one hour; each time it becomes a submission of its own. */
async function use(pipeline: Pipeline, quantity: string): Promise<void> {
  await ingestEvents(pipeline.stores.database.db, [{ at: `${HOUR}:10:00Z`, quantity }]);
  await pipeline.run('aggregate-usage');
}

/** Adds usage, sends it once without an answer, and stops. */
async function useUnanswered(pipeline: Pipeline, quantity: string, fault: 'answerLost' | 'resetBefore'): Promise<void> {
  await use(pipeline, quantity);
  const stop = new AbortController();
  onBoundary((name) => {
    if (name === 'submit.settled') stop.abort();
    return undefined;
  });
  pipeline.simulator.failNext(fault, { route: ROUTE, times: 2 });
  await submitNow(pipeline.parts, { signal: stop.signal });
  onBoundary(undefined);
  pipeline.simulator.clearFaults();
}

/** Takes the answered state away, so that the next submission of the hour can be planned beside one in doubt. */
async function setState({ stores }: Pipeline, from: SubmissionState, state: SubmissionState): Promise<void> {
  await stores.database.db.collection('meter_submissions').updateMany({ state: from }, { $set: { state } });
}

async function states({ stores }: Pipeline): Promise<string[]> {
  const found = await stores.submissions.list({ limit: 50 });
  return found.map(
    ({ state, value, reason }) => `${state} ${String(value)}${reason === 'undecided' ? ' undecided' : ''}`,
  );
}

/** Two runs, far enough apart. */
async function resolveTwice(pipeline: Pipeline): Promise<Record<string, unknown>> {
  await pipeline.run('resolve-submissions');
  pipeline.clock.advance(11 * MINUTE_MS);
  return pipeline.run('resolve-submissions');
}

describe('a submission in doubt for more than 23 hours', () => {
  it('is decided by two equal readings beyond the lag, and by no reading before', () =>
    withPipeline({ simulator: { summaryLagMs: 11 * HOUR_MS } }, async (pipeline) => {
      const customer = await prepare(pipeline);
      await use(pipeline, '3');
      await useUnanswered(pipeline, '5', 'answerLost');
      pipeline.clock.advance(22 * HOUR_MS);
      // A late event keeps the hour from settling, since its own meter event may not show yet.
      await setState(pipeline, 'in_doubt', 'accepted');
      await use(pipeline, '2');
      await pipeline.run('submit-meter-events');
      await pipeline.stores.database.db
        .collection('meter_submissions')
        .updateOne({ doubtful: true }, { $set: { state: 'in_doubt' } });
      pipeline.clock.advance(2 * HOUR_MS);
      for (let runs = 0; runs < 3; runs += 1) {
        expect(await resolveTwice(pipeline)).toMatchObject({ waiting: 1, reads: 0, confirmed: 0, replaced: 0 });
      }
      pipeline.clock.advance(11 * HOUR_MS);
      expect(await pipeline.run('resolve-submissions')).toMatchObject({ waiting: 1, reads: 1 });
      expect(await pipeline.run('resolve-submissions')).toMatchObject({ waiting: 1, reads: 0 });
      pipeline.clock.advance(11 * MINUTE_MS);
      expect(await pipeline.run('resolve-submissions')).toMatchObject({ confirmed: 1, reads: 1, waiting: 0 });
      expect(pipeline.simulator.countedTotal({ customer, meter: 'calls' })).toBe('10');
    }));

  it('is read anew when the ledger of its hour changed between the readings', () =>
    withPipeline({}, async (pipeline) => {
      const customer = await prepare(pipeline);
      await useUnanswered(pipeline, '5', 'resetBefore');
      pipeline.clock.advance(DAY_MS);
      expect(await pipeline.run('resolve-submissions')).toMatchObject({ reads: 1, waiting: 1 });
      await setState(pipeline, 'in_doubt', 'accepted');
      await use(pipeline, '5');
      await pipeline.run('submit-meter-events');
      await pipeline.stores.database.db
        .collection('meter_submissions')
        .updateOne({ doubtful: true }, { $set: { state: 'in_doubt' } });
      pipeline.clock.advance(13 * HOUR_MS);
      expect(await pipeline.run('resolve-submissions')).toMatchObject({ reads: 1, waiting: 1, replaced: 0 });
      pipeline.clock.advance(11 * MINUTE_MS);
      expect(await pipeline.run('resolve-submissions')).toMatchObject({ reads: 1, replaced: 1 });
      await pipeline.run('submit-meter-events');
      expect(pipeline.simulator.countedTotal({ customer, meter: 'calls' })).toBe('10');
    }));

  it.each([
    ['all counted', ['answerLost', 'answerLost'], ['confirmed 5', 'confirmed 6'], '11'],
    ['none counted', ['resetBefore', 'resetBefore'], ['replaced 5', 'accepted 5', 'replaced 6', 'accepted 6'], '11'],
  ] as const)('is decided together with the others of its hour when %s', (_, faults, ends, total) =>
    withPipeline({}, async (pipeline) => {
      const customer = await twoInDoubt(pipeline, faults);
      await resolveTwice(pipeline);
      await pipeline.run('submit-meter-events');
      expect(await states(pipeline)).toEqual(ends);
      expect(pipeline.simulator.countedTotal({ customer, meter: 'calls' })).toBe(total);
    }),
  );

  it.each([
    ['has not counted where Stripe holds nothing of its hour, though it had taken something', '3', 'replaced 5'],
    ['is left to a person where what Stripe lost may be a correction', '-3', 'in_doubt 5 undecided'],
  ])('%s', (_, taken, end) =>
    withPipeline({ environment: { HEAL_FRACTION_MAX: '1' } }, async (pipeline) => {
      const { db } = pipeline.stores.database;
      const customer = await prepare(pipeline);
      await use(pipeline, '3');
      await pipeline.run('submit-meter-events');
      const [sent] = await pipeline.stores.submissions.list({ limit: 1 });
      await loseAtStripe(pipeline, sent?._id ?? '');
      await db
        .collection<{ _id: string }>('meter_submissions')
        .updateOne({ _id: sent?._id ?? '' }, { $set: { value: Decimal128.fromString(taken) } });
      await useUnanswered(pipeline, '5', 'resetBefore');
      expect(pipeline.simulator.countedTotal({ customer, meter: 'calls' })).toBe('0');
      pipeline.clock.advance(DAY_MS);
      await resolveTwice(pipeline);
      expect((await states(pipeline))[1]).toBe(end);
      if (taken !== '3') return;
      // What was lost is reconciliation's to mend, once there is no doubt left.
      await settle(pipeline);
      expect(await pipeline.run('reconcile-usage')).toMatchObject({ verdicts: { missing: 1 }, healed: 1 });
      await pipeline.run('submit-meter-events');
      expect(pipeline.simulator.countedTotal({ customer, meter: 'calls' })).toBe('8');
    }),
  );

  it('is left to a person where the total does not tell, and is then decided as the person says', () =>
    withPipeline({}, async (pipeline) => {
      const customer = await twoInDoubt(pipeline, ['answerLost', 'resetBefore']);
      expect(await resolveTwice(pipeline)).toMatchObject({ undecided: 2 });
      expect(await states(pipeline)).toEqual(['in_doubt 5 undecided', 'in_doubt 6 undecided']);
      // Nothing has changed, so nothing is read again.
      expect(await resolveTwice(pipeline)).toMatchObject({ undecided: 2, reads: 0 });
      const [, second] = await pipeline.stores.submissions.list({ limit: 2 });
      const decision = { identifier: second?._id ?? '', counted: false, actor: 'kim', reason: 'seen in the dashboard' };
      await decideSubmission(decisions(pipeline), decision);
      await expect(decideSubmission(decisions(pipeline), decision)).rejects.toMatchObject({
        code: 'submission_not_decidable',
      });
      // With one of them decided, the total tells of the other.
      await pipeline.run('submit-meter-events');
      pipeline.clock.advance(13 * HOUR_MS);
      expect(await resolveTwice(pipeline)).toMatchObject({ confirmed: 1, undecided: 0 });
      expect(await states(pipeline)).toEqual(['confirmed 5', 'replaced 6 undecided', 'accepted 6']);
      expect(pipeline.simulator.countedTotal({ customer, meter: 'calls' })).toBe('11');
      expect((await pipeline.stores.submissions.find(second?._id ?? ''))?.history.at(-1)).toMatchObject({
        change: 'replace',
        actor: 'kim',
        reason: 'seen in the dashboard',
      });
    }));

  it('reaches the same end when it is stopped after any side effect', async () => {
    for (const place of ['resolve.summary-read', 'replace.successor-named', 'resolve.doubt-replaced']) {
      await withPipeline({}, async (pipeline) => {
        const customer = await twoInDoubt(pipeline, ['resetBefore', 'resetBefore']);
        await pipeline.run('resolve-submissions');
        pipeline.clock.advance(11 * MINUTE_MS);
        onBoundary((name) => {
          if (name === place) throw new Error(`stopped at ${name}`);
          return undefined;
        });
        await expect(pipeline.run('resolve-submissions')).rejects.toThrow(`stopped at ${place}`);
        onBoundary(undefined);
        for (let rounds = 0; rounds < 2; rounds += 1) {
          await pipeline.run('submit-meter-events');
          pipeline.clock.advance(13 * HOUR_MS);
          await resolveTwice(pipeline);
        }
        await pipeline.run('submit-meter-events');
        expect(pipeline.simulator.countedTotal({ customer, meter: 'calls' })).toBe('11');
      });
    }
  });
});

/** Two submissions of 5 and 6 in one hour, in doubt for a day. */
async function twoInDoubt(pipeline: Pipeline, faults: readonly ('answerLost' | 'resetBefore')[]): Promise<string> {
  const customer = await prepare(pipeline);
  await useUnanswered(pipeline, '5', faults[0] ?? 'answerLost');
  await setState(pipeline, 'in_doubt', 'accepted');
  await useUnanswered(pipeline, '6', faults[1] ?? 'answerLost');
  await pipeline.stores.database.db
    .collection('meter_submissions')
    .updateMany({ doubtful: true }, { $set: { state: 'in_doubt' }, $unset: { acceptedAt: 1 } });
  pipeline.clock.advance(DAY_MS);
  return customer;
}

function decisions({ stores, clock }: Pipeline): Parameters<typeof decideSubmission>[0] {
  return { entries: stores.outboxEntries, replace: (...args) => stores.ledger.replace(...args), clock };
}

describe('a submission that Stripe rejected after its 200', () => {
  const CODE = 'meter_event_customer_not_found';

  /** Usage of a customer that is mapped to one Stripe does not have, sent and reported. */
  async function rejectOne(pipeline: Pipeline, stripeCustomerId = 'cus_gone'): Promise<string> {
    await prepare(pipeline);
    await map(pipeline, stripeCustomerId);
    await use(pipeline, '5');
    await pipeline.run('submit-meter-events');
    await report(pipeline);
    const [first] = await pipeline.stores.submissions.list({ limit: 1 });
    return first?._id ?? '';
  }

  async function map(pipeline: Pipeline, stripeCustomerId: string): Promise<void> {
    await pipeline.stores.database.db
      .collection<{ _id: string }>('customers')
      .updateOne({ _id: 'acme' }, { $set: { stripeCustomerId } });
  }

  /** Hands over what Stripe reports; by the idempotency key, as one of its two forms does. */
  async function report(pipeline: Pipeline): Promise<Record<string, unknown>> {
    const samples = pipeline.simulator.asyncRejections.map(({ identifier, idempotencyKey, code, message }) => ({
      identifier: idempotencyKey ?? identifier,
      code,
      message,
    }));
    return { ...(await rejectSamples(pipeline.parts, { eventId: 'evt_1', samples })) };
  }

  it('is visible as rejected, however often it is reported', () =>
    withPipeline({}, async (pipeline) => {
      const identifier = await rejectOne(pipeline);
      expect(await pipeline.stores.submissions.find(identifier)).toMatchObject({ state: 'rejected', reason: CODE });
      expect(await report(pipeline)).toEqual({ rejected: 0, settled: 1, unknown: 0 });
      const samples = [{ identifier: 'somebody-else', code: CODE, message: '' }];
      expect(await rejectSamples(pipeline.parts, { eventId: 'evt_2', samples })).toMatchObject({ unknown: 1 });
    }));

  it('is left for the next time while an attempt is on its way', () =>
    withPipeline({}, async (pipeline) => {
      const identifier = await rejectOne(pipeline);
      await setState(pipeline, 'rejected', 'sending');
      await expect(report(pipeline)).rejects.toMatchObject({ kind: 'transient', code: 'submission_in_flight' });
      for (const state of ['in_doubt', 'confirmed', 'duplicate'] as const) {
        await pipeline.stores.database.db.collection('meter_submissions').updateMany({}, { $set: { state } });
        expect(await report(pipeline)).toMatchObject({ rejected: 1 });
      }
      expect((await pipeline.stores.submissions.find(identifier))?.state).toBe('rejected');
    }));

  it('is sent under a new identifier once the customer is mapped to one that exists', () =>
    withPipeline({}, async (pipeline) => {
      await rejectOne(pipeline);
      expect(await pipeline.run('resolve-submissions')).toMatchObject({ mended: 0, rejected: 1 });
      expect(await pipeline.run('resolve-submissions')).toMatchObject({ mended: 0, rejected: 0 });
      const customer = await pipeline.mapCustomer('acme');
      pipeline.clock.advance(HOUR_MS);
      expect(await pipeline.run('resolve-submissions')).toMatchObject({ mended: 1 });
      await pipeline.run('submit-meter-events');
      expect(await states(pipeline)).toEqual(['replaced 5', 'accepted 5']);
      expect(pipeline.simulator.countedTotal({ customer, meter: 'calls' })).toBe('5');
    }));

  it('is sent again at most five times while Stripe says that the customer exists and refuses all the same', () =>
    withPipeline({}, async (pipeline) => {
      const customer = await prepare(pipeline);
      await use(pipeline, '5');
      for (let days = 0; days < 10; days += 1) {
        await pipeline.run('submit-meter-events');
        const sent = await pipeline.stores.submissions.list({ state: 'accepted', limit: 10 });
        const samples = sent.map(({ _id }) => ({ identifier: _id, code: CODE, message: '' }));
        await rejectSamples(pipeline.parts, { eventId: `evt_${days}`, samples });
        pipeline.clock.advance(DAY_MS);
        await pipeline.run('resolve-submissions');
      }
      const all = await pipeline.stores.submissions.list({ limit: 20 });
      expect(all.map(({ state }) => state)).toEqual([...Array<string>(5).fill('replaced'), 'rejected']);
      const [last] = all.slice(-1);
      await resendSubmission(decisions(pipeline), {
        identifier: last?._id ?? '',
        actor: 'kim',
        reason: 'try once more',
      });
      await expect(
        resendSubmission(decisions(pipeline), { identifier: last?._id ?? '', actor: 'kim', reason: 'again' }),
      ).rejects.toMatchObject({ code: 'submission_not_rejected' });
      await pipeline.run('submit-meter-events');
      expect((await states(pipeline)).at(-1)).toBe('accepted 5');
      expect(customer).toMatch(/^cus_/);
    }));

  it('is sent again once the meter is active again', () =>
    withPipeline({}, async (pipeline) => {
      const customer = await prepare(pipeline);
      const stripe = openStripe({ secretKey: 'sk_test_archive', apiBase: pipeline.simulator.url });
      const meterId = (await stripe.billing.meters.list()).data[0]?.id ?? '';
      await use(pipeline, '5');
      await pipeline.run('submit-meter-events');
      const [sent] = await pipeline.stores.submissions.list({ limit: 1 });
      const samples = [{ identifier: sent?._id ?? '', code: 'archived_meter', message: '' }];
      await rejectSamples(pipeline.parts, { eventId: 'evt_1', samples });
      await stripe.billing.meters.deactivate(meterId);
      expect(await pipeline.run('resolve-submissions')).toMatchObject({ mended: 0, rejected: 1 });
      await stripe.billing.meters.reactivate(meterId);
      pipeline.clock.advance(HOUR_MS);
      expect(await pipeline.run('resolve-submissions')).toMatchObject({ mended: 1 });
      await pipeline.run('submit-meter-events');
      expect(pipeline.simulator.meterEvents().map(({ identifier }) => identifier)).toEqual([
        sent?._id,
        `${sent?._id ?? ''}~1`,
      ]);
      expect(customer).toMatch(/^cus_/);
    }));
});
