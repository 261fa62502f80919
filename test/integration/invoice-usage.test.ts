/** From an invoice of Stripe down to the usage that it bills. */
import type { Db } from 'mongodb';
import { describe, expect, it } from 'vitest';
import type { Explanation } from '../../scripts/lib/explanation.ts';
import { HOUR_MS } from '../../src/platform/durations.ts';
import { InvoiceMirror } from '../../src/mirror/invoices-store.ts';
import { METER_SUBMISSIONS, type MeterSubmissionDocument } from '../../src/submissions/meter-submissions-store.ts';
import { openStripe } from '../../src/stripe/client.ts';
import type { CommandResult } from '../support/command-line.ts';
import { type LentDaemon, withDaemon } from '../support/daemon.ts';

const HOUR_START_MS = Math.floor(Date.now() / HOUR_MS) * HOUR_MS;
const FROM = new Date(HOUR_START_MS - 4 * HOUR_MS);
const TO = new Date(HOUR_START_MS);

interface Place {
  readonly daemon: LentDaemon;
  readonly db: Db;
  readonly run: (...args: string[]) => Promise<CommandResult>;
}

/** A customer whose usage of two meters was sent, and the draft of an invoice that bills both. */
function withInvoice(use: (place: Place) => Promise<void>): Promise<void> {
  return withDaemon({}, async (daemon) => {
    const { db } = daemon;
    const stripe = openStripe({ secretKey: 'sk_test_daemon', apiBase: daemon.simulator.url });
    const { id: stripeCustomerId } = await stripe.customers.create({ name: 'acme' });
    const effectiveFrom = FROM.toISOString();
    for (const key of ['calls', 'bytes']) {
      const body = { eventType: key, aggregation: 'sum', effectiveFrom, stripe: { eventName: key } };
      expect((await daemon.call('PUT', `/v1/meters/${key}`, body)).status).toBe(200);
    }
    await daemon.run('sync-meters');
    const customer = { stripeCustomerId, billingAnchor: effectiveFrom, submitFrom: effectiveFrom };
    expect((await daemon.call('PUT', '/v1/customers/acme', customer)).status).toBe(200);
    const occurredAt = new Date(HOUR_START_MS - 2 * HOUR_MS).toISOString();
    const events = ['calls', 'bytes'].map((eventType, index) => {
      return { idempotencyKey: eventType, customerId: 'acme', eventType, occurredAt, quantity: `${index + 2}.5` };
    });
    expect((await daemon.call('POST', '/v1/events', events)).status).toBe(200);
    await daemon.run('aggregate-usage');
    await daemon.run('submit-meter-events');
    await new InvoiceMirror(db).save(
      {
        _id: 'in_1',
        stripeCustomerId,
        status: 'draft',
        autoAdvance: true,
        createdAt: TO,
        lines: [
          ...(await stripeMetersOf(db)).map(([stripeMeterId, quantityDecimal], index) => {
            return { id: `il_${index}`, stripeMeterId, from: FROM, to: TO, quantityDecimal };
          }),
          { id: 'il_fee', from: FROM, to: TO },
          { id: 'il_other', stripeMeterId: 'mtr_elsewhere', from: FROM, to: TO, quantityDecimal: '9' },
        ],
      },
      undefined,
    );
    await use({ daemon, db, run: daemon.cli });
  });
}

/** Stripe's ids of the meters, and what was sent to each. */
async function stripeMetersOf(db: Db): Promise<[string, string][]> {
  const sent = await db.collection<MeterSubmissionDocument>(METER_SUBMISSIONS).find().sort({ meter: -1 }).toArray();
  return sent.map(({ stripeMeterId = '', value }) => [stripeMeterId, value.toString()]);
}

describe('explain --invoice', () => {
  it('finds customer, meters and period by the lines of the invoice, and explains all of them', () =>
    withInvoice(async ({ daemon, run }) => {
      const usage = await daemon.get<{ usage: object[] }>('/v1/invoices/in_1/usage');
      expect(usage).toMatchObject({ invoiceId: 'in_1', status: 'draft' });
      const period = { from: FROM.toISOString(), to: TO.toISOString() };
      expect(usage.usage).toEqual([
        { stripeMeterId: expect.any(String) as string, ...period, quantity: '2.5', customerId: 'acme', meter: 'calls' },
        { stripeMeterId: expect.any(String) as string, ...period, quantity: '3.5', customerId: 'acme', meter: 'bytes' },
        { stripeMeterId: 'mtr_elsewhere', ...period, quantity: '9' },
      ]);

      const table = await run('explain', '--invoice', 'in_1');
      expect(table).toMatchObject({ code: 0, stderr: '' });
      expect(table.stdout).toMatch(/^invoice in_1 \(draft\)/);
      expect(table.stdout).toMatch(/^9 of mtr_elsewhere .*: nothing was sent from here$/m);
      for (const meter of ['calls', 'bytes']) expect(table.stdout).toMatch(new RegExp(`^acme {2}${meter} `, 'm'));
      expect(table.stdout.match(/equal at every level/g)).toHaveLength(2);

      const json = JSON.parse((await run('explain', '--invoice', 'in_1', '--by', 'day', '--json')).stdout) as {
        explanations: Explanation[];
      };
      expect(
        json.explanations.map((of) => [of.meter, of.from, of.to, of.totals.sent, of.days?.map((day) => day.quantity)]),
      ).toEqual([
        ['calls', period.from, period.to, '2.5', ['2.5']],
        ['bytes', period.from, period.to, '3.5', ['3.5']],
      ]);
      const csv = await run('explain', '--invoice', 'in_1', '--csv');
      expect(csv.stdout.split('\n').filter((line) => line.startsWith('level,'))).toHaveLength(1);
      expect(csv.stdout.match(/^fact,.*,acme,(?:calls|bytes)$/gm)).toHaveLength(2);
    }));

  it('refuses an invoice that was never mirrored, and a customer, a meter or a range beside it', () =>
    withInvoice(async ({ daemon, run }) => {
      const answer = await daemon.call('GET', '/v1/invoices/in_2/usage');
      expect([answer.status, ((await answer.json()) as { code: string }).code]).toEqual([404, 'invoice_not_found']);
      expect((await run('explain', '--invoice', 'in_2')).code).not.toBe(0);
      const both = await run('explain', '--invoice', 'in_1', '--customer', 'acme', '--period', 'current');
      expect(both).toMatchObject({ code: 2, stderr: expect.stringContaining('--customer, --period') as string });
      const none = await run('explain', '--customer', 'acme');
      expect(none).toMatchObject({ code: 2, stderr: expect.stringContaining('--customer and --meter') as string });
    }));
});
