import type { Db } from 'mongodb';
import { describe, expect, it } from 'vitest';
import type { GuardRecord } from '../../src/invoice-guard/guard-record.ts';
import { registerInvoiceGuards } from '../../src/invoice-guard/invoice-guards-routes.ts';
import type { App } from '../../src/platform/http/route.ts';
import { ensureIndexes } from '../../src/daemon/indexes-store.ts';
import { InvoiceGuards } from '../../src/invoice-guard/invoice-guards-store.ts';
import { ADMIN_KEY, withEventsApp } from '../support/http-app.ts';
import { withDatabase } from '../support/services.ts';

const NOW = new Date('2026-02-28T10:30:00Z');
const LATER = new Date('2026-02-28T11:00:00Z');

function withGuards(use: (guards: InvoiceGuards, db: Db) => Promise<void>): Promise<void> {
  return withDatabase(async (db) => {
    await ensureIndexes(db);
    await use(new InvoiceGuards(db), db);
  });
}

function wake(guards: InvoiceGuards, id: string, at = NOW): Promise<void> {
  return guards.wake({ _id: id, stripeCustomerId: 'cus_1' }, at);
}

async function readDue(guards: InvoiceGuards): Promise<GuardRecord> {
  const [record] = await guards.due(NOW, 10);
  if (record === undefined) throw new Error('nothing is due');
  return record;
}

describe('InvoiceGuards', () => {
  it('makes one guard of an invoice, whoever hears of it first', () =>
    withGuards(async (guards) => {
      await Promise.all([wake(guards, 'in_1'), wake(guards, 'in_1'), wake(guards, 'in_1')]);
      expect(await guards.list({ limit: 10 })).toMatchObject([{ _id: 'in_1', state: 'watching', revision: 1 }]);
      expect(await guards.unguarded(['in_1', 'in_2'])).toEqual(new Set(['in_2']));
    }));

  it('keeps everything of a guard, takes away what it no longer has, and remembers how it came there', () =>
    withGuards(async (guards) => {
      await wake(guards, 'in_1');
      const first = await readDue(guards);
      const guard = {
        ...first.guard,
        state: 'held',
        checkAtMs: NOW.getTime(),
        finalizesAtMs: LATER.getTime(),
        previousAutoAdvance: true,
        heldAtMs: NOW.getTime(),
        reason: 'different',
      } as const;
      const line = {
        lineId: 'il_1',
        meter: 'calls',
        stripeMeterId: 'mtr_1',
        fromMs: 0,
        toMs: NOW.getTime(),
        local: '12345678901234567.000000000001',
        stripe: '-0.5',
        verdict: 'surplus',
        fingerprint: 'f',
      } as const;
      expect(await guards.save({ ...first, customerId: 'acme', guard, lines: [line] }, first, NOW)).toBe(true);
      const second = await readDue(guards);
      expect(second).toEqual({ ...first, customerId: 'acme', guard, lines: [line], revision: 2 });
      expect(await guards.save({ ...second, guard: { ...guard, state: 'releasing' } }, first, NOW)).toBe(false);
      const { reason: _reason, finalizesAtMs: _finalizes, checkAtMs: _check, ...rest } = guard;
      const ended = { ...second, guard: { ...rest, state: 'final' as const, differs: true as const }, lines: [] };
      expect(await guards.save(ended, second, LATER)).toBe(true);
      const found = await guards.find('in_1');
      expect(found).not.toHaveProperty('checkAt');
      expect(found).not.toHaveProperty('reason');
      expect(found?.history).toEqual([
        { at: NOW, state: 'watching' },
        { at: NOW, state: 'held', reason: 'different' },
        { at: LATER, state: 'final' },
      ]);
      expect([await guards.countDiffering(LATER), await guards.countDiffering(new Date(LATER.getTime() + 1))]).toEqual([
        1, 0,
      ]);
      expect(await guards.census()).toEqual([]);
    }));

  it('stays due when something is heard of the invoice while it is looked at', () =>
    withGuards(async (guards) => {
      await wake(guards, 'in_1');
      const record = await readDue(guards);
      await wake(guards, 'in_1');
      const guard = { ...record.guard, state: 'passed' as const, checkAtMs: LATER.getTime() };
      expect(await guards.save({ ...record, guard }, record, NOW)).toBe(true);
      expect(await guards.hasDue(NOW)).toBe(true);
      const again = await readDue(guards);
      await guards.save({ ...again, guard }, again, NOW);
      expect([await guards.hasDue(NOW), await guards.hasDue(LATER)]).toEqual([false, true]);
    }));

  it('has nothing to look at once it is final, but for one that differs', () =>
    withGuards(async (guards) => {
      for (const id of ['in_1', 'in_2']) await wake(guards, id);
      for (const record of await guards.due(NOW, 10)) {
        const { checkAtMs: _none, ...guard } = record.guard;
        const differs = record.invoiceId === 'in_2' && { differs: true as const };
        await guards.save({ ...record, guard: { ...guard, state: 'final', ...differs } }, record, NOW);
      }
      for (const id of ['in_1', 'in_2']) await wake(guards, id);
      expect((await guards.due(NOW, 10)).map(({ invoiceId }) => invoiceId)).toEqual(['in_2']);
    }));
});

describe('/v1/invoice-guards', () => {
  async function call(app: App, method: 'GET' | 'POST', url: string, payload?: object) {
    const headers = { authorization: `Bearer ${ADMIN_KEY}` };
    const response = await app.inject({ method, url, headers, ...(payload && { payload }) });
    return { status: response.statusCode, body: response.json<Record<string, unknown>>() };
  }

  it('lists guards by state and page, shows one, and takes one release from a person', () =>
    withDatabase(async (db) => {
      const guards = new InvoiceGuards(db);
      const register = (app: App): void =>
        registerInvoiceGuards(app, {
          listGuards: (query) => guards.list(query),
          findGuard: (id) => guards.find(id),
          release: ({ invoiceId, ...by }) => guards.requestRelease(invoiceId, { ...by, at: NOW }),
        });
      for (const id of ['in_1', 'in_2', 'in_3']) await wake(guards, id);
      await withEventsApp({ routes: [register] }, async ({ app }) => {
        const first = await call(app, 'GET', '/v1/invoice-guards?limit=2&state=watching');
        expect(first.body).toMatchObject({ data: [{ invoiceId: 'in_1' }, { invoiceId: 'in_2' }], hasMore: true });
        const cursor = String(first.body['nextCursor']);
        expect((await call(app, 'GET', `/v1/invoice-guards?cursor=${cursor}`)).body).toMatchObject({
          data: [{ invoiceId: 'in_3', differs: false }],
          nextCursor: null,
        });
        const release = { actor: 'dana', reason: 'agreed with the customer' };
        expect(await call(app, 'POST', '/v1/invoice-guards/in_2/release', release)).toMatchObject({
          status: 200,
          body: { release, history: [{ state: 'watching' }, { state: 'release-requested', ...release }] },
        });
        expect(await call(app, 'POST', '/v1/invoice-guards/in_2/release', release)).toMatchObject({
          status: 409,
          body: { code: 'invoice_guard_not_releasable' },
        });
        expect(await call(app, 'POST', '/v1/invoice-guards/in_9/release', release)).toMatchObject({
          status: 404,
          body: { code: 'invoice_guard_not_found' },
        });
        expect((await call(app, 'POST', '/v1/invoice-guards/in_1/release', { actor: 'dana' })).status).toBe(400);
        expect((await call(app, 'GET', '/v1/invoice-guards/in_2')).body).toMatchObject({ state: 'watching', release });
      });
    }));
});
