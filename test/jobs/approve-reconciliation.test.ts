/** Plans that wait for a person: shown, approved, refused when they have changed, and kept with who decided. */
import { afterEach, describe, expect, it } from 'vitest';
import {
  type ApprovalResult,
  approveReconciliation,
  type ApproveReconciliationInput,
} from '../../src/reconciliation/approve-reconciliation.ts';
import { reconcileUsage } from '../../src/reconciliation/reconcile-usage.ts';
import { onBoundary } from '../../src/platform/boundary.ts';
import { MINUTE_MS } from '../../src/platform/durations.ts';
import { reconciliationDeps } from '../../src/daemon/reconciliation-deps.ts';
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
import { ingestEvents } from '../support/usage.ts';

afterEach(() => onBoundary(undefined));

const REPORT = { environment: { RECONCILE_MODE: 'report' } };

/** Lends a run that found this drift of two customers and left its plans waiting. */
function withWaiting(
  drift: (pipeline: Pipeline, sent: SentCustomer) => Promise<void>,
  use: (pipeline: Pipeline, run: string, customers: [SentCustomer, SentCustomer]) => Promise<void>,
): Promise<void> {
  return withPipeline(REPORT, async (pipeline) => {
    await prepareMeter(pipeline);
    const [one, other] = await sendUsage(pipeline, ['acme', 'bolt']);
    if (one === undefined || other === undefined) throw new Error('nothing was sent');
    for (const sent of [one, other]) await drift(pipeline, sent);
    await settle(pipeline);
    const { id, healed, waiting } = await pipeline.run('reconcile-usage');
    expect({ healed, waiting }).toEqual({ healed: 0, waiting: 2 });
    await use(pipeline, String(id), [one, other]);
  });
}

function approve(pipeline: Pipeline, input: Omit<ApproveReconciliationInput, 'actor'>): Promise<ApprovalResult> {
  return approveReconciliation(reconciliationDeps(pipeline.parts), { actor: 'ada', ...input });
}

function totalOf({ simulator }: Pipeline, sent: SentCustomer): string {
  return simulator.countedTotal({ customer: sent.stripeCustomerId, meter: 'calls' });
}

const lose = (pipeline: Pipeline, sent: SentCustomer): Promise<void> => loseAtStripe(pipeline, sent.identifier);

describe('approveReconciliation', () => {
  it('carries out what waits, once, and keeps who decided what and why', () =>
    withWaiting(lose, async (pipeline, id, [acme, bolt]) => {
      expect(await approve(pipeline, { id, dryRun: true })).toMatchObject({ rows: [{}, {}], applied: 0 });
      expect(pipeline.simulator.meterEventCount).toBe(4);

      const input = { id, customerId: 'acme', meter: 'calls', reason: 'checked by hand' };
      expect(await approve(pipeline, input)).toMatchObject({ rows: [{ customerId: 'acme' }], applied: 1 });
      await expect(approve(pipeline, input)).rejects.toMatchObject({ code: 'nothing_waits' });
      await pipeline.run('submit-meter-events');
      expect([totalOf(pipeline, acme), totalOf(pipeline, bolt)]).toEqual([USED, '3']);
      const run = await pipeline.stores.reconciliations.findRun(id);
      expect(run?.approvals).toMatchObject([
        { actor: 'ada', reason: 'checked by hand', rows: [{ customerId: 'acme', meter: 'calls' }], applied: 1 },
      ]);

      expect(await approve(pipeline, { id })).toMatchObject({ rows: [{ customerId: 'bolt' }], applied: 1 });
      await pipeline.run('submit-meter-events');
      expect(await pipeline.run('reconcile-usage')).toMatchObject({ verdicts: { match: 2 }, waiting: 0 });
    }));

  it('does nothing at all when a plan is another one by now, and stores the present ones as a run', () =>
    withWaiting(lose, async (pipeline, id, [acme]) => {
      const at = new Date(acme.hourMs).toISOString();
      await ingestEvents(pipeline.stores.database.db, [{ at, quantity: '5' }]);
      await pipeline.run('aggregate-usage');
      await pipeline.run('submit-meter-events');
      pipeline.clock.advance(MINUTE_MS);
      const refused = approve(pipeline, { id });
      await expect(refused).rejects.toMatchObject({ kind: 'conflict', code: 'plan_changed' });
      expect(await pipeline.stores.submissions.countInStates(['planned', 'replaced'])).toBe(0);
      const [newest] = await pipeline.stores.reconciliations.listRuns({ limit: 1 });
      await expect(refused).rejects.toThrow(newest?._id);
      expect(newest).toMatchObject({ input: { approves: id }, waiting: 1, verdicts: { stale: 1, missing: 1 } });
      // What is unchanged can be approved there.
      expect(await approve(pipeline, { id: newest?._id ?? '' })).toMatchObject({ rows: [{ customerId: 'bolt' }] });
    }));

  it('corrects once when two people approve at the same time, and the nightly run heals the same', () =>
    withWaiting(lose, async (pipeline, id, customers) => {
      const settings = { mode: 'heal', bounds: { fractionMax: 1 }, findUnbilled: async () => [] } as const;
      const nightly = { ...reconciliationDeps(pipeline.parts), ...settings };
      const all = await Promise.allSettled([
        approve(pipeline, { id }),
        approve(pipeline, { id }),
        reconcileUsage(nightly),
      ]);
      expect(all.some(({ status }) => status === 'fulfilled')).toBe(true);
      await pipeline.run('submit-meter-events');
      expect(customers.map((sent) => totalOf(pipeline, sent))).toEqual([USED, USED]);
      expect(pipeline.simulator.meterEventCount).toBe(6);
    }));

  it.each([
    ['approve.recorded', [{ actor: 'ada' }, { actor: 'ada', applied: 2 }]],
    ['approve.finished', [{ actor: 'ada', applied: 2 }]],
  ])('comes to the same end after a stop at %s', (place, approvals) =>
    withWaiting(lose, async (pipeline, id, customers) => {
      onBoundary((name) => {
        if (name === place) throw new Error('the process stops here');
        return undefined;
      });
      await expect(approve(pipeline, { id })).rejects.toThrow('stops here');
      onBoundary(undefined);
      const again = approve(pipeline, { id });
      if (place === 'approve.recorded') expect(await again).toMatchObject({ applied: 2 });
      else await expect(again).rejects.toMatchObject({ code: 'nothing_waits' });
      await pipeline.run('submit-meter-events');
      expect(customers.map((sent) => totalOf(pipeline, sent))).toEqual([USED, USED]);
      const run = await pipeline.stores.reconciliations.findRun(id);
      expect(run?.approvals).toMatchObject(approvals);
    }),
  );

  it('lists what it leaves where only a part of what waits can be carried out', () =>
    withPipeline(REPORT, async (pipeline) => {
      await prepareMeter(pipeline);
      const [acme, bolt] = await sendUsage(pipeline, ['acme', 'bolt']);
      if (acme === undefined || bolt === undefined) throw new Error('nothing was sent');
      await lose(pipeline, acme);
      await addAtStripe(pipeline, bolt, '100');
      await settle(pipeline);
      const id = String((await pipeline.run('reconcile-usage'))['id']);
      expect(await approve(pipeline, { id, dryRun: true })).toMatchObject({
        rows: [{ customerId: 'acme', plan: [{ kind: 'replace' }] }],
        left: [{ customerId: 'bolt', plan: [{ kind: 'person', reason: 'stripe_holds_more' }] }],
      });
      const all = await approve(pipeline, { id, acceptSurplus: true });
      expect(all).toMatchObject({ rows: [{}, {}], left: [], applied: 2 });
    }));

  it('takes back usage that is not ours only where a person accepts that', () =>
    withWaiting(
      (pipeline, sent) => addAtStripe(pipeline, sent, '100'),
      async (pipeline, id, [acme, bolt]) => {
        await expect(approve(pipeline, { id })).rejects.toMatchObject({ code: 'surplus_not_accepted' });
        const input = { id, customerId: 'acme', acceptSurplus: true };
        expect(await approve(pipeline, input)).toMatchObject({ applied: 1, left: [] });
        await pipeline.run('submit-meter-events');
        expect([totalOf(pipeline, acme), totalOf(pipeline, bolt)]).toEqual([USED, '110']);
        const run = await pipeline.stores.reconciliations.findRun(id);
        expect(run?.approvals).toMatchObject([{ acceptSurplus: true, applied: 1 }]);
      },
    ));

  it('takes back what counted twice, by cancelling it', () =>
    withWaiting(countTwice, async (pipeline, id, customers) => {
      expect(await approve(pipeline, { id })).toMatchObject({ applied: 2 });
      expect(customers.map((sent) => totalOf(pipeline, sent))).toEqual([USED, USED]);
    }));

  it('knows no plans of a run that does not exist', () =>
    withPipeline(REPORT, async (pipeline) => {
      await expect(approve(pipeline, { id: 'none' })).rejects.toMatchObject({ code: 'reconciliation_not_found' });
    }));
});
