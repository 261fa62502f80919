/** A match that is remembered says as of when; a fresh run remembers none. */
import { describe, expect, it } from 'vitest';
import { describeVerdict } from '../../scripts/lib/verdict-text.ts';
import { HOUR_MS } from '../../src/platform/durations.ts';
import { type Pipeline, START_MS, withPipeline } from '../support/pipeline.ts';
import { ingestEvents, meterOf, storeMeters } from '../support/usage.ts';

const CUSTOMERS = ['acme', 'bolt', 'cara'];

async function sendUsage(pipeline: Pipeline): Promise<string> {
  await storeMeters(pipeline.stores.database.db, [meterOf({ key: 'calls', stripe: { eventName: 'calls' } })]);
  await pipeline.run('sync-meters');
  const ids = [];
  for (const customerId of CUSTOMERS) ids.push(await pipeline.mapCustomer(customerId));
  const at = new Date(START_MS - 5 * HOUR_MS).toISOString();
  await ingestEvents(
    pipeline.stores.database.db,
    CUSTOMERS.map((customerId) => ({ customerId, at, quantity: '3' })),
  );
  await pipeline.run('aggregate-usage');
  await pipeline.run('submit-meter-events');
  return ids[0] ?? '';
}

/** Somebody else sends 33 more to the first customer's meter. */
async function sendElsewhere({ parts }: Pipeline, stripeCustomerId: string): Promise<void> {
  await parts.stripe?.meterEvents.send({
    identifier: 'somebody-else',
    idempotencyKey: 'somebody-else',
    eventName: 'calls',
    stripeCustomerId,
    value: '33',
    timestampMs: START_MS - 5 * HOUR_MS,
    customerKey: 'stripe_customer_id',
    valueKey: 'value',
  });
}

async function rowsOf(
  { stores }: Pipeline,
  run: Record<string, unknown>,
): ReturnType<Pipeline['stores']['reconciliations']['listRows']> {
  return stores.reconciliations.listRows({ run: String(run['id']), limit: 10 });
}

describe('a reconciliation that remembers', () => {
  it('says as of when it matched, with both numbers, and a fresh one reads all', () =>
    withPipeline({}, async (pipeline) => {
      const customer = await sendUsage(pipeline);
      const readAt = new Date(pipeline.clock.now());
      await pipeline.run('reconcile-usage');
      await sendElsewhere(pipeline, customer);
      pipeline.clock.advance(HOUR_MS);
      const remembering = await pipeline.run('reconcile-usage');
      expect(remembering).toMatchObject({ reads: 0, verdicts: { match: 3 }, remembered: 3 });
      for (const row of await rowsOf(pipeline, remembering)) {
        expect(row).toMatchObject({ local: '3', stripe: '3' });
        expect(row.readAt?.getTime()).toBeLessThan(readAt.getTime() + HOUR_MS);
      }
      const startedAtMs = pipeline.clock.now();
      const fresh = await pipeline.run('reconcile-usage', { fresh: true });
      expect(fresh).toMatchObject({ verdicts: { match: 2, stale: 1 }, remembered: 0 });
      const [acme] = await rowsOf(pipeline, fresh);
      expect(acme).toMatchObject({ local: '3', stripe: '36', verdict: 'stale' });
      expect(acme?.readAt?.getTime()).toBeGreaterThanOrEqual(startedAtMs);
    }));

  it('keeps to the budget of reads when it is fresh: what is beyond is not read, and no match', () =>
    withPipeline({ environment: { SUMMARY_READS_PER_RUN_MAX: '2' } }, async (pipeline) => {
      await sendUsage(pipeline);
      await pipeline.run('reconcile-usage');
      await pipeline.run('reconcile-usage');
      expect(await pipeline.run('reconcile-usage')).toMatchObject({ verdicts: { match: 3 } });
      const fresh = await pipeline.run('reconcile-usage', { fresh: true });
      expect(fresh).toMatchObject({ reads: 2, verdicts: { match: 2, not_read: 1 } });
    }));
});

describe('the text of a verdict', () => {
  it('names the time of an earlier read, and its day where that is another', () => {
    const startedAtMs = Date.parse('2026-11-28T09:00:00Z');
    expect(describeVerdict('match', { readAt: '2026-11-28T08:44:10.000Z', startedAtMs })).toBe('match (as of 08:44)');
    expect(describeVerdict('match', { readAt: '2026-11-27T08:44:10.000Z', startedAtMs })).toBe(
      'match (as of 2026-11-27 08:44)',
    );
    expect(describeVerdict('match', { readAt: '2026-11-28T09:00:01.000Z', startedAtMs })).toBe('match');
    expect(describeVerdict('not_read', { readAt: undefined, startedAtMs })).toBe('not_read');
  });
});
