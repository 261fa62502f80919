/** Whatever waits for a human is named by `doctor`, `status`, the metrics and a verb that lists it, in the same words. */
import type { Db } from 'mongodb';
import { describe, expect, it } from 'vitest';
import { DAY_MS, HOUR_MS } from '../../src/platform/durations.ts';
import { withDaemon } from '../support/daemon.ts';

/** Nothing is done about what is planted: only the interface runs. */
const INTERFACE = { environment: { ROLES: 'http' } };

/** One of everything that a human has to know of. */
async function plant(db: Db): Promise<void> {
  const now = Date.now();
  const old = new Date(now - 2 * DAY_MS);
  const submission = (id: string, fields: object) => ({
    _id: id,
    customerId: 'acme',
    meter: 'calls',
    subject: 'window',
    subjectStart: old,
    sequence: 1,
    fromQuantity: '0',
    toQuantity: '5',
    value: '5',
    timestamp: old,
    attempts: 0,
    storedAnswers: 0,
    declines: 0,
    plannedAt: old,
    history: [],
    ...fields,
  });
  await db
    .collection<{ _id: string }>('meter_submissions')
    .insertMany([
      submission('s:blocked', { state: 'blocked', reason: 'customer_not_mapped', customerId: 'from-events' }),
      submission('s:rejected', { state: 'rejected', reason: 'meter_event_invalid_value', attempts: 1 }),
      submission('s:undecided', { state: 'in_doubt', reason: 'undecided', attempts: 3, firstAttemptAt: old }),
      submission('s:planned', { state: 'planned', dueAt: old }),
    ]);
  await db
    .collection<{ _id: string }>('late_usage')
    .insertOne({ _id: 'l:1', state: 'waiting', reason: 'invoice_final', createdAt: old } as never);
  await db
    .collection<{ _id: string }>('invoice_guards')
    .insertOne({ _id: 'in_1', state: 'held', updatedAt: old } as never);
  await db
    .collection('usage_aggregates')
    .insertOne({ _id: { customerId: 'acme', meter: 'calls', windowStart: old }, uncountable: 3 } as never);
  await db.collection<{ _id: string }>('rejected_events').insertMany([
    { _id: 'e:1', text: '{}', code: 'quantity_invalid', count: 1, firstAt: old, lastAt: new Date(now) },
    { _id: 'e:2', text: '{}', code: 'quantity_missing', count: 1, firstAt: old, lastAt: old },
  ] as never[]);
  await db.collection('dirty_hours').insertMany([
    { pairs: [], openedAt: old },
    { pairs: ['a pair'], openedAt: old, closedAt: old, setAside: { attempts: 2, reason: 'RangeError: out of range' } },
  ]);
  await db
    .collection<{ _id: string }>('webhook_inbox')
    .insertMany([webhook('evt_failed', 'failed', old), webhook('evt_waiting', 'pending', old)] as never[]);
  await db.collection<{ _id: string }>('reconciliations').insertOne({
    _id: 'run-1',
    startedAt: new Date(now - HOUR_MS),
    mode: 'report',
    input: {},
    reads: 1,
    verdicts: { missing: 1 },
    aggregates: { checked: 1, requeued: 0, person: [{ customerId: 'acme' }] },
    healed: 0,
    waiting: 1,
  } as never);
  await db.collection('reconciliation_rows').insertOne({
    _id: { run: 'run-1', customerId: 'acme', meter: 'calls', periodStart: old },
    verdict: 'missing',
    waits: true,
    plan: [],
  } as never);
  const failed = (id: string, startedAt: number) => ({
    _id: id,
    job: 'aggregate-usage',
    trigger: 'tick',
    state: 'failed',
    input: {},
    attempts: 1,
    startedAt: new Date(startedAt),
    endedAt: new Date(startedAt),
    error: { code: 'job_failed', message: 'the offset is out of range' },
  });
  await db
    .collection<{ _id: string }>('runs')
    .insertMany([1, 2, 3].map((n) => failed(`f${n}`, now - n * HOUR_MS)) as never[]);
  await db
    .collection<{ _id: string }>('installation')
    .updateOne({ _id: 'installation' }, { $set: { createdAt: new Date(now - 9 * DAY_MS) } });
}

function webhook(id: string, state: string, at: Date): object {
  return {
    _id: id,
    kind: 'snapshot',
    type: 'invoice.paid',
    createdAt: at,
    receivedAt: at,
    source: 'delivery',
    state,
    attempts: 1,
    ...(state === 'failed' && { error: { code: 'stripe_refused', message: 'No such invoice' } }),
  };
}

const KINDS = [
  'submissions_blocked',
  'submissions_rejected',
  'submissions_undecided',
  'submissions_overdue',
  'uncountable_facts',
  'events_rejected',
  'journal_overdue',
  'customer_hours_set_aside',
  'late_usage',
  'invoices_held',
  'plans_waiting',
  'aggregates_exceed_raw',
  'webhooks_failed',
  'webhooks_overdue',
  'job_failing',
  'job_overdue',
];

describe('what waits for a human', () => {
  it('is nothing in a new installation', async () => {
    await withDaemon(INTERFACE, async ({ cliHere: run }) => {
      expect(await run('doctor', 'review')).toEqual({ code: 0, stdout: '', stderr: '' });
      expect((await run('status')).stdout).toContain('Nothing waits for a human.');
    });
  });

  it('is one list in doctor, status and metrics, each with a command, and listed by verbs', async () => {
    await withDaemon(INTERFACE, async ({ db, url, cliHere: run }) => {
      await plant(db);
      const status = JSON.parse((await run('status', '--json')).stdout) as {
        needsReview: { kind: string; area: string; what: string; todo: string }[];
      };
      expect([...new Set(status.needsReview.map(({ kind }) => kind))].sort()).toEqual([...KINDS].sort());
      const doctor = await run('doctor', 'review');
      expect(doctor.code).toBe(1);
      const lines = doctor.stdout.trim().split('\n');
      expect(lines).toEqual(status.needsReview.map(({ area, what, todo }) => `${area}: ${what} -> ${todo}`));
      // One that was refused longer than a day ago stays in its list, and alarms nobody any more.
      expect(lines.filter((line) => line.includes('refused within a day'))).toEqual([
        expect.stringMatching(/^usage: 1 event was refused within a day: quantity_invalid -> .*rejected list --code/),
      ]);
      expect((await run('doctor', 'invoices')).stdout.trim().split('\n')).toEqual([
        expect.stringMatching(/^invoices: 1 invoice is held/),
      ]);
      const metrics = await (await fetch(`${url}/metrics`)).text();
      for (const kind of KINDS) expect(metrics).toMatch(new RegExp(`needs_review\\{kind="${kind}"\\} [1-9]`));

      const [rejected, blocked, inbox, unmapped, shown] = await Promise.all([
        run('submissions', 'list', '--state', 'rejected'),
        run('submissions', 'list', '--state', 'blocked', '--json'),
        run('inbox', 'list', '--state', 'failed'),
        run('customers', 'list', '--unmapped'),
        run('submissions', 'show', 's:undecided'),
      ]);
      expect(rejected.stdout).toMatch(/s:rejected .*rejected +meter_event_invalid_value/);
      expect((JSON.parse(blocked.stdout) as { identifier: string }[]).map(({ identifier }) => identifier)).toEqual([
        's:blocked',
      ]);
      expect(inbox.stdout).toMatch(/evt_failed .*stripe_refused: No such invoice/);
      expect(unmapped.stdout).toMatch(/\nfrom-events +- +1 +2/);
      expect(shown.stdout).toMatch(/state +in_doubt/);
      expect((await run('inbox', 'retry', 'evt_failed')).stdout).toBe('evt_failed: pending\n');
    });
  });

  it('is a rejected event no longer once it is deleted, and says when a list was cut', async () => {
    await withDaemon(INTERFACE, async ({ call, cliHere: run }) => {
      const send = (quantity: number) =>
        call('POST', '/v1/events', { idempotencyKey: `k${quantity}`, customerId: 'acme', eventType: 'call', quantity });
      for (const quantity of [1, 2]) expect((await send(quantity)).status).toBe(422);
      const listed = JSON.parse((await run('rejected', 'list', '--json')).stdout) as { id: string }[];
      expect(listed).toHaveLength(2);
      expect((await run('rejected', 'list', '--limit', '1')).stdout).toContain('only the first 1 are shown');
      expect((await run('rejected', 'list', '--limit', 'all')).code).toBe(2);
      const [first] = listed;
      expect((await run('rejected', 'delete', first?.id ?? '')).code).toBe(0);
      expect((await run('rejected', 'delete', first?.id ?? '')).code).toBe(1);
      expect(JSON.parse((await run('rejected', 'list', '--json')).stdout)).toHaveLength(1);
    });
  });
});
