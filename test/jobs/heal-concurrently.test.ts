/** Several processes find the same drift at the same time, and stop anywhere: Stripe is corrected once. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { afterEach, describe, expect, it } from 'vitest';
import { onBoundary } from '../../src/platform/boundary.ts';
import { HOUR_MS, MINUTE_MS } from '../../src/platform/durations.ts';
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

/** A kind of drift, and where its correction can be stopped. */
const DRIFTS: {
  name: string;
  make: (pipeline: Pipeline, sent: SentCustomer) => Promise<void>;
  lagMs?: number;
  /** Meter events that correct it, and cancellations. */
  made: { events: number; cancelled: number };
  /** `+`: only one process can come there, so the one that dies has to be tried as well. */
  boundaries: string[];
}[] = [
  {
    name: 'a submission that Stripe lost',
    make: (pipeline, sent) => loseAtStripe(pipeline, sent.identifier),
    made: { events: 1, cancelled: 0 },
    boundaries: [
      'reconcile.plan-made',
      'replace.successor-named',
      'replace.successor-named +',
      'reconcile.submission-replaced',
    ],
  },
  {
    name: 'a shortfall that nothing explains',
    make: async (pipeline, sent) => {
      await loseAtStripe(pipeline, sent.identifier);
      await addAtStripe(pipeline, sent, '2');
    },
    made: { events: 1, cancelled: 0 },
    boundaries: ['reconcile.plan-made', 'reconcile.topped-up'],
  },
  {
    name: 'a replaced submission that counted, within 24 hours',
    make: countTwice,
    made: { events: 0, cancelled: 1 },
    boundaries: [
      'reconcile.plan-made',
      'correct.cancellation-recorded',
      'correct.cancellation-recorded +',
      'correct.cancellation-answered',
      'correct.cancellation-answered +',
      'correct.cancellation-settled',
      'correct.cancellation-settled +',
    ],
  },
  {
    name: 'a replaced submission that counted, later',
    make: countTwice,
    lagMs: 26 * HOUR_MS,
    made: { events: 1, cancelled: 0 },
    boundaries: ['reconcile.plan-made', 'correct.offset-named', 'correct.offset-named +', 'correct.offset-made'],
  },
];

describe('a drift that several processes find at the same time', () => {
  it.each(DRIFTS)(
    'is corrected once, wherever one stops and another stands still: $name',
    { timeout: 90_000 },
    (drift) =>
      withPipeline(ANY_HEAL, async (pipeline) => {
        await prepareMeter(pipeline);
        const customers = await sendUsage(
          pipeline,
          drift.boundaries.map((_, index) => `customer-${index}`),
        );
        for (const sent of customers) await drift.make(pipeline, sent);
        await settle(pipeline, { lagMs: drift.lagMs ?? 13 * HOUR_MS });
        const before = customers.map((sent) => corrections(pipeline, sent));
        for (const [index, sent] of customers.entries()) {
          await correctInFourPlaces(pipeline, sent, drift.boundaries[index] ?? '');
        }
        // Nor does anybody who looks later correct it again.
        await settle(pipeline);
        await pipeline.run('reconcile-usage');
        await pipeline.run('submit-meter-events');
        const after = customers.map((sent) => corrections(pipeline, sent));
        for (const [index, name] of drift.boundaries.entries()) {
          const [then, now] = [before[index], after[index]];
          const made = {
            events: (now?.events ?? 0) - (then?.events ?? 0),
            cancelled: (now?.cancelled ?? 0) - (then?.cancelled ?? 0),
          };
          expect({ name, ...made, total: now?.total }).toEqual({ name, ...drift.made, total: USED });
        }
        const verdicts = { match: customers.length };
        expect(await pipeline.run('reconcile-usage')).toMatchObject({ verdicts, healed: 0, waiting: 0 });
      }),
  );
});

/** Meter events that Stripe took of a customer, those of them that were cancelled, and what counts. */
function corrections(
  { simulator }: Pipeline,
  sent: SentCustomer,
): { events: number; cancelled: number; total: string } {
  const { stripeCustomerId: customer } = sent;
  const events = simulator.meterEvents().filter((event) => event.customer === customer);
  return {
    events: events.length,
    cancelled: events.filter(({ outcome }) => outcome === 'cancelled').length,
    total: simulator.countedTotal({ customer, meter: 'calls' }),
  };
}

/**
 * One process or two come to a boundary and stand still there, one stops there for good, one goes through; what they made
 * is sent. Then those that stand still move on, one after the other, and what they made is sent, too.
 */
async function correctInFourPlaces(pipeline: Pipeline, sent: SentCustomer, name: string): Promise<void> {
  const dies = name.endsWith(' +');
  const boundary = name.replace(' +', '');
  const processes = new AsyncLocalStorage<Standstill>();
  onBoundary(async (reached) => {
    if (reached === boundary) await processes.getStore()?.reached();
  });
  const reconcile = (process: Standstill): Promise<unknown> =>
    processes.run(process, () => pipeline.run('reconcile-usage', { customerId: sent.customerId }));
  const frozen = dies ? [new Standstill()] : [new Standstill(), new Standstill()];
  const dying = new Standstill('dies');
  const [first, ...others] = dies ? [dying, ...frozen] : [...frozen, dying];
  const standing = new Map<Standstill, Promise<unknown>>();
  const start = async (process: Standstill): Promise<void> => {
    const run = reconcile(process);
    run.catch(() => undefined);
    standing.set(process, run);
    await process.stands(run);
  };
  await start(first ?? dying);
  expect({ name, isReached: (first ?? dying).hasArrived }).toEqual({ name, isReached: true });
  await Promise.all(others.map(start));
  await pipeline.run('reconcile-usage', { customerId: sent.customerId });
  await pipeline.run('submit-meter-events');
  for (const process of frozen) {
    process.release();
    await standing.get(process);
    await pipeline.run('submit-meter-events');
    pipeline.clock.advance(2 * MINUTE_MS);
    await pipeline.run('reconcile-usage', { customerId: sent.customerId });
  }
  await pipeline.run('submit-meter-events');
}

/** One process at a boundary: it stands still until it is released, or dies there. */
class Standstill {
  hasArrived = false;
  readonly #dies: boolean;
  #release: () => void = () => undefined;
  #arrive: () => void = () => undefined;
  readonly #released = new Promise<void>((resolve) => (this.#release = resolve));
  readonly #arrived = new Promise<void>((resolve) => (this.#arrive = resolve));

  constructor(end?: 'dies') {
    this.#dies = end === 'dies';
  }

  async reached(): Promise<void> {
    this.hasArrived = true;
    this.#arrive();
    if (this.#dies) throw new Error('the process stops here');
    await this.#released;
  }

  release(): void {
    this.#release();
  }

  /** Waits until the process stands still, or has come to its end without getting there. */
  async stands(run: Promise<unknown> | undefined): Promise<void> {
    await Promise.race([this.#arrived, Promise.allSettled([run])]);
  }
}
