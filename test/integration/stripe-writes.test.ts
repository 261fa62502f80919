/** The one door through which anything is changed at Stripe, against a simulator that keeps and repeats its 500s. */
import { describe, expect, it } from 'vitest';
import { SkippingClock } from '../../scripts/lib/torture/skipping-clock.ts';
import { syncMeters } from '../../src/meters/sync-meters.ts';
import { DaemonError } from '../../src/platform/errors.ts';
import { type Simulator, startSimulator } from '../../packages/stripe-double/src/simulator.ts';
import { openStripe } from '../../src/stripe/client.ts';
import { StripeMeters } from '../../src/meters/meters-stripe.ts';
import { StripeWrites, WRITE_SPAN_MS_MAX } from '../../src/stripe/writes.ts';
import { meterOf } from '../support/usage.ts';
import { type SimulatorFixture, startMs, withSimulator } from './simulator-fixture.ts';

const CREATE = 'POST /v1/billing/meters';
const CALLS = { eventName: 'calls', displayName: 'Calls' };
const SEEDS = 40;
/** Three calls in ten go wrong, each in another way. */
const FAULTS = {
  errorBefore: 0.06,
  errorDuring: 0.06,
  errorAfter: 0.06,
  answerLost: 0.04,
  resetBefore: 0.04,
  conflict: 0.02,
  tooManyRequests: 0.02,
};

function metersOf({ url }: Pick<Simulator, 'url'>, clock = new SkippingClock(startMs)): StripeMeters {
  const stripe = openStripe({ secretKey: 'sk_test_writes', apiBase: url });
  const pace = (): Promise<void> => Promise.resolve();
  return new StripeMeters(stripe, new StripeWrites({ stripe, pace, clock, random: Math.random }));
}

async function namesAt(stripe: SimulatorFixture['stripe']): Promise<string[]> {
  return (await stripe.billing.meters.list({ limit: 100 })).data.map(({ event_name: name }) => name);
}

/** As the queue does it: again while what is in the way passes by itself. */
async function insist<T>(work: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof DaemonError) || error.kind !== 'transient') throw error;
    }
  }
}

describe('creating a meter', () => {
  it(`ends with the meter, exactly once, at 30 % faults, for ${SEEDS} seeds`, { timeout: 180_000 }, async () => {
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      await withSimulator({ seed }, async ({ simulator, stripe }) => {
        simulator.setFaults(FAULTS);
        const stripeMeters = metersOf(simulator);
        const meters = (): Promise<ReturnType<typeof meterOf>[]> =>
          Promise.resolve(['calls', 'seats'].map((name) => meterOf({ key: name, stripe: { eventName: name } })));
        await insist(() => syncMeters({ meters, stripeMeters }));
        simulator.clearFaults();
        expect((await namesAt(stripe)).toSorted()).toEqual(['calls', 'seats']);
      });
    }
  });

  it.each(['errorDuring', 'errorAfter'] as const)('goes on under the next key after a 500 that is kept (%s)', (fault) =>
    withSimulator({}, async ({ simulator, stripe }) => {
      simulator.failNext(fault, { route: CREATE, times: 3 });
      expect(await metersOf(simulator).create(CALLS)).toMatchObject({ eventName: 'calls' });
      expect(await namesAt(stripe)).toEqual(['calls']);
    }),
  );

  it('goes on where an earlier process left keys that are used up', () =>
    withSimulator({}, async ({ simulator, stripe }) => {
      simulator.failNext('errorDuring', { route: CREATE, times: 1_000 });
      const first = metersOf(simulator).create(CALLS);
      await expect(first).rejects.toMatchObject({ kind: 'transient', code: 'stripe_unavailable' });
      simulator.clearFaults();
      expect(await metersOf(simulator).create(CALLS)).toMatchObject({ eventName: 'calls' });
      expect(await namesAt(stripe)).toEqual(['calls']);
    }));

  it('finds the meter that somebody else made at the same time', () =>
    withSimulator({}, async ({ simulator }) => {
      const [one, other] = await Promise.all([metersOf(simulator).create(CALLS), metersOf(simulator).create(CALLS)]);
      expect(one.id).toBe(other.id);
    }));

  it.each([
    ['errorBefore', 'Stripe answered 500'],
    ['conflict', 'Stripe answered 409'],
    ['tooManyRequests', 'Stripe asks for fewer calls (429)'],
    ['resetBefore', 'Stripe did not answer'],
  ] as const)('gives up within its time, and says what Stripe answered last (%s)', (fault, message) =>
    withSimulator({}, async ({ simulator }) => {
      const clock = new SkippingClock(startMs);
      simulator.failNext(fault, { route: CREATE, times: 10_000 });
      const error: unknown = await metersOf(simulator, clock)
        .create(CALLS)
        .catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ kind: 'transient', message: expect.stringContaining(message) });
      expect(clock.now() - startMs).toBeLessThanOrEqual(WRITE_SPAN_MS_MAX);
      expect(clock.now() - startMs).toBeGreaterThan(WRITE_SPAN_MS_MAX / 2);
    }),
  );

  it('is not tried again where Stripe refuses for good', () =>
    withSimulator({}, async ({ simulator }) => {
      const refused = metersOf(simulator).create({ ...CALLS, eventName: 'x'.repeat(101) });
      await expect(refused).rejects.toMatchObject({ kind: 'rejected', code: 'stripe_refused' });
      expect(simulator.requests()[CREATE]?.requests).toBeLessThanOrEqual(2);
    }));

  it('says of Stripe only that it did not answer where it did not', async () => {
    const simulator = await startSimulator({});
    await simulator.stop();
    await expect(metersOf(simulator).list()).rejects.toMatchObject({
      message: expect.stringMatching(/^Stripe did not answer/),
    });
  });
});
