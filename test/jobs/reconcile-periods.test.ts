/** Comparisons at the edges of billing periods, and of meters that show the latest value. */
import { describe, expect, it } from 'vitest';
import { putCustomer } from '../../src/customers/put-customer.ts';
import { HOUR_MS } from '../../src/platform/durations.ts';
import { addAtStripe, loseAtStripe, settle } from '../support/drift.ts';
import { type Pipeline, withPipeline } from '../support/pipeline.ts';
import { ingestEvents, meterOf, ms, storeMeters } from '../support/usage.ts';

const ANY_HEAL = { environment: { HEAL_FRACTION_MAX: '1' } };

interface Row {
  readonly from: string;
  readonly verdict: string;
  readonly local: string;
  readonly stripe: string | undefined;
  readonly note: string | undefined;
}

/** The comparisons of a new run, by period. */
async function reconcile(pipeline: Pipeline): Promise<Row[]> {
  const { id } = await pipeline.run('reconcile-usage');
  const rows = await pipeline.stores.reconciliations.listRows({ run: String(id), limit: 100 });
  return rows
    .map(({ _id, verdict, local, stripe, note }) => {
      return { from: _id.periodStart.toISOString().slice(5, 19), verdict, local, stripe, note };
    })
    .sort((a, b) => (a.from < b.from ? -1 : 1));
}

async function sendAround(pipeline: Pipeline, billingAnchor: string, at: readonly string[]): Promise<string> {
  await storeMeters(pipeline.stores.database.db, [meterOf({ key: 'calls', stripe: { eventName: 'calls' } })]);
  await pipeline.run('sync-meters');
  const customer = await pipeline.mapCustomer('acme');
  const { customers, usageAggregates: usage } = pipeline.stores;
  const change = { billingAnchor, billingInterval: 'month' as const };
  await putCustomer({ clock: pipeline.clock, customers, usage }, { customerId: 'acme', change });
  await ingestEvents(
    pipeline.stores.database.db,
    at.map((instant, index) => ({ at: instant, quantity: String(10 ** index) })),
  );
  await pipeline.run('aggregate-usage');
  await pipeline.run('submit-meter-events');
  return customer;
}

describe('an anchor in the first minute of an hour', () => {
  const AROUND = ['2026-06-14T09:30:00Z', '2026-06-14T10:00:10Z', '2026-06-14T10:00:40Z', '2026-06-14T12:00:00Z'];

  it('leaves two halves in one minute: compared together, with the later period, and said', () =>
    withPipeline(ANY_HEAL, async (pipeline) => {
      await sendAround(pipeline, '2026-06-14T10:00:30Z', AROUND);
      const rows = await reconcile(pipeline);
      const note = expect.stringContaining('one minute') as unknown;
      expect(rows).toEqual([
        { from: '05-14T10:00:30', verdict: 'match', local: '1', stripe: '1', note },
        { from: '06-14T10:00:30', verdict: 'match', local: '1110', stripe: '1110', note },
      ]);
    }));

  it.each(['2026-06-14T10:00:00.000Z', '2026-06-14T10:00:30.000Z'])(
    'is no hindrance to finding what was lost at %s',
    (stamp) =>
      withPipeline(ANY_HEAL, async (pipeline) => {
        const customer = await sendAround(pipeline, '2026-06-14T10:00:30Z', AROUND);
        await loseStamped(pipeline, stamp);
        await settle(pipeline);
        expect((await reconcile(pipeline)).map(({ verdict }) => verdict)).toEqual(['match', 'missing']);
        await pipeline.run('submit-meter-events');
        expect(pipeline.simulator.countedTotal({ customer, meter: 'calls' })).toBe('1111');
        expect(stampsOf(pipeline, stamp)).toBe(2);
      }),
  );
});

describe('an anchor within an hour', () => {
  const ANCHOR = '2026-06-14T10:23:45Z';
  const AROUND = ['2026-06-14T10:10:00Z', '2026-06-14T10:30:00Z'];

  it.each([
    ['before it', '2026-06-14T10:00:00.000Z', ['missing', 'match']],
    ['after it', '2026-06-14T10:23:45.000Z', ['match', 'missing']],
  ])('separates what was lost %s: it is topped up with a stamp of its own period', (_, stamp, verdicts) =>
    withPipeline(ANY_HEAL, async (pipeline) => {
      const customer = await sendAround(pipeline, ANCHOR, AROUND);
      const lost = await loseStamped(pipeline, stamp);
      // Somebody else's usage in the same minute: no submission explains the shortfall.
      const sent = { customerId: 'acme', stripeCustomerId: customer, identifier: '', hourMs: ms(stamp) };
      await addAtStripe(pipeline, sent, '0.5');
      await settle(pipeline);
      expect((await reconcile(pipeline)).map(({ verdict }) => verdict)).toEqual(verdicts);
      await pipeline.run('submit-meter-events');
      const heal = pipeline.simulator.meterEvents().at(-1);
      expect(heal).toMatchObject({ value: String(Number(lost) - 0.5), timestamp: ms(stamp) / 1000 });
      expect((await reconcile(pipeline)).map(({ verdict }) => verdict)).toEqual(['match', 'match']);
    }),
  );
});

describe('a running figure on a Stripe meter with the formula last', () => {
  it('is compared as the latest value: a lost one is sent again, a foreign one is left to a person', () =>
    withPipeline(ANY_HEAL, async (pipeline) => {
      const peak = meterOf({ key: 'peak', aggregation: 'max', stripe: { eventName: 'calls' } });
      await storeMeters(pipeline.stores.database.db, [peak]);
      await createLastMeter(pipeline);
      const customer = await pipeline.mapCustomer('acme');
      for (const [index, quantity] of ['4', '9', '12'].entries()) {
        await ingestEvents(pipeline.stores.database.db, [{ at: `2026-06-15T0${index + 5}:10:00Z`, quantity }]);
        await pipeline.run('aggregate-usage');
        await pipeline.run('submit-meter-events');
      }
      expect(await reconcile(pipeline)).toMatchObject([{ verdict: 'match', local: '12', stripe: '12' }]);

      await loseAtStripe(pipeline, pipeline.simulator.meterEvents().at(-1)?.identifier ?? '');
      pipeline.clock.advance(8 * HOUR_MS);
      await settle(pipeline);
      expect(await reconcile(pipeline)).toMatchObject([{ verdict: 'missing', local: '12', stripe: '9' }]);
      await pipeline.run('submit-meter-events');
      expect(pipeline.simulator.countedTotal({ customer, meter: 'calls' })).toBe('12');
      expect(await reconcile(pipeline)).toMatchObject([{ verdict: 'match', stripe: '12' }]);

      const hourMs = ms('2026-06-15T09:00:00Z');
      await addAtStripe(pipeline, { customerId: 'acme', stripeCustomerId: customer, identifier: '', hourMs }, '99');
      pipeline.clock.advance(8 * HOUR_MS);
      await settle(pipeline);
      const result = await pipeline.run('reconcile-usage');
      expect(result).toMatchObject({ verdicts: { surplus: 1 }, healed: 0, waiting: 1 });
    }));
});

describe('a period whose invoice is final', () => {
  const ANCHOR = '2026-06-14T00:00:00Z';
  const LOST = '2026-06-13T22:00:00.000Z';
  const AROUND = ['2026-06-13T22:30:00Z', '2026-06-13T23:30:00Z', '2026-06-14T10:30:00Z'];

  it('gets nothing sent into it: what is lost goes to the list of late usage, and is late until it is decided', () =>
    withPipeline(ANY_HEAL, async (pipeline) => {
      const customer = await sendAround(pipeline, ANCHOR, AROUND);
      await loseStamped(pipeline, LOST);
      await finalise(pipeline, customer);
      await settle(pipeline);
      expect(await reconcile(pipeline)).toMatchObject([{ verdict: 'missing' }, { verdict: 'match' }]);
      await pipeline.run('submit-meter-events');
      expect(pipeline.simulator.meterEventCount).toBe(3);
      const [late] = await pipeline.stores.lateUsage.list({ limit: 10 });
      expect(late).toMatchObject({ reason: 'invoice_final', state: 'waiting', timestamp: new Date(LOST) });
      const rows = await reconcile(pipeline);
      expect(rows).toMatchObject([{ verdict: 'late', local: '11', stripe: '10' }, { verdict: 'match' }]);

      const decision = { policy: 'next_period' as const, actor: 'ada', at: new Date(pipeline.clock.now()) };
      const timestamp = new Date('2026-06-15T12:00:00Z');
      await pipeline.stores.lateUsage.decide(late?._id ?? '', { ...decision, timestamp });
      await pipeline.stores.lateSubmissions.submit(late?._id ?? '', decision.at);
      await pipeline.run('submit-meter-events');
      // Billed with the next period, and expected there.
      expect(await reconcile(pipeline)).toMatchObject([
        { verdict: 'match', local: '11', stripe: '10' },
        { verdict: 'match', local: '101', stripe: '101' },
      ]);
    }));

  it('is left to a person where nothing explains the difference', () =>
    withPipeline(ANY_HEAL, async (pipeline) => {
      const customer = await sendAround(pipeline, ANCHOR, AROUND);
      await loseStamped(pipeline, LOST);
      const sent = { customerId: 'acme', stripeCustomerId: customer, identifier: '', hourMs: ms(LOST) };
      await addAtStripe(pipeline, sent, '0.5');
      await finalise(pipeline, customer);
      await settle(pipeline);
      expect(await pipeline.run('reconcile-usage')).toMatchObject({ healed: 0, waiting: 1 });
      expect(pipeline.simulator.meterEventCount).toBe(4);
    }));

  describe('whose boundaries lie within a minute', () => {
    const START = '2026-05-14T10:23:45.000Z';
    const END = '2026-06-14T10:23:45.000Z';
    const SENT = ['2026-05-14T10:40:00Z', '2026-06-13T23:30:00Z', '2026-06-14T10:40:00Z'];

    it.each([
      ['of a final period is left to a person', START, { healed: 0, waiting: 1 }],
      ['of the period after it is topped up', END, { healed: 1, waiting: 0 }],
    ])('what lacks in the first minute %s', (_, stamp, done) =>
      withPipeline(ANY_HEAL, async (pipeline) => {
        const customer = await sendAround(pipeline, END, SENT);
        await loseStamped(pipeline, stamp);
        // Somebody else's usage in the same minute: no submission explains the shortfall.
        const sent = { customerId: 'acme', stripeCustomerId: customer, identifier: '', hourMs: ms(stamp) };
        await addAtStripe(pipeline, sent, '0.5');
        await finalise(pipeline, customer, { from: START, to: END });
        await settle(pipeline);
        expect(await pipeline.run('reconcile-usage')).toMatchObject(done);
        await pipeline.run('submit-meter-events');
        expect(await pipeline.stores.lateUsage.list({ limit: 10 })).toEqual([]);
      }),
    );
  });

  /** As the mirror has it once Stripe has finalised the invoice of the first period. */
  async function finalise(
    pipeline: Pipeline,
    stripeCustomerId: string,
    period = { from: '2026-05-14T00:00:00Z', to: ANCHOR },
  ): Promise<void> {
    const [stripeMeter] = (await pipeline.parts.stripe?.listMeters()) ?? [];
    const to = new Date(period.to);
    const line = { id: 'il_1', stripeMeterId: stripeMeter?.id ?? '', from: new Date(period.from), to };
    await pipeline.stores.invoices.save(
      {
        _id: 'in_1',
        stripeCustomerId,
        status: 'open',
        billingReason: 'subscription_cycle',
        autoAdvance: true,
        createdAt: to,
        finalizedAt: new Date(pipeline.clock.now()),
        lines: [line],
      },
      undefined,
    );
  }
});

/** Makes Stripe lose what was sent with a stamp; returns its value. */
async function loseStamped(pipeline: Pipeline, stamp: string): Promise<string> {
  const lost = pipeline.simulator.meterEvents().find(({ timestamp }) => timestamp === ms(stamp) / 1000);
  if (lost === undefined) throw new Error(`nothing was sent with the stamp ${stamp}`);
  await loseAtStripe(pipeline, lost.identifier);
  return lost.value;
}

function stampsOf({ simulator }: Pipeline, stamp: string): number {
  return simulator.meterEvents().filter(({ timestamp }) => timestamp === ms(stamp) / 1000).length;
}

async function createLastMeter({ simulator }: Pipeline): Promise<void> {
  const response = await fetch(`${simulator.url}/v1/billing/meters`, {
    method: 'POST',
    headers: { authorization: 'Bearer sk_test_other', 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams({
      display_name: 'peak',
      event_name: 'calls',
      'default_aggregation[formula]': 'last',
    }),
  });
  expect(response.status).toBe(200);
}
