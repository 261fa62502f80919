/** A ledger restored from a backup is older than Stripe: what it has forgotten is found, and not billed twice. */
import type { Document } from 'mongodb';
import { describe, expect, it } from 'vitest';
import { approveReconciliation } from '../../src/reconciliation/approve-reconciliation.ts';
import {
  compareRestored,
  type RestoredComparison,
  type RestoredProgress,
} from '../../src/reconciliation/compare-restored.ts';
import { HOUR_MS, MINUTE_MS } from '../../src/platform/durations.ts';
import { openRedis } from '../../src/platform/redis/connection.ts';
import { compareRestoredDeps } from '../../src/daemon/compare-restored.ts';
import { reconciliationDeps } from '../../src/daemon/reconciliation-deps.ts';
import { openStripeSide } from '../../src/daemon/stripe-side.ts';
import { prepareMeter, sendUsage, settle } from '../support/drift.ts';
import { closePeriod, listLate } from '../support/late-usage.ts';
import { type Pipeline, START_MS, withPipeline } from '../support/pipeline.ts';
import { ingestEvents } from '../support/usage.ts';

type Backup = ReadonlyMap<string, readonly Document[]>;

async function backUp({ stores }: Pipeline): Promise<Backup> {
  const { db } = stores.database;
  const copies = new Map<string, readonly Document[]>();
  for (const { name } of await db.listCollections().toArray())
    copies.set(name, await db.collection(name).find().toArray());
  return copies;
}

async function restore({ stores }: Pipeline, backup: Backup): Promise<void> {
  const { db } = stores.database;
  for (const { name } of await db.listCollections().toArray()) {
    await db.collection(name).deleteMany({});
    const documents = backup.get(name) ?? [];
    if (documents.length > 0) await db.collection(name).insertMany([...documents]);
  }
}

const hourStart = (hours: number): string =>
  new Date(Math.floor(START_MS / HOUR_MS) * HOUR_MS - hours * HOUR_MS + MINUTE_MS).toISOString();

/** What happens after the backup: 5 more in an hour that was sent, and the first usage of another customer. */
async function useMore({ stores }: Pipeline): Promise<void> {
  await ingestEvents(stores.database.db, [
    { customerId: 'acme', at: hourStart(2), quantity: '5' },
    { customerId: 'cara', at: hourStart(1), quantity: '4' },
  ]);
}

/**
 * Lends an installation that was restored from a backup: acme and bolt had used 10 each by then, and 9 more were sent
 * afterwards. Submitting is paused.
 */
function withRestored(use: (pipeline: Pipeline, totals: () => Record<string, string>) => Promise<void>): Promise<void> {
  return withPipeline({ simulator: { summaryLagMs: 0 } }, async (pipeline) => {
    const { simulator, stores } = pipeline;
    await prepareMeter(pipeline);
    const sent = await sendUsage(pipeline, ['acme', 'bolt']);
    const cara = await pipeline.mapCustomer('cara');
    const backup = await backUp(pipeline);
    await useMore(pipeline);
    await pipeline.run('aggregate-usage');
    await pipeline.run('submit-meter-events');
    await restore(pipeline, backup);
    await stores.submittingPauses.pause('restored', new Date(pipeline.clock.now()));
    const ids = { acme: sent[0]?.stripeCustomerId ?? '', bolt: sent[1]?.stripeCustomerId ?? '', cara };
    const totals = (): Record<string, string> =>
      Object.fromEntries(
        Object.entries(ids).map(([name, customer]) => [name, simulator.countedTotal({ customer, meter: 'calls' })]),
      );
    expect(totals()).toEqual({ acme: '15', bolt: '10', cara: '4' });
    await use(pipeline, totals);
  });
}

function compare(pipeline: Pipeline): Promise<RestoredComparison> {
  return compareRestored(compareRestoredDeps(pipeline.parts));
}

async function useAgain(pipeline: Pipeline): Promise<void> {
  await useMore(pipeline);
  await pipeline.run('aggregate-usage');
}

/** Reconciles what is settled, and accepts whatever Stripe holds beyond it. */
async function takeBackSurplus(pipeline: Pipeline): Promise<void> {
  await settle(pipeline);
  const { id, waiting } = await pipeline.run('reconcile-usage');
  expect(waiting).toBe(1);
  const input = { id: String(id), actor: 'ada', acceptSurplus: true };
  await approveReconciliation(reconciliationDeps(pipeline.parts), input);
}

describe('a ledger restored from a backup', () => {
  it('is found to have forgotten what Stripe holds, also of a customer that it never sent anything of', () =>
    withRestored(async (pipeline) => {
      await useAgain(pipeline);
      const { compared, unknown, less } = await compare(pipeline);
      expect([compared, less]).toEqual([6, 0]);
      expect(unknown).toMatchObject([
        {
          customerId: 'acme',
          counted: '15',
          delivered: '10',
          stripe: '15',
          sinceMs: Date.parse(hourStart(2)) - MINUTE_MS,
        },
        { customerId: 'cara', counted: '4', delivered: '0', stripe: '4' },
      ]);
    }));

  it('is compared at the pace of reads, whatever calls are allowed besides, and tells how far it has come', () =>
    withRestored(async (pipeline) => {
      const { clock, parts } = pipeline;
      const redis = openRedis('redis://127.0.0.1:1', () => {});
      try {
        const config = { ...parts.config, stripeCallsPerSecondMax: 900 };
        const paced = { ...parts, config, stripe: openStripeSide(config, redis, clock) };
        const told: RestoredProgress[] = [];
        const startMs = clock.now();
        const { compared, reads } = await compareRestored(compareRestoredDeps(paced), {
          onProgress: (progress) => told.push(progress),
        });
        expect(told.map(({ done }) => done)).toEqual(Array.from({ length: compared + 1 }, (_, done) => done));
        expect(told.every(({ total }) => total === compared)).toBe(true);
        expect([told[0]?.reads, told.at(-1)?.reads]).toEqual([0, reads]);
        expect(reads).toBeGreaterThan(compared);
        // Without Redis a process takes a quarter of the 20 a second.
        expect(clock.now() - startMs).toBeGreaterThanOrEqual((reads - 1) * 200);
      } finally {
        redis.disconnect();
      }
    }));

  it('sends and heals nothing while it is paused, and says so', () =>
    withRestored(async (pipeline, totals) => {
      await useAgain(pipeline);
      for (const job of ['submit-meter-events', 'resolve-submissions']) {
        expect(await pipeline.run(job)).toEqual({ paused: true, pausedAt: new Date(START_MS).toISOString() });
      }
      expect(await pipeline.run('reconcile-usage')).toMatchObject({ mode: 'report', healed: 0 });
      expect(totals()).toEqual({ acme: '15', bolt: '10', cara: '4' });
      expect(await pipeline.run('submit-meter-events', { dryRun: true })).toMatchObject({ planned: 2 });
    }));

  it('is equal again within a day, when all usage was sent once more: Stripe knows the identifiers', () =>
    withRestored(async (pipeline, totals) => {
      await useAgain(pipeline);
      await pipeline.stores.submittingPauses.resume();
      expect(await pipeline.run('submit-meter-events')).toMatchObject({ calls: 2 });
      expect(totals()).toEqual({ acme: '15', bolt: '10', cara: '4' });
      expect((await compare(pipeline)).unknown).toEqual([]);
      expect(await pipeline.run('reconcile-usage')).toMatchObject({ verdicts: { match: 3 } });
    }));

  it('is healed where it would now send something else under an identifier that Stripe knows', () =>
    withRestored(async (pipeline, totals) => {
      await ingestEvents(pipeline.stores.database.db, [{ customerId: 'acme', at: hourStart(2), quantity: '0.1' }]);
      await useAgain(pipeline);
      await pipeline.stores.submittingPauses.resume();
      expect(await pipeline.run('submit-meter-events')).toMatchObject({ accepted: 1, duplicates: 1, rejected: 0 });
      expect(totals()).toMatchObject({ acme: '15' });
      await settle(pipeline);
      expect(await pipeline.run('reconcile-usage')).toMatchObject({ healed: 1, waiting: 0 });
      await pipeline.run('submit-meter-events');
      expect(totals()).toEqual({ acme: '15.1', bolt: '10', cara: '4' });
    }));

  it('shows where an invoice is final, and sends nothing there that was billed', () =>
    withRestored(async (pipeline, totals) => {
      await useAgain(pipeline);
      const acme = await pipeline.stores.customers.find('acme');
      const at = new Date(START_MS).toISOString();
      const customer = acme?.stripeCustomerId ?? '';
      await closePeriod(pipeline, { customer, from: '2026-06-01T00:00:00Z', to: at, finalizedAt: at });
      const { unknown } = await compare(pipeline);
      expect(unknown).toMatchObject([
        { customerId: 'acme', isFinal: true },
        { customerId: 'cara', isFinal: false },
      ]);
      await pipeline.stores.submittingPauses.resume();
      await pipeline.run('submit-meter-events');
      expect(totals()).toMatchObject({ acme: '15' });
      expect(await listLate(pipeline)).toMatchObject([{ state: 'waiting', reason: 'invoice_final' }]);
    }));

  it('is equal again later, when what Stripe holds more is taken back', () =>
    withRestored(async (pipeline, totals) => {
      pipeline.clock.advance(48 * HOUR_MS);
      await useAgain(pipeline);
      await takeBackSurplus(pipeline);
      await pipeline.stores.submittingPauses.resume();
      await pipeline.run('submit-meter-events');
      // Nothing of this customer was known to have been sent: only now it is compared.
      expect(totals()).toEqual({ acme: '15', bolt: '10', cara: '8' });
      await takeBackSurplus(pipeline);
      await pipeline.run('submit-meter-events');
      expect(totals()).toEqual({ acme: '15', bolt: '10', cara: '4' });
      expect(await pipeline.run('reconcile-usage')).toMatchObject({ verdicts: { match: 3 }, waiting: 0 });
      expect((await compare(pipeline)).unknown).toEqual([]);
    }));
});
