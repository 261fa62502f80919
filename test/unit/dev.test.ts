/** What `tallystick dev` is made of: a clock that moves ahead, spans of time, and a line for what happens. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { tellChange } from '../../scripts/lib/dev/happening.ts';
import { renderInvitation } from '../../scripts/lib/dev/invitation.ts';
import { dropExportedDev, toDevEnvironment } from '../../scripts/lib/dev/dev-environment.ts';
import { instantAfter } from '../../scripts/lib/dev/span.ts';
import { ForwardClock } from '../../src/platform/clock.ts';
import { tallystick } from '../support/command-line.ts';

const at = (text: string): number => Date.parse(text);

describe('a clock that is moved ahead', () => {
  it('wakes who sleeps when the time they wait for has come, and lets the others sleep on', async () => {
    const clock = new ForwardClock();
    const before = clock.now();
    const woken: string[] = [];
    const short = clock.sleep(3_600_000).then(() => woken.push('an hour'));
    const stop = new AbortController();
    const long = clock.sleep(7_200_000, stop.signal).then(() => woken.push('two hours'));
    clock.advance(3_600_000);
    await short;
    expect(woken).toEqual(['an hour']);
    expect(clock.now() - before).toBeGreaterThanOrEqual(3_600_000);
    clock.advance(-1_000);
    expect(clock.aheadMs).toBe(3_600_000);
    stop.abort();
    await long;
  });
});

describe('a span of time', () => {
  it.each([
    ['2026-01-31T10:00:00Z', '1mo', '2026-02-28T10:00:00Z'],
    ['2026-11-28T12:00:00Z', '1y', '2027-11-28T12:00:00Z'],
    ['2026-11-28T12:00:00Z', '2w', '2026-12-12T12:00:00Z'],
    ['2026-11-28T12:00:00Z', '90min', '2026-11-28T13:30:00Z'],
  ])('from %s of %s ends at %s', (from, span, to) => {
    expect(instantAfter(at(from), span)).toBe(at(to));
  });

  it.each(['1 month', '0d', '-1d', '1m', '', '99999y'])('is not %j', (span) => {
    expect(() => instantAfter(0, span)).toThrow(expect.objectContaining({ exitCode: 2 }));
  });
});

describe('what happens', () => {
  const change = (coll: string, fullDocument: Record<string, unknown>, updatedFields?: Record<string, unknown>) =>
    tellChange({
      operationType: updatedFields === undefined ? 'insert' : 'update',
      ns: { coll },
      fullDocument,
      ...(updatedFields !== undefined && { updateDescription: { updatedFields } }),
    });

  it('is told in a line, in which foreign text cannot speak to the terminal', () => {
    const event = { _id: 'req:1\u001facme', customerId: 'ac\u001b[31mme', eventType: 'call', quantity: '3' };
    expect(change('usage_events', event)).toBe('event       ac [31mme call 3 (req:1)');
    const submission = { customerId: 'acme', meter: 'calls', value: '7', state: 'blocked', reason: 'meter_missing' };
    expect(change('meter_submissions', submission, { state: 'blocked' })).toBe(
      'meter event acme calls 7 blocked (meter_missing)',
    );
    const run = { job: 'aggregate-usage', state: 'failed', error: { message: 'no\nanswer' } };
    expect(change('runs', run, { state: 'failed' })).toBe('run         aggregate-usage failed: no answer');
  });

  it('is not told when nothing happened: what is planned, what runs, a run that found nothing', () => {
    expect(change('meter_submissions', { state: 'planned' })).toBeUndefined();
    expect(change('meter_submissions', { state: 'accepted' }, { attempts: 2 })).toBeUndefined();
    expect(change('runs', { job: 'sweep', state: 'succeeded', result: { calls: 0 } }, { state: 1 })).toBeUndefined();
    expect(change('leases', {})).toBeUndefined();
  });
});

describe('what another terminal is given', () => {
  const environment = toDevEnvironment({
    url: 'http://127.0.0.1:8080',
    apiKey: 'tly_x',
    simulatorUrl: 'http://127.0.0.1:9',
    mongodbUri: 'mongodb://127.0.0.1:1/?replicaSet=a&b=c',
    redisUrl: 'redis://127.0.0.1:2',
    database: 'd',
    stripeKey: 'sk_test_simulator',
    signingSecrets: { snapshot: 'whsec_a', thin: 'whsec_b' },
  });

  it('is quoted where a shell would read it otherwise', () => {
    const at = { version: '1.2.3', url: '', simulatorUrl: '', mongodbUri: '', redisUrl: '', environment };
    expect(renderInvitation(at)).toContain("MONGODB_URI='mongodb://127.0.0.1:1/?replicaSet=a&b=c'");
  });

  it('is forgotten by the next `dev`, and what the person set is not', () => {
    const exported: NodeJS.ProcessEnv = { ...environment, HOME: '/home/ada' };
    dropExportedDev(exported);
    expect(exported).toEqual({ HOME: '/home/ada' });
    const own: NodeJS.ProcessEnv = { MONGODB_URI: 'mongodb://db.example.com' };
    dropExportedDev(own);
    expect(own).toEqual({ MONGODB_URI: 'mongodb://db.example.com' });
  });
});

describe('the port of `tallystick dev`', () => {
  it('is the one of PORT unless --port names another, and anything but a port is refused by its name', async () => {
    const cwd = await mkdtemp(join(tmpdir(), 'tallystick-port-'));
    try {
      const run = (env: Record<string, string>, ...args: string[]) =>
        tallystick(['dev', '--dry-run', ...args], { env, cwd });
      const [given, stated, wrong] = await Promise.all([
        run({ PORT: '9099' }),
        run({ PORT: '9099' }, '--port', '9100'),
        run({ PORT: 'eighty' }),
      ]);
      expect([given.stdout, stated.stdout]).toEqual([
        expect.stringContaining('port 9099'),
        expect.stringContaining('port 9100'),
      ]);
      expect([wrong.code, wrong.stderr]).toEqual([3, expect.stringContaining('PORT is eighty')]);
    } finally {
      await rm(cwd, { recursive: true, force: true });
    }
  });
});
