/** What became of Stripe's deliveries is stored, bounded, and told to a person when all of them are refused. */
import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/platform/clock.ts';
import { refusalsThatMatter } from '../../src/webhooks/webhook-reception.ts';
import { WebhookReceptions } from '../../src/webhooks/webhook-receptions-store.ts';
import { ReceptionTally } from '../../src/daemon/reception-tally.ts';
import { withDaemon } from '../support/daemon.ts';
import { withDatabase } from '../support/services.ts';
import { sign, SNAPSHOT_SECRET, snapshotEvent, THIN_SECRET } from '../support/webhooks.ts';

const NOW_MS = Date.parse('2026-11-21T05:30:00Z');

interface Status {
  readonly webhooks: { destination: string; outcome: string; count: number; lastAt: string }[];
  readonly needsReview: { kind: string; reason?: string; what: string; todo: string }[];
}

describe('deliveries of Stripe', () => {
  const environment = { STRIPE_WEBHOOK_SECRET: SNAPSHOT_SECRET, STRIPE_EVENTS_SECRET: THIN_SECRET };

  it('that are refused are stored by outcome; a person is told, and what helps', async () => {
    await withDaemon({ environment }, async (daemon) => {
      const { url } = daemon;
      const deliver = async (secret: string): Promise<number> => {
        const { body, signature } = sign(snapshotEvent('invoice.created', 'in_1'), { nowMs: Date.now(), secret });
        const headers = { 'stripe-signature': signature, 'content-type': 'application/json' };
        return (await fetch(`${url}/v1/stripe/webhooks`, { method: 'POST', headers, body })).status;
      };
      expect(await deliver('whsec_of_nobody_at_all')).toBe(400);
      expect(await deliver(THIN_SECRET)).toBe(400);
      expect((await fetch(`${url}/v1/stripe/events`, { method: 'POST', body: '{}' })).status).toBe(400);
      const outcomes = async (): Promise<string[]> =>
        (await daemon.get<Status>('/v1/status')).webhooks
          .map(({ destination, outcome, count }) => `${destination} ${outcome} ${count}`)
          .sort();
      await expect
        .poll(outcomes, { timeout: 30_000 })
        .toEqual([
          'snapshot webhook_secret_other 1',
          'snapshot webhook_signature_wrong 1',
          'thin webhook_signature_missing 1',
        ]);
      const refused = (await daemon.get<Status>('/v1/status')).needsReview.filter(
        ({ kind }) => kind === 'webhooks_refused',
      );
      expect(new Set(refused.map(({ reason }) => reason))).toEqual(
        new Set(['webhook_secret_other', 'webhook_signature_wrong']),
      );
      const other = refused.find(({ reason }) => reason === 'webhook_secret_other');
      expect(other?.todo).toMatch(
        /other destination's secret: exchange STRIPE_WEBHOOK_SECRET and STRIPE_EVENTS_SECRET/,
      );
      const metrics = await (await fetch(`${url}/metrics`)).text();
      expect(metrics).toContain(
        'tallystick_webhook_deliveries_total{destination="snapshot",outcome="webhook_secret_other"} 1',
      );

      expect(await deliver(SNAPSHOT_SECRET)).toBe(200);
      await expect.poll(outcomes, { timeout: 30_000 }).toContain('snapshot taken 1');
      const after = (await daemon.get<Status>('/v1/status')).needsReview.filter(
        ({ kind }) => kind === 'webhooks_refused',
      );
      expect(after).toEqual([]);
    });
  });

  it('are counted in memory and written together, also at the end', async () => {
    await withDatabase(async (db) => {
      const receptions = new WebhookReceptions(db);
      const tally = new ReceptionTally({ receptions, clock: new ManualClock(NOW_MS), log: { warn: () => {} } });
      for (let count = 0; count < 500; count += 1) tally.count('thin', 'webhook_signature_wrong');
      await tally.stop();
      tally.count('thin', 'taken');
      await tally.stop();
      const at = new Date(NOW_MS);
      const once = { destination: 'thin', firstAt: at, lastAt: at };
      const found = await receptions.list();
      expect(found).toHaveLength(2);
      expect(found).toContainEqual({ ...once, outcome: 'webhook_signature_wrong', count: 500 });
      expect(found).toContainEqual({ ...once, outcome: 'taken', count: 1 });
    });
  });

  it('matter when none is taken since, for three days, and not when strangers send them', () => {
    const reception = (outcome: string, ageMs: number, destination: 'snapshot' | 'thin' = 'snapshot') => {
      const lastAt = new Date(NOW_MS - ageMs);
      return { destination, outcome, count: 1, firstAt: lastAt, lastAt };
    };
    const wrong = reception('webhook_signature_wrong', 1_000);
    expect(refusalsThatMatter([wrong], NOW_MS)).toEqual([wrong]);
    expect(refusalsThatMatter([wrong, reception('taken', 500)], NOW_MS)).toEqual([]);
    expect(refusalsThatMatter([wrong, reception('taken', 500, 'thin')], NOW_MS)).toEqual([wrong]);
    expect(refusalsThatMatter([wrong, reception('taken', 5_000)], NOW_MS)).toEqual([wrong]);
    expect(refusalsThatMatter([reception('webhook_signature_wrong', 4 * 86_400_000)], NOW_MS)).toEqual([]);
    expect(refusalsThatMatter([reception('webhook_signature_missing', 1_000)], NOW_MS)).toEqual([]);
  });
});
