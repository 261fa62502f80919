/** Stripe refuses one of many: all others are dealt with, and the run says what it went on without. */
import { describe, expect, it } from 'vitest';
import { catchUpEvents } from '../../src/webhooks/catch-up-events.ts';
import { compareRestored } from '../../src/reconciliation/compare-restored.ts';
import { mirrorAccount } from '../../src/mirror/mirror-account.ts';
import { MIRRORED_CHANGES_MAX } from '../../src/customers/calendar/customer-calendar.ts';
import type { Subscription } from '../../src/mirror/subscription.ts';
import { DAY_MS, HOUR_MS } from '../../src/platform/durations.ts';
import { DaemonError } from '../../src/platform/errors.ts';
import { Runs } from '../../src/platform/mongo/runs.ts';
import { compareRestoredDeps } from '../../src/daemon/compare-restored.ts';
import { jobHandlers } from '../../src/daemon/job-handlers.ts';
import type { JobParts } from '../../src/daemon/job-parts.ts';
import { readLastOutcomes } from '../../src/daemon/read-status.ts';
import { type Pipeline, START_MS, withPipeline } from '../support/pipeline.ts';
import { withDatabase } from '../support/services.ts';
import { ingestEvents, meterOf, storeMeters } from '../support/usage.ts';

const SUMMARIES = 'GET /v1/billing/meters/{id}/event_summaries';
const GHOST = 'cus_ThisIsNotThere1';

async function mapTo(pipeline: Pipeline, customerId: string, stripeCustomerId: string): Promise<void> {
  const at = new Date(pipeline.clock.now());
  const document = { _id: customerId, stripeCustomerId, calendars: [], revision: 1, createdAt: at, updatedAt: at };
  await pipeline.stores.customers.save(document, undefined);
}

/** Usage of ours and of a ghost that Stripe has never heard of, counted and sent. */
async function sendUsage(pipeline: Pipeline, customers: readonly string[]): Promise<void> {
  await storeMeters(pipeline.stores.database.db, [meterOf({ key: 'calls', stripe: { eventName: 'calls' } })]);
  await pipeline.run('sync-meters');
  for (const customerId of customers) {
    if (customerId === 'ghost') await mapTo(pipeline, customerId, GHOST);
    else await pipeline.mapCustomer(customerId);
  }
  await ingestEvents(
    pipeline.stores.database.db,
    customers.map((customerId) => ({ customerId, at: new Date(START_MS - 5 * HOUR_MS).toISOString(), quantity: '3' })),
  );
  await pipeline.run('aggregate-usage');
  await pipeline.run('submit-meter-events');
}

describe('a reconciliation', () => {
  it('gives the pairs of a customer that Stripe does not have a verdict of their own, and compares all others', () =>
    withPipeline({}, async (pipeline) => {
      await sendUsage(pipeline, ['acme', 'bolt', 'ghost', 'zeta']);
      const run = await pipeline.run('reconcile-usage', {});
      expect(run).toMatchObject({
        verdicts: { match: 3, customer_not_found: 1 },
        refused: { count: 1, first: [{ reason: 'customer_not_found', message: expect.stringContaining(GHOST) }] },
      });
      const id = run['id'] as string;
      const [row] = await pipeline.stores.reconciliations.listRows({
        run: id,
        verdict: 'customer_not_found',
        limit: 9,
      });
      expect(row).toMatchObject({ local: '3', note: expect.stringContaining('No such customer') });
      // What cannot be read does not come first in every run, and use up the reads of the others.
      const [remembered] = await pipeline.stores.reconciliations.pairs(['ghost']);
      expect(remembered).toMatchObject({ verdict: 'customer_not_found', readAt: new Date(pipeline.clock.now()) });
    }));

  it('goes on past a pair that Stripe refuses for another reason', () =>
    withPipeline({ simulator: { summaryRangeMaxMs: 40 * DAY_MS } }, async (pipeline) => {
      await sendUsage(pipeline, ['acme', 'yearly', 'zeta']);
      const { customers } = pipeline.stores;
      const yearly = await customers.find('yearly');
      const calendars = [{ layout: 1, anchor: new Date('2026-01-01T00:00:00Z'), interval: 'year' as const }];
      if (yearly !== null) await customers.save({ ...yearly, calendars, revision: 2 }, yearly.revision);
      expect(await pipeline.run('reconcile-usage')).toMatchObject({
        verdicts: { match: 2, refused: 1 },
        refused: { first: [{ message: expect.stringContaining('The time range is too long') }] },
      });
    }));

  it('takes a single answer of 500 for the trouble of one pair, and three in a row for that of Stripe', () =>
    withPipeline({}, async (pipeline) => {
      await sendUsage(pipeline, ['acme', 'bolt', 'cara', 'dora']);
      pipeline.simulator.failNext('errorBefore', { route: SUMMARIES });
      expect(await pipeline.run('reconcile-usage')).toMatchObject({ verdicts: { not_read: 1, match: 3 } });
      pipeline.clock.advance(DAY_MS);
      pipeline.simulator.failNext('errorBefore', { route: SUMMARIES, times: 9 });
      await expect(pipeline.run('reconcile-usage')).rejects.toMatchObject({
        code: 'stripe_unavailable',
        message: expect.stringContaining('Stripe answered 500'),
      });
    }));
});

describe('the comparison of a restored ledger', () => {
  it('names what Stripe refuses to tell of, and compares all others', () =>
    withPipeline({}, async (pipeline) => {
      await sendUsage(pipeline, ['acme', 'ghost', 'zeta']);
      const found = await compareRestored(compareRestoredDeps(pipeline.parts));
      // June has the usage, May is compared because Stripe would still take usage of it.
      for (const refused of found.refused) {
        expect(refused).toMatchObject({ customerId: 'ghost', reason: 'customer_not_found' });
      }
      expect(found.refused.length).toBeGreaterThan(0);
      expect(found).toMatchObject({ compared: found.refused.length * 2, unknown: [], less: 0 });
    }));
});

describe('other runs over many', () => {
  it('meters: one that Stripe does not take keeps no other from being created', () =>
    withPipeline({}, async (pipeline) => {
      const names = ['aa', 'x'.repeat(101), 'zz'];
      await storeMeters(
        pipeline.stores.database.db,
        names.map((eventName, index) => meterOf({ key: `m${index}`, stripe: { eventName } })),
      );
      const { meters, refused } = (await pipeline.run('sync-meters')) as {
        meters: { outcome: string }[];
        refused: unknown;
      };
      expect(meters.map(({ outcome }) => outcome)).toEqual(['created', 'refused', 'created']);
      expect(refused).toMatchObject({ count: 1, first: [{ item: expect.stringContaining('m1') }] });
    }));

  it('rejected submissions: a customer that Stripe refuses to tell of keeps no other from being mended', () =>
    withPipeline({ simulator: { unknownCustomer: 'async' } }, async (pipeline) => {
      await sendUsage(pipeline, ['acme', 'bolt']);
      const { entries } = await rejectAll(pipeline, 'meter_event_customer_not_found');
      const refusing = await pipeline.stores.customers.find('acme');
      const parts = withCustomerRefused(pipeline.parts, refusing?.stripeCustomerId ?? '');
      pipeline.clock.advance(2 * HOUR_MS);
      const handler = jobHandlers(parts)['resolve-submissions'];
      const result = await handler?.({ input: {}, signal: new AbortController().signal });
      expect(entries).toBe(2);
      expect(result).toMatchObject({ mended: 1, rejected: 1, refused: { count: 1 } });
    }));

  it('calendars: a customer whose calendar changed too often keeps no other from being queued', () =>
    withPipeline({}, async (pipeline) => {
      await sendUsage(pipeline, ['acme', 'zeta']);
      const at = new Date(pipeline.clock.now());
      const { customers, subscriptions } = pipeline.stores;
      for (const id of ['acme', 'zeta']) {
        const found = await customers.find(id);
        if (found === null) continue;
        const calendars =
          id === 'acme' ? Array.from({ length: MIRRORED_CHANGES_MAX }, (_, i) => ({ layout: i + 1 })) : [];
        await customers.save({ ...found, calendars, requeueFrom: at, revision: 2 }, found.revision);
        await subscriptions.save(subscriptionOf(found.stripeCustomerId ?? ''), undefined);
      }
      expect(await pipeline.run('requeue-usage')).toMatchObject({
        customers: 2,
        refused: { count: 1, first: [{ item: expect.stringContaining('acme'), reason: 'calendar_changes_too_many' }] },
      });
      expect(await customers.listToRequeue(9)).toEqual([]);
    }));

  it('the mirror: an object that Stripe refuses waits in the inbox with its reason, and all others are mirrored', () =>
    withPipeline({}, async (pipeline) => {
      const { stores, clock } = pipeline;
      const listed = ['sub_a', 'sub_b', 'sub_c'].map((id) => subscriptionOf(`cus_${id}`, id));
      // The second is known and is fetched anew, which Stripe refuses; the last one's items it refuses to list.
      await stores.subscriptions.save(subscriptionOf('cus_sub_b', 'sub_b'), undefined);
      const mirror = {
        customers: stores.customers,
        subscriptions: stores.subscriptions,
        invoices: stores.invoices,
        usage: stores.usageAggregates,
        clock,
        fetchSubscription: () => Promise.reject(refusedByStripe()),
        fetchInvoice: () => Promise.resolve(undefined),
        async *listSubscriptions(onRefused: (id: string, error: unknown) => void) {
          yield* listed;
          onRefused('sub_d', refusedByStripe());
        },
        async *listInvoices() {},
      };
      const nothing = async function* (): AsyncGenerator<never> {};
      const result = await catchUpEvents({
        events: { listSnapshots: nothing, listThin: nothing },
        inbox: stores.webhookInbox,
        coverage: stores.eventCoverage,
        mirrorAccount: (refusals) => mirrorAccount(mirror, { refusals }),
        mirrorWaitingCalendars: () => Promise.resolve(0),
        isLive: false,
        clock,
      });
      expect(result).toMatchObject({ recorded: 2, listed: 3, refused: { count: 2 } });
      for (const id of ['sub_a', 'sub_c']) expect(await stores.subscriptions.find(id)).not.toBeNull();
      const waiting = await stores.webhookInbox.due(new Date(clock.now()), 9);
      expect(new Set(waiting.map(({ objectId }) => objectId))).toEqual(new Set(['sub_b', 'sub_d']));
    }));

  it('but a key that Stripe refuses stops the run: nothing else can be done with it', () =>
    withPipeline({}, async (pipeline) => {
      await sendUsage(pipeline, ['acme', 'ghost']);
      const refused = { kind: 'rejected' as const, code: 'stripe_key_refused', message: 'no' };
      const parts = withSummariesFailing(pipeline.parts, new DaemonError(refused));
      const handler = jobHandlers(parts)['reconcile-usage'];
      const run = handler?.({ input: {}, signal: new AbortController().signal });
      await expect(run).rejects.toMatchObject({ code: 'stripe_key_refused' });
    }));
});

describe('the last outcome of a job', () => {
  it('is not hidden by a run over one customer, over stated periods, or by a dry run', () =>
    withDatabase(async (db) => {
      const runs = new Runs(db);
      await end(runs, { job: 'reconcile-usage', input: {}, hour: 1, isFailed: true });
      for (const [hour, input] of [{ customerId: 'acme' }, { from: 'x' }, { apply: false }, { dryRun: true }].entries())
        await end(runs, { job: 'reconcile-usage', input, hour: 2 + hour, isFailed: false });
      await end(runs, { job: 'submit-meter-events', input: {}, hour: 1, isFailed: true });
      await end(runs, {
        job: 'submit-meter-events',
        input: { flush: true, customerId: 'a' },
        hour: 2,
        isFailed: false,
      });
      const outcomes = await readLastOutcomes(partsOf(runs), ['reconcile-usage', 'submit-meter-events']);
      expect(outcomes).toMatchObject([
        { job: 'reconcile-usage', state: 'failed', error: { code: 'stripe_refused' } },
        { job: 'submit-meter-events', state: 'failed' },
      ]);
      expect(await runs.lastSuccess('reconcile-usage')).toBeNull();
    }));
});

async function end(
  runs: Runs,
  run: { job: string; input: Record<string, unknown>; hour: number; isFailed: boolean },
): Promise<void> {
  const { job, input, hour, isFailed } = run;
  const _id = `${job} ${hour}`;
  const at = new Date(START_MS + hour * HOUR_MS);
  await runs.start({ _id, job, trigger: 'request', input }, at);
  if (isFailed) await runs.fail(_id, { code: 'stripe_refused', message: 'no' }, at);
  else await runs.succeed(_id, {}, at);
}

function partsOf(runs: Runs): JobParts {
  return { stores: { runs } } as unknown as JobParts;
}

function refusedByStripe(): DaemonError {
  return new DaemonError({ kind: 'rejected', code: 'stripe_refused', message: 'Stripe refused: no' });
}

/** The same parts, on which Stripe refuses to tell of one customer. */
function withCustomerRefused(parts: JobParts, id: string): JobParts {
  const { stripe } = parts;
  if (stripe === undefined) throw new Error('there is a key');
  const { customers } = stripe.objects;
  const exists = async (asked: string): Promise<boolean> => {
    if (asked === id) throw refusedByStripe();
    return customers.exists(asked);
  };
  const objects = {
    ...stripe.objects,
    customers: Object.assign(Object.create(customers) as typeof customers, { exists }),
  };
  return { ...parts, stripe: { ...stripe, objects } };
}

function withSummariesFailing(parts: JobParts, error: DaemonError): JobParts {
  const { stripe } = parts;
  if (stripe === undefined) throw new Error('there is a key');
  const { summaries } = stripe;
  const total = (): Promise<never> => Promise.reject(error);
  const failing = Object.assign(Object.create(summaries) as typeof summaries, { total });
  return { ...parts, stripe: { ...stripe, summaries: failing } };
}

/** Has everything that was sent rejected, as an error report of Stripe's tells it. */
async function rejectAll({ stores, clock }: Pipeline, reason: string): Promise<{ entries: number }> {
  const found = await stores.submissions.list({ limit: 10 });
  const entries = await stores.outboxEntries.findAll(found.map(({ _id }) => _id));
  const atMs = clock.now();
  for (const entry of entries) {
    await stores.outboxEntries.move({ entry, change: 'reject', atMs, reason, message: 'no', dueAtMs: atMs });
  }
  return { entries: entries.length };
}

function subscriptionOf(stripeCustomerId: string, id = `sub_${stripeCustomerId}`): Subscription {
  const from = new Date('2026-06-01T10:23:45Z');
  const to = new Date('2026-07-01T10:23:45Z');
  return {
    _id: id,
    stripeCustomerId,
    status: 'active',
    items: [
      {
        id: `si_${id}`,
        priceId: 'price_1',
        stripeMeterId: 'mtr_1',
        interval: 'month',
        intervalCount: 1,
        currentPeriodStart: from,
        currentPeriodEnd: to,
      },
    ],
    billingCycleAnchor: from,
    startAt: from,
  };
}
