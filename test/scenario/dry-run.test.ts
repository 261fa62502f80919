/** `--dry-run` of every write: the daemon judges by its own rules, says what would be, and nothing is written. */
import { describe, expect, it } from 'vitest';
import { withDaemon } from '../support/daemon.ts';

const METER = { eventType: 'call', aggregation: 'sum', stripe: { eventName: 'calls' } };

function hoursAgo(hours: number): string {
  return new Date(Date.now() - hours * 3_600_000).toISOString();
}

async function statusOf(answer: Promise<Response>): Promise<[number, unknown]> {
  const response = await answer;
  const { code } = (await response.json()) as { code?: string };
  return [response.status, code];
}

describe('a dry run', () => {
  it(
    'shows before and after of a meter and a customer, refuses what the write refuses, and writes nothing',
    { timeout: 120_000 },
    () =>
      withDaemon({}, async (daemon) => {
        const { cli } = daemon;
        const made = await cli('meters', 'put', 'calls', JSON.stringify(METER), '--dry-run');
        expect(made).toMatchObject({ code: 0, stdout: expect.stringMatching(/eventType +- +call/) });
        expect(await daemon.get('/v1/meters')).toMatchObject({ data: [] });

        await daemon.call('PUT', '/v1/meters/calls', METER);
        const renamed = await cli('meters', 'put', 'calls', '{"unit":"request"}', '--dry-run', '--json');
        expect(JSON.parse(renamed.stdout)).toMatchObject({ before: { unit: 'unit' }, after: { unit: 'request' } });
        const same = await cli('meters', 'put', 'calls', '{"unit":"unit"}', '--dry-run');
        expect(same.stdout).toContain('nothing would change');
        expect(await statusOf(daemon.call('PUT', '/v1/meters/other?dryRun=true', METER))).toEqual([
          409,
          'event_name_taken',
        ]);
        expect(await daemon.get('/v1/meters/calls')).toMatchObject({ unit: 'unit' });

        const named = await cli('customers', 'put', 'acme', '{"name":"Acme"}', '--dry-run');
        expect(named).toMatchObject({ code: 0, stdout: expect.stringMatching(/name +- +Acme/) });
        expect((await daemon.call('GET', '/v1/customers/acme')).status).toBe(404);
        await daemon.call('PUT', '/v1/customers/acme?unchecked=true', { stripeCustomerId: 'cus_1' });
        const taken = daemon.call('PUT', '/v1/customers/globex?dryRun=true&unchecked=true', {
          stripeCustomerId: 'cus_1',
        });
        expect(await statusOf(taken)).toEqual([409, 'stripe_customer_taken']);
      }),
  );

  it('says of facts whether they would be new, known or refused', { timeout: 120_000 }, () =>
    withDaemon({}, async (daemon) => {
      const { cli } = daemon;
      await daemon.call('PUT', '/v1/meters/calls', { ...METER, effectiveFrom: `${hoursAgo(30).slice(0, 13)}:00:00Z` });
      const event = {
        idempotencyKey: 'a',
        customerId: 'acme',
        eventType: 'call',
        occurredAt: hoursAgo(2),
        quantity: '3',
      };
      const ask = async (fact: object): Promise<unknown> =>
        (await daemon.call('POST', '/v1/events?dryRun=true', fact)).json();
      expect(await ask(event)).toMatchObject({ accepted: 1 });
      expect(await ask({ ...event, quantity: '-1' })).toMatchObject({ rejected: 1 });
      expect(await daemon.get('/v1/rejected-events')).toMatchObject({ data: [] });
      const send = [
        'send',
        '--customer',
        'acme',
        '--type',
        'call',
        '--quantity',
        '3',
        '--key',
        'a',
        '--at',
        event.occurredAt,
      ];
      expect((await cli(...send, '--dry-run')).stdout).toBe('would be accepted: a\n');
      expect((await cli(...send)).stdout).toBe('accepted: a\n');
      expect((await cli(...send, '--dry-run')).stdout).toBe('would be duplicate: a\n');
      expect(await ask({ ...event, quantity: '4' })).toMatchObject({ conflicts: 1 });

      const fix = [
        'adjust',
        '--customer',
        'acme',
        '--meter',
        'calls',
        '--quantity=-1',
        '--reason',
        'typo',
        '--actor',
        'ada',
      ];
      const dated = [...fix, '--at', event.occurredAt, '--key', 'fix-1', '--dry-run'];
      expect((await cli(...dated)).stdout).toMatch(/^would be created: fix-1/);
      expect(await daemon.get('/v1/adjustments')).toMatchObject({ data: [] });
      expect((await cli('adjust', ...dated.slice(1).map((arg) => (arg === 'calls' ? 'nothing' : arg)))).code).toBe(1);

      await daemon.call('POST', '/v1/events', { ...event, idempotencyKey: 'b', quantity: '-1' });
      const { data } = await daemon.get<{ data: { id: string }[] }>('/v1/rejected-events');
      const id = data[0]?.id ?? '';
      const corrected = JSON.stringify({ ...event, idempotencyKey: 'b' });
      const [replayed, deleted, unknown] = await Promise.all([
        cli('rejected', 'replay', id, '--event', corrected, '--dry-run'),
        cli('rejected', 'delete', id, '--dry-run'),
        cli('rejected', 'delete', 'nothing', '--dry-run'),
      ]);
      expect([replayed.stdout, deleted.code, unknown.code]).toEqual(['would be accepted: b of acme\n', 0, 1]);
      expect(await daemon.get('/v1/rejected-events')).toMatchObject({ data: [{ id }] });
    }),
  );

  it('of a decision is refused where the decision would be', () =>
    withDaemon({}, async (daemon) => {
      const by = { actor: 'ada', reason: 'looked' };
      const late = daemon.call('POST', '/v1/late-usage/none/decide?dryRun=true', { policy: 'dismiss', ...by });
      expect(await statusOf(late)).toEqual([404, 'late_usage_not_found']);
      for (const [route, body] of [
        ['decide', { counted: true, ...by }],
        ['resend', by],
      ] as const) {
        const answer = daemon.call('POST', `/v1/submissions/none/${route}?dryRun=true`, body);
        expect(await statusOf(answer)).toEqual([404, 'submission_not_found']);
      }
    }));
});

describe('a warning of ingest', () => {
  it('names customers without a Stripe customer and types without a meter, and neither once they are known', () =>
    withDaemon({}, async (daemon) => {
      const send = async (key: string, customerId = 'acme'): Promise<string[]> => {
        const event = { idempotencyKey: key, customerId, eventType: 'call', occurredAt: hoursAgo(1) };
        const { warnings = [] } = (await (await daemon.call('POST', '/v1/events', event)).json()) as {
          warnings?: { code: string }[];
        };
        return warnings.map(({ code }) => code);
      };
      expect(await send('1')).toEqual(['event_type_unmetered', 'customer_unmapped']);
      await daemon.call('PUT', '/v1/meters/calls', METER);
      expect(await send('2')).toEqual(['customer_unmapped']);
      await daemon.call('PUT', '/v1/customers/acme?unchecked=true', { stripeCustomerId: 'cus_1' });
      expect(await send('3')).toEqual([]);
      // An id of Stripe's is its own mapping.
      expect(await send('4', 'cus_2')).toEqual([]);
    }));
});
