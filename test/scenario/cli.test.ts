/** The `tallystick` command against a real daemon and the Stripe simulator: what it says, and its exit codes. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DAY_MS, HOUR_MS } from '../../src/platform/durations.ts';
import { openStripe } from '../../src/stripe/client.ts';
import { type CommandResult, tallystick } from '../support/command-line.ts';
import { ADMIN_KEY, type LentDaemon, withDaemon } from '../support/daemon.ts';

let world: LentDaemon;
let folder: string;
let release: () => void;
let ended: Promise<void>;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tallystick-cli-'));
  await new Promise<void>((ready, fail) => {
    ended = withDaemon({ environment: { SUMMARY_LAG_MAX_MS: '0', SUMMARY_REREAD_MS: '0' } }, async (lent) => {
      world = lent;
      const finished = new Promise<void>((resolve) => {
        release = resolve;
      });
      ready();
      await finished;
    });
    ended.catch(fail);
  });
});

afterAll(async () => {
  release();
  await ended;
  await rm(folder, { recursive: true, force: true });
});

function run(...args: string[]): Promise<CommandResult> {
  return tallystick(args, { env: world.environment, cwd: folder });
}

async function runJson<T>(...args: string[]): Promise<T> {
  const { stdout, stderr } = await run(...args, '--json');
  if (stdout === '') throw new Error(`no result: ${stderr}`);
  return JSON.parse(stdout) as T;
}

function eventLine(key: string, quantity: unknown = '1'): string {
  const occurredAt = new Date(Date.now() - 3 * HOUR_MS).toISOString();
  return JSON.stringify({ idempotencyKey: key, customerId: 'imported', eventType: 'row', occurredAt, quantity });
}

describe('the command line', () => {
  it('shows every verb with an example, and asks for the right form with exit code 2', async () => {
    const verbs = ['dev', 'start', 'doctor', 'send', 'import', 'aggregate', 'submit', 'reconcile', 'status', 'meters'];
    for (const group of [
      verbs.slice(0, 5),
      verbs.slice(5),
      ['customers', 'keys', 'rejected', 'config'],
      ['adjust', 'explain', 'verify'],
    ]) {
      for (const help of await Promise.all(group.map((verb) => run(verb, '--help')))) {
        expect(help).toMatchObject({ code: 0, stdout: expect.stringMatching(/Examples?:\n {2}\$ tallystick /) });
      }
    }
    expect((await run('no-such-verb')).code).toBe(2);
    expect((await run('send')).code).toBe(2);
    expect((await run('keys', 'create', '--scope', 'everything')).code).toBe(2);
  });

  it('says what failed, why and what to do: 3 for configuration, 4 for what is down', async () => {
    const withoutKey = await tallystick(['status'], { env: { TALLYSTICK_URL: world.url } });
    expect(withoutKey.code).toBe(3);
    expect(withoutKey.stderr).toMatch(/no API key[\s\S]*why:[\s\S]*do:/);
    const wrongKey = await run('status', '--api-key', 'tly_wrong');
    expect([wrongKey.code, wrongKey.stderr]).toEqual([3, expect.stringContaining('api_key_unknown')]);
    const away = await run('status', '--url', 'http://127.0.0.1:9');
    expect([away.code, away.stderr]).toEqual([4, expect.stringMatching(/no answer[\s\S]*do:/)]);
    const unset = await tallystick(['start'], { env: { PORT: 'eighty' } });
    expect(unset.code).toBe(3);
    for (const name of ['MONGODB_URI', 'REDIS_URL', 'PORT']) expect(unset.stderr).toContain(name);
    const taken = await tallystick(['start'], { env: { ...world.environment, PORT: new URL(world.url).port } });
    expect([taken.code, taken.stderr]).toEqual([3, expect.stringMatching(/PORT \d+ is taken by another process/)]);
  });

  it('prints the configuration without its secrets', async () => {
    const { code, stdout } = await run('config', 'print');
    expect(code).toBe(0);
    expect(stdout).toMatch(/WINDOW_SETTLE_MS +0 +environment/);
    expect(stdout).not.toContain(ADMIN_KEY);
    expect(stdout).not.toContain('sk_test_daemon');
  });

  it('makes keys that work until they are revoked', async () => {
    const { key, id } = await runJson<{ key: string; id: string }>('keys', 'create', '--scope', 'usage:read');
    expect((await run('meters', 'list', '--api-key', key)).code).toBe(0);
    expect((await run('status', '--api-key', key)).code).toBe(3);
    expect((await run('keys', 'revoke', id.slice(0, 12))).code).toBe(0);
    expect((await run('keys', 'list')).stdout).toMatch(/revoked/);
  });

  it('imports CSV and gzip, tells refusals by reason and line, and finds only duplicates the second time', async () => {
    const lines = [eventLine('n1'), eventLine('n2'), 'not json', eventLine('n3', null)];
    await writeFile(join(folder, 'rows.ndjson.gz'), gzipSync(lines.join('\n')));
    const first = await runJson<Record<string, unknown>>('import', 'rows.ndjson.gz');
    expect(first).toMatchObject({ sent: 4, accepted: 2, duplicates: 0, conflicts: 0, rejected: 2 });
    expect(first['reasons']).toEqual(
      expect.arrayContaining([expect.objectContaining({ pointer: '/quantity', count: 1, lines: [4] })]),
    );
    expect(await runJson('import', 'rows.ndjson.gz')).toMatchObject({ accepted: 0, duplicates: 2, rejected: 2 });
    const at = new Date(Date.now() - 2 * DAY_MS).toISOString();
    const header = 'idempotencyKey,customerId,eventType,occurredAt,quantity,properties.size:number\r\n';
    await writeFile(join(folder, 'rows.csv'), `${header}"c,1",imported,row,${at},12.50,7\r\n`);
    expect(await runJson('import', 'rows.csv', '--shift-days', '1')).toMatchObject({ accepted: 1, rejected: 0 });
    await writeFile(join(folder, 'bad.ndjson'), eventLine('n4', -1));
    expect((await run('import', 'bad.ndjson')).code).toBe(1);
    expect((await run('import', 'absent.ndjson')).code).toBe(1);
  });

  it('goes through the whole pipeline, and ends with 5 when the figures drift', async () => {
    const stripe = openStripe({ secretKey: 'sk_test_daemon', apiBase: world.simulator.url });
    const { id: stripeCustomerId } = await stripe.customers.create({ name: 'Acme' });
    const meter = JSON.stringify({ eventType: 'call', aggregation: 'sum', stripe: { eventName: 'calls' } });
    const at = new Date(Date.now() - 2 * HOUR_MS).toISOString();
    const send = ['send', '--customer', 'acme', '--type', 'call', '--quantity', '3', '--key', 'a1', '--at', at];
    expect((await run('meters', 'put', 'calls', meter, '--dry-run')).code).toBe(0);
    expect(await runJson('meters', 'list')).toEqual([]);
    expect((await run('meters', 'put', 'calls', meter)).code).toBe(0);
    expect((await run('meters', 'sync')).stdout).toMatch(/calls +calls +created/);
    expect((await run('customers', 'put', 'acme', JSON.stringify({ stripeCustomerId }))).code).toBe(0);
    expect(await runJson(...send)).toMatchObject({ accepted: 1 });
    expect(await runJson(...send)).toMatchObject({ duplicates: 1 });
    expect((await run('aggregate')).code).toBe(0);
    expect((await run('submit')).code).toBe(0);
    expect(world.simulator.countedTotal({ customer: stripeCustomerId, meter: 'calls' })).toBe('3');
    expect((await run('reconcile')).code).toBe(0);
    await stripe.billing.meterEvents.create({
      event_name: 'calls',
      timestamp: Math.floor(Date.parse(at) / 1000),
      payload: { stripe_customer_id: stripeCustomerId, value: '2' },
    });
    // The first look forgets nothing that matched: only a changed ledger makes it read Stripe again.
    expect(await runJson('send', '--customer', 'acme', '--type', 'call', '--key', 'a2', '--at', at)).toMatchObject({
      accepted: 1,
    });
    expect((await run('aggregate')).code).toBe(0);
    expect((await run('submit')).code).toBe(0);
    const drift = await run('reconcile', '--dry-run');
    expect([drift.code, drift.stdout]).toEqual([5, expect.stringMatching(/acme +calls .*surplus +4 +6/)]);
  });

  it('pauses submitting, shows that, and goes on', async () => {
    expect((await run('submit', '--pause', '--reason', 'a look first')).code).toBe(0);
    const [submit, status] = await Promise.all([run('submit'), run('status')]);
    expect(submit.stdout).toMatch(/^nothing: submitting is paused since /);
    expect(status.stdout).toContain('(a look first)');
    expect(await runJson('submit', '--resume')).toEqual({ wasPaused: true, paused: false });
  });

  it('lists rejected events and replays a corrected one', async () => {
    expect((await run('send', '--customer', 'acme', '--type', 'call', '--quantity', '-1', '--key', 'r1')).code).toBe(1);
    const rejected = await runJson<{ id: string; text: string; idempotencyKey: string }[]>('rejected', 'list');
    const entry = rejected.find(({ idempotencyKey }) => idempotencyKey === 'r1');
    const corrected = JSON.stringify({ ...(JSON.parse(entry?.text ?? '{}') as object), quantity: '1' });
    const replay = ['rejected', 'replay', entry?.id ?? '', '--event', corrected];
    expect(await runJson(...replay, '--dry-run')).toMatchObject({ dryRun: true });
    expect(await runJson(...replay)).toMatchObject({ outcome: 'accepted', idempotencyKey: 'r1' });
  });

  it('stops an import on Ctrl-C with 130, and goes on where it stopped', async () => {
    const lines = Array.from({ length: 3_000 }, (_, index) => eventLine(`big${index}`));
    await writeFile(join(folder, 'big.ndjson'), lines.join('\n'));
    // Nothing listens: the import waits to send again, and says so.
    const waiting = await tallystick(['import', 'big.ndjson', '--url', 'http://127.0.0.1:9'], {
      env: world.environment,
      cwd: folder,
      interrupt: { at: 'sending again', signal: 'SIGINT' },
    });
    expect([waiting.code, waiting.stderr]).toEqual([130, expect.stringContaining('goes on where it stopped')]);
    expect(await runJson('import', 'big.ndjson')).toMatchObject({ accepted: 3_000 });
  });
});
