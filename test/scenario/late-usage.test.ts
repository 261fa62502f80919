/** Late usage as an operator meets it: over HTTP and on the command line of a running daemon. */
import { describe, expect, it } from 'vitest';
import { DAY_MS } from '../../src/platform/durations.ts';
import type { CommandResult } from '../support/command-line.ts';
import { type LentDaemon, withDaemon } from '../support/daemon.ts';
import { openStripe } from '../../src/stripe/client.ts';

const daysAgo = (days: number): string =>
  new Date(Math.floor(Date.now() / DAY_MS) * DAY_MS - days * DAY_MS).toISOString();

interface Listed {
  readonly id: string;
  readonly quantity: string;
  readonly state: string;
  readonly reason: string;
}

/** A customer with usage of 40 days ago, which Stripe no longer takes. */
async function prepare(daemon: LentDaemon): Promise<string> {
  const { id } = await openStripe({ secretKey: 'sk_test_daemon', apiBase: daemon.simulator.url }).customers.create({});
  const meter = { eventType: 'call', aggregation: 'sum', effectiveFrom: daysAgo(60), stripe: { eventName: 'calls' } };
  await daemon.call('PUT', '/v1/meters/calls', meter);
  await daemon.call('PUT', '/v1/customers/acme', { stripeCustomerId: id, submitFrom: daysAgo(60) });
  await daemon.run('sync-meters');
  const events = [40, 41].map((days) => ({
    idempotencyKey: `event-${days}`,
    customerId: 'acme',
    eventType: 'call',
    occurredAt: daysAgo(days),
    quantity: `${days}.5`,
  }));
  expect((await daemon.call('POST', '/v1/events?history=true', events)).status).toBe(200);
  await daemon.run('aggregate-usage');
  await daemon.run('submit-meter-events');
  return id;
}

describe('late usage', () => {
  it('is listed and decided over HTTP and by the command, once', { timeout: 60_000 }, () =>
    withDaemon({ environment: { ROLES: 'http,worker' } }, async (daemon) => {
      const customer = await prepare(daemon);
      const run = (...args: string[]): Promise<CommandResult> => daemon.cli('late', ...args);
      const table = await run('list');
      expect(table.stdout).toMatch(/40\.5 .*too_old/);
      const { data, hasMore, nextCursor } = await daemon.get<{ data: Listed[]; hasMore: boolean; nextCursor: string }>(
        '/v1/late-usage?state=waiting&customerId=acme&meter=calls&limit=1',
      );
      expect([data.length, hasMore]).toEqual([1, true]);
      const rest = await daemon.get<{ data: Listed[] }>(`/v1/late-usage?cursor=${nextCursor}`);
      const [first, second] = [...data, ...rest.data];
      const path = `/v1/late-usage/${encodeURIComponent(first?.id ?? '')}/decide`;
      const decide = async (body: object): Promise<[number, string | undefined]> => {
        const response = await daemon.call('POST', path, body);
        const answer = (await response.json()) as { code?: string; state?: string };
        return [response.status, answer.code ?? answer.state];
      };
      expect(await decide({ policy: 'invoice_item', actor: 'ann' })).toEqual([422, 'policy_not_available']);
      expect(await decide({ policy: 'next_period' })).toEqual([400, 'request_invalid']);
      expect(await decide({ policy: 'next_period', actor: 'ann', reason: 'agreed' })).toEqual([200, 'submitted']);
      expect(await decide({ policy: 'next_period', actor: 'bob' })).toEqual([200, 'submitted']);
      expect(await decide({ policy: 'dismiss', actor: 'bob' })).toEqual([409, 'late_usage_decided']);
      const dismissed = await run('decide', second?.id ?? '', 'dismiss', '--actor', 'ann', '--json');
      expect([dismissed.code, JSON.parse(dismissed.stdout)]).toEqual([
        0,
        expect.objectContaining({ state: 'dismissed' }),
      ]);
      const missing = await run('decide', 'nothing', 'dismiss', '--actor', 'ann');
      expect([missing.code, missing.stderr]).toEqual([1, expect.stringContaining('late_usage_not_found')]);
      await daemon.run('submit-meter-events');
      expect(daemon.simulator.countedTotal({ customer, meter: 'calls' })).toBe(first?.quantity);
      expect(await daemon.get<{ lateUsage: unknown[] }>('/v1/status')).toMatchObject({ lateUsage: [] });
    }),
  );
});
