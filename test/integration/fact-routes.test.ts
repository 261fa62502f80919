/** Adjustments, the facts behind a figure, and their explanation, over HTTP. */
import { describe, expect, it } from 'vitest';
import type { Explanation } from '../../scripts/lib/explanation.ts';
import { addQuantities } from '../../src/platform/quantity.ts';
import { DAY_MS, HOUR_MS } from '../../src/platform/durations.ts';
import { type LentDaemon, withDaemon } from '../support/daemon.ts';

const AT_MS = Math.floor(Date.now() / HOUR_MS) * HOUR_MS - DAY_MS;
const at = (minutes: number): string => new Date(AT_MS + minutes * 60_000).toISOString();
const RANGE = `from=${at(0)}&to=${at(120)}`;

interface Page {
  readonly data: Record<string, unknown>[];
  readonly nextCursor: string | null;
}

const fix = (change: object = {}): Record<string, unknown> => ({
  idempotencyKey: 'fix:1',
  customerId: 'acme',
  meter: 'bytes',
  quantity: '-2.50',
  occurredAt: at(10),
  reason: 'counted twice',
  actor: 'jo',
  ...change,
});

async function prepare(daemon: LentDaemon): Promise<void> {
  const call = { eventType: 'call', effectiveFrom: at(-60 * 24 * 40) };
  const size = { ...call, valueFrom: 'properties.size' };
  const definitions = {
    bytes: { ...size, aggregation: 'sum' },
    peak: { ...size, aggregation: 'max' },
    calls: { ...call, aggregation: 'count', where: [{ property: 'plan', in: ['pro'] }] },
  };
  for (const [key, body] of Object.entries(definitions)) {
    expect((await daemon.call('PUT', `/v1/meters/${key}`, body)).status).toBe(200);
  }
  const sizes = [10, '2.5', 'many', -1, true, '007'];
  const events = sizes.map((value, index) => ({
    idempotencyKey: `e${index}`,
    customerId: 'acme',
    eventType: 'call',
    occurredAt: at(10 * index),
    properties: { size: value, plan: index % 2 === 0 ? 'pro' : 'basic' },
  }));
  expect((await daemon.call('POST', '/v1/events', events)).status).toBe(200);
}

async function refusal(daemon: LentDaemon, change: object, query = ''): Promise<[number, unknown]> {
  const response = await daemon.call('POST', `/v1/adjustments${query}`, fix({ idempotencyKey: 'refused', ...change }));
  return [response.status, ((await response.json()) as { code?: string }).code];
}

async function pages(daemon: LentDaemon, path: string): Promise<Record<string, unknown>[]> {
  const found: Record<string, unknown>[] = [];
  for (let cursor: string | null | undefined; cursor !== null;) {
    const page = await daemon.get<Page>(`${path}&limit=2${cursor === undefined ? '' : `&cursor=${cursor}`}`);
    found.push(...page.data);
    cursor = page.nextCursor;
  }
  return found;
}

describe('the routes of facts', () => {
  it('record corrections and show every figure down to its facts', { timeout: 60_000 }, () =>
    withDaemon({}, async (daemon) => {
      await prepare(daemon);
      const created = await daemon.call('POST', '/v1/adjustments', fix());
      expect(created.status).toBe(201);
      const stored = { ...fix({ quantity: '-2.5' }), receivedAt: expect.any(String) as string };
      expect(await created.json()).toEqual({ outcome: 'created', ...stored });
      const again = await daemon.call('POST', '/v1/adjustments', fix({ quantity: -2.5 }));
      expect([again.status, await again.json()]).toEqual([200, { outcome: 'duplicate', ...stored }]);

      expect(await refusal(daemon, { idempotencyKey: 'fix:1', quantity: '3' })).toEqual([409, 'adjustment_conflict']);
      expect(await refusal(daemon, { meter: 'peak' })).toEqual([422, 'adjustment_not_additive']);
      expect(await refusal(daemon, { meter: 'none' })).toEqual([404, 'meter_not_found']);
      expect(await refusal(daemon, { meter: 'calls', quantity: '0.5' })).toEqual([422, 'adjustment_not_whole']);
      expect(await refusal(daemon, { occurredAt: at(-60 * 24 * 35) })).toEqual([422, 'occurred_at_too_old']);
      const before = { occurredAt: at(-60 * 24 * 41) };
      expect(await refusal(daemon, before, '?history=true')).toEqual([422, 'adjustment_before_meter']);
      expect(await refusal(daemon, { reason: '' })).toEqual([422, 'adjustment_text_invalid']);
      expect(await refusal(daemon, { quantity: true })).toEqual([400, 'request_invalid']);
      expect(await refusal(daemon, { more: 1 })).toEqual([400, 'request_invalid']);

      // Nobody knows this customer: the id may be misspelt.
      const misspelt = { customerId: 'acmee', idempotencyKey: 'new:1' };
      expect(await refusal(daemon, misspelt)).toEqual([422, 'adjustment_customer_unknown']);
      expect(await pages(daemon, '/v1/adjustments?customerId=acmee')).toEqual([]);
      const meant = await daemon.call('POST', '/v1/adjustments?newCustomer=true', fix(misspelt));
      expect(meant.status).toBe(201);
      expect((await daemon.call('POST', '/v1/adjustments', fix({ ...misspelt, idempotencyKey: 'new:2' }))).status).toBe(
        201,
      );

      // An event's key and instant may be an adjustment's, too.
      for (const idempotencyKey of ['e1', 'e0', 'old']) {
        const change = {
          idempotencyKey,
          meter: 'calls',
          quantity: '4',
          occurredAt: at(idempotencyKey === 'old' ? -60 * 24 * 36 : 10),
        };
        expect((await daemon.call('POST', '/v1/adjustments?history=true', fix(change))).status).toBe(201);
      }
      const listed = await pages(daemon, '/v1/adjustments?customerId=acme');
      expect(listed.map(({ idempotencyKey }) => idempotencyKey)).toEqual(['old', 'e0', 'e1', 'fix:1']);
      expect(await pages(daemon, '/v1/adjustments?customerId=acme&meter=bytes')).toEqual([stored]);
      expect(await pages(daemon, '/v1/adjustments?customerId=other')).toEqual([]);

      const facts = await pages(daemon, `/v1/customers/acme/events?${RANGE}`);
      expect(facts.map(({ idempotencyKey, kind }) => `${String(idempotencyKey)} ${String(kind)}`)).toEqual([
        'e0 undefined',
        'e0 adjustment',
        'e1 undefined',
        'e1 adjustment',
        'fix:1 adjustment',
        ...['e2', 'e3', 'e4', 'e5'].map((key) => `${key} undefined`),
      ]);
      const ofBytes = await pages(daemon, `/v1/customers/acme/events?${RANGE}&meter=bytes`);
      expect(ofBytes).toContainEqual({ kind: 'adjustment', ...stored });
      expect(ofBytes).toHaveLength(7);

      const path = `/v1/customers/acme/explain?${RANGE}&meter=`;
      const live = await daemon.get<Explanation>(`${path}bytes`);
      // 10 + 2.5 − 2.5; the other values cannot be counted.
      expect(live).toMatchObject({ totals: { raw: '10' }, equal: false });
      // What was queued for the new meters may have been derived already, with what came meanwhile.
      expect(addQuantities(live.totals['windows'] ?? '0', live.between['notDerived'] ?? '0')).toBe('10');
      await daemon.run('aggregate-usage');
      const derived = await daemon.get<Explanation>(`${path}bytes`);
      expect(derived).toMatchObject({
        totals: { raw: '10', windows: '10' },
        between: { notPlanned: '10', unexplained: '0' },
      });
      expect(derived.windows).toMatchObject([
        { from: at(0), to: at(60), quantity: '10', eventCount: 3, raw: { eventCount: 3 } },
      ]);
      const values = derived.facts.data.map(({ value }) => value);
      expect(values).toEqual(['10', '2.5', '-2.5', null, null, null, null]);
      expect(addQuantities('0', ...values.map((value) => value ?? '0'))).toBe(derived.facts.quantity);
      const usage = await daemon.get<{ meters: { meter: string; quantity: string; eventCount: number }[] }>(
        `/v1/customers/acme/usage?${RANGE}`,
      );
      expect(usage.meters).toMatchObject([
        { meter: 'bytes', quantity: '10', eventCount: 3 },
        { meter: 'calls', quantity: '11', eventCount: 5 },
        { meter: 'peak', quantity: '10', eventCount: 2 },
      ]);
      const code = async (query: string): Promise<unknown> =>
        ((await (await daemon.call('GET', `/v1/customers/acme/explain?${query}`)).json()) as { code: string }).code;
      expect(await code('')).toBe('request_invalid');
      expect(await code(`${RANGE}&meter=none`)).toBe('meter_not_found');
      expect(await code(`${RANGE}&meter=bytes&hour=${at(180)}`)).toBe('range_invalid');
      expect(await code(`from=${at(60)}&to=${at(0)}&meter=bytes`)).toBe('range_invalid');
    }),
  );
});
