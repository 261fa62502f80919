/** Every outcome of a first attempt, looked at again at every age: Stripe counts the usage once. */
import { afterEach, describe, expect, it } from 'vitest';
import { onBoundary } from '../../src/platform/boundary.ts';
import { HOUR_MS, MINUTE_MS } from '../../src/platform/durations.ts';
import type { FaultKind } from '../../packages/stripe-double/src/faults.ts';
import { openStripe } from '../../src/stripe/client.ts';
import { submitNow } from '../../src/daemon/submission-jobs.ts';
import { type Pipeline, withPipeline } from '../support/pipeline.ts';
import { ingestEvents, meterOf, storeMeters } from '../support/usage.ts';

afterEach(() => onBoundary(undefined));

const ROUTE = 'POST /v1/billing/meter_events';
/** How long before the second look the first attempt was made. */
const AGES = { '22:59': 23 * HOUR_MS - MINUTE_MS, '23:01': 23 * HOUR_MS + MINUTE_MS, '25:00': 25 * HOUR_MS } as const;
type Age = keyof typeof AGES;
const OLDEST_FIRST: readonly Age[] = ['25:00', '23:01', '22:59'];

/** How Stripe's meter reads values: `sum` takes differences, `last` running figures. */
const METERS = {
  delta: meterOf({ key: 'calls', eventType: 'call', stripe: { eventName: 'calls' } }),
  period_total: meterOf({ key: 'peak', eventType: 'load', aggregation: 'max', stripe: { eventName: 'peak' } }),
} as const;
type Mode = keyof typeof METERS;

const QUANTITY = '7.5';

function customerOf(mode: Mode, age: Age): string {
  return `${mode}-${age.replace(':', '')}`;
}

async function prepare(pipeline: Pipeline): Promise<Map<string, string>> {
  const { stores, simulator } = pipeline;
  const stripe = openStripe({ secretKey: 'sk_test_outcomes', apiBase: simulator.url });
  await stripe.billing.meters.create({
    event_name: 'peak',
    display_name: 'peak',
    default_aggregation: { formula: 'last' },
  });
  await storeMeters(stores.database.db, Object.values(METERS));
  await pipeline.run('sync-meters');
  const stripeIds = new Map<string, string>();
  for (const mode of Object.keys(METERS) as Mode[]) {
    for (const age of OLDEST_FIRST) {
      const customerId = customerOf(mode, age);
      stripeIds.set(customerId, await pipeline.mapCustomer(customerId));
      const { eventType } = METERS[mode];
      await ingestEvents(stores.database.db, [
        { customerId, eventType, at: '2026-06-15T08:10:00Z', quantity: QUANTITY },
      ]);
    }
  }
  await pipeline.run('aggregate-usage');
  return stripeIds;
}

/** Makes one attempt, which fails as said, and stops. */
async function attemptOnce(pipeline: Pipeline, customerId: string, fault: FaultKind | undefined): Promise<void> {
  const stop = new AbortController();
  onBoundary((name) => {
    if (name === 'submit.settled') stop.abort();
    return undefined;
  });
  // The SDK sends a request once more when its connection breaks.
  const times = fault === 'answerLost' || fault === 'resetBefore' ? 2 : 1;
  if (fault !== undefined) pipeline.simulator.failNext(fault, { route: ROUTE, times });
  await submitNow(pipeline.parts, { customerId, signal: stop.signal });
  onBoundary(undefined);
  pipeline.simulator.clearFaults();
}

/** The states of a customer's submissions, in order of identifier. */
async function statesOf({ stores }: Pipeline, customerId: string): Promise<string> {
  const found = await stores.submissions.list({ customerId, limit: 10 });
  return found.map(({ state }) => state).join(', ');
}

const TRIED_AGAIN = 'accepted';
const DECIDED_UNCOUNTED = 'replaced, accepted';

/** What becomes of a submission, by what came of its first attempt and when it is looked at again. */
const ENDS: readonly [
  outcome: string,
  fault: FaultKind | undefined,
  ends: Readonly<Record<Mode, Readonly<Record<Age, string>>>>,
][] = [
  ['was accepted', undefined, everywhere('accepted')],
  ['was declined with 429', 'tooManyRequests', everywhere(TRIED_AGAIN)],
  ['was declined with 409', 'conflict', everywhere(TRIED_AGAIN)],
  ['counted and its answer was lost', 'answerLost', inTime(TRIED_AGAIN, { late: 'confirmed' })],
  ['never arrived', 'resetBefore', inTime(TRIED_AGAIN, { late: DECIDED_UNCOUNTED })],
  ['was answered 500 before it counted', 'errorBefore', inTime(TRIED_AGAIN, { late: DECIDED_UNCOUNTED })],
  ['was answered 500 for good without counting', 'errorDuring', inTime(TRIED_AGAIN, { late: DECIDED_UNCOUNTED })],
  ['counted and was answered 500', 'errorAfter', inTime('duplicate', { late: 'confirmed' })],
];

function everywhere(end: string): Record<Mode, Record<Age, string>> {
  const ends = { '22:59': end, '23:01': end, '25:00': end };
  return { delta: ends, period_total: ends };
}

/** A running figure is sent again under a new identifier in any case: it takes its own place. */
function inTime(end: string, { late }: { late: string }): Record<Mode, Record<Age, string>> {
  return {
    delta: { '22:59': end, '23:01': late, '25:00': late },
    period_total: { '22:59': end, '23:01': DECIDED_UNCOUNTED, '25:00': DECIDED_UNCOUNTED },
  };
}

describe('usage whose first attempt', () => {
  it.each(ENDS)('%s is counted once, 22:59, 23:01 and 25 hours later', (_, fault, ends) =>
    withPipeline({}, async (pipeline) => {
      const stripeIds = await prepare(pipeline);
      const endMs = pipeline.clock.now() + AGES['25:00'];
      for (const age of OLDEST_FIRST) {
        pipeline.clock.advance(endMs - AGES[age] - pipeline.clock.now());
        for (const mode of Object.keys(METERS) as Mode[]) await attemptOnce(pipeline, customerOf(mode, age), fault);
      }
      pipeline.clock.advance(endMs - pipeline.clock.now());
      await pipeline.run('submit-meter-events');
      await pipeline.run('resolve-submissions');
      pipeline.clock.advance(11 * MINUTE_MS);
      await pipeline.run('resolve-submissions');
      await pipeline.run('submit-meter-events');

      const found: Record<string, string> = {};
      const expected: Record<string, string> = {};
      for (const mode of Object.keys(METERS) as Mode[]) {
        for (const age of OLDEST_FIRST) {
          const customerId = customerOf(mode, age);
          const customer = stripeIds.get(customerId) ?? '';
          const counted = pipeline.simulator.countedTotal({ customer, meter: METERS[mode].key });
          found[customerId] = `${await statesOf(pipeline, customerId)}; counted ${counted}`;
          expected[customerId] = `${ends[mode][age]}; counted ${QUANTITY}`;
        }
      }
      expect(found).toEqual(expected);
    }),
  );
});
