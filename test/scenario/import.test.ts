/** `tallystick import` against real daemons: files of other programs, interruptions, ledgers that changed meanwhile. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { HOUR_MS } from '../../src/platform/durations.ts';
import { findFreePorts } from '../../packages/dev-services/src/ports.ts';
import { type CommandOptions, type CommandResult, tallystick } from '../support/command-line.ts';
import { ADMIN_KEY, type LentDaemon, withDaemon } from '../support/daemon.ts';

/** Each test starts many processes, which take seconds each on a busy machine. */
vi.setConfig({ testTimeout: 180_000 });

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tallystick-import-'));
});

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

const AT = new Date(Math.floor(Date.now() / 1000) * 1000 - 3 * HOUR_MS);

function eventText(key: string, customerId = 'imported'): string {
  return JSON.stringify({ idempotencyKey: key, customerId, eventType: 'row', occurredAt: AT.toISOString() });
}

function run(
  url: string,
  args: readonly string[],
  interrupt?: NonNullable<CommandOptions['interrupt']>,
): Promise<CommandResult> {
  return tallystick(['import', ...args], {
    env: { TALLYSTICK_URL: url, TALLYSTICK_API_KEY: ADMIN_KEY },
    cwd: folder,
    ...(interrupt && { interrupt }),
  });
}

async function runJson(url: string, ...args: string[]): Promise<Record<string, unknown>> {
  const { stdout, stderr } = await run(url, [...args, '--json']);
  if (stdout === '') throw new Error(`no result: ${stderr}`);
  return JSON.parse(stdout) as Record<string, unknown>;
}

async function customersOf(daemon: LentDaemon, customerIds: readonly string[]): Promise<number[]> {
  const query = `from=${AT.toISOString().slice(0, 13)}:00:00Z&to=${new Date().toISOString()}`;
  return Promise.all(
    customerIds.map(async (id) => {
      const path = `/v1/customers/${encodeURIComponent(id)}/events?${query}`;
      return (await daemon.get<{ data: unknown[] }>(path)).data.length;
    }),
  );
}

describe('an import', () => {
  it('changes no letter: a file that is not UTF-8 stops it at the line, with the command that helps', async () => {
    await withDaemon({}, async (daemon) => {
      const header = 'idempotencyKey,customerId,eventType,occurredAt,quantity';
      const rows = ['first', 'Müller', 'Möller'].map((name, index) => `k${index},${name},row,${AT.toISOString()},1`);
      await writeFile(join(folder, 'latin.csv'), Buffer.from([header, ...rows].join('\n'), 'latin1'));
      const latin = await run(daemon.url, ['latin.csv']);
      expect(latin).toMatchObject({
        code: 1,
        stdout: expect.stringMatching(/^so far: 1 accepted/),
        stderr: expect.stringMatching(/line 3 of latin\.csv is not UTF-8[\s\S]*iconv -f WINDOWS-1252 -t UTF-8/),
      });
      // What was lost before it came here is refused by the daemon.
      await writeFile(join(folder, 'lost.ndjson'), eventText('lost', 'M\ufffdller'));
      const lost = await runJson(daemon.url, 'lost.ndjson');
      expect(lost).toMatchObject({ rejected: 1, reasons: [{ code: 'text_replacement_character', lines: [1] }] });
      await writeFile(join(folder, 'utf16.csv'), Buffer.from(`\ufeff${[header, ...rows].join('\r\n')}`, 'utf16le'));
      expect(await runJson(daemon.url, 'utf16.csv')).toMatchObject({ accepted: 2, duplicates: 1, rejected: 0 });
      expect(await customersOf(daemon, ['Müller', 'Möller'])).toEqual([1, 1]);
    });
  });

  it('cuts no line at U+2028, and says what was stored of a file that is cut off', async () => {
    await withDaemon({}, async (daemon) => {
      const odd = ['a\u2028b', 'c\u2029d'];
      await writeFile(join(folder, 'odd.ndjson'), odd.map((key) => eventText(key)).join('\n'));
      expect(await runJson(daemon.url, 'odd.ndjson')).toMatchObject({ sent: 2, accepted: 2 });
      const rows = Array.from({ length: 20_000 }, (_, index) => eventText(`cut-${Math.sin(index)}`));
      const whole = gzipSync(rows.join('\n'));
      await writeFile(join(folder, 'cut.ndjson.gz'), whole.subarray(0, Math.floor(whole.length * 0.9)));
      const cut = await run(daemon.url, ['cut.ndjson.gz']);
      expect(cut).toMatchObject({
        code: 1,
        stderr: expect.stringMatching(/cut\.ndjson\.gz is cut off after line \d+/),
      });
      const stored = Number(/^so far: (\d+) accepted/.exec(cut.stdout)?.[1]);
      expect(stored).toBeGreaterThan(10_000);
      await writeFile(join(folder, 'cut.ndjson.gz'), whole);
      expect(await runJson(daemon.url, 'cut.ndjson.gz')).toMatchObject({
        accepted: 20_000 - stored,
        duplicates: stored,
        isComplete: true,
      });
    });
  });

  it('names keys that repeat within the file, and ends with 1 for them when asked to be strict', async () => {
    await withDaemon({}, async (daemon) => {
      const at = AT.toISOString();
      const rows = [`1,23457E+15;a;row;${at};1`, `1,23457E+15;a;row;${at};1`, `k;a;row;${at};1`];
      await writeFile(
        join(folder, 'keys.csv'),
        `idempotencyKey;customerId;eventType;occurredAt;quantity\r\n${rows.join('\r\n')}`,
      );
      const result = await run(daemon.url, ['keys.csv', '--strict']);
      expect(result.code).toBe(1);
      expect(result.stdout).toMatch(/1 event has a key that stands in the file before[\s\S]*1,23457E\+15 \(line 3\)/);
      expect(result.stdout).toMatch(/2 events have a key that a spreadsheet/);
      expect(await runJson(daemon.url, 'keys.csv')).toMatchObject({
        duplicates: 3,
        repeatedKeys: { count: 1, keys: [{ key: '1,23457E+15', lines: [3] }] },
        shortenedKeys: { count: 2 },
      });
    });
  });

  it("takes Stripe's bulk file, and Postgres's times", async () => {
    await withDaemon({}, async (daemon) => {
      const columns = 'identifier,timestamp,event_name,payload_stripe_customer_id,payload_value';
      const row = `id_1,${AT.getTime() / 1000},tokens,cus_bulk1,12.5`;
      await writeFile(join(folder, 'bulk.csv'), `${columns}\n${row}\n`);
      const maps = (...rules: string[]): string[] => rules.flatMap((rule) => ['--map', rule]);
      const bulk = maps(
        'idempotencyKey=identifier',
        'customerId=payload_stripe_customer_id',
        'eventType=event_name',
        'occurredAt=timestamp:unix',
        'quantity=payload_value',
      );
      expect(await runJson(daemon.url, 'bulk.csv', ...bulk, '--dry-run')).toMatchObject({ dryRun: true, events: 1 });
      expect(await runJson(daemon.url, 'bulk.csv', ...bulk)).toMatchObject({ accepted: 1 });
      const time = AT.toISOString().replace('T', ' ').replace('Z', '+00');
      await writeFile(join(folder, 'postgres.csv'), `id\tcustomer\tcreated_at\tkind\n7\tp\t${time}\tx\n`);
      const postgres = maps('idempotencyKey=id', 'customerId=customer', 'occurredAt=created_at:postgres');
      const refused = await run(daemon.url, ['postgres.csv', ...postgres]);
      expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining('lacks eventType, quantity')]);
      const whole = [...postgres, ...maps('eventType:=call', 'quantity:=1')];
      expect(await runJson(daemon.url, 'postgres.csv', ...whole)).toMatchObject({ accepted: 1 });
      expect(await customersOf(daemon, ['cus_bulk1', 'p'])).toEqual([1, 1]);
    });
  });
});

/** An import tells how far it is every five seconds: so many events take it more than ten. */
const EVENTS_PER_SECOND = 250;
const ONCE_UNDER_WAY = { at: 'importing [', signal: 'SIGINT' } as const;

describe('an interrupted import', () => {
  const texts = Array.from({ length: 3_000 }, (_, index) => eventText(`big${index}`));
  const file = 'big.ndjson';
  // The first four batches, which go out together, are taken at once at that rate.
  const command = [file, '--batch-size', '50'];

  /** Runs the import against a daemon that takes few events a second until it tells how far it is. @returns how many it sent. */
  async function interruptAt(port: number): Promise<number> {
    let sent = 0;
    await withDaemon(
      { environment: { PORT: String(port), EVENTS_PER_SECOND_MAX: String(EVENTS_PER_SECOND) } },
      async (daemon) => {
        await writeFile(join(folder, file), texts.join('\n'));
        const stopped = await run(daemon.url, [...command, '--json'], ONCE_UNDER_WAY);
        expect(stopped.code).toBe(130);
        ({ sent } = JSON.parse(stopped.stdout) as { sent: number });
        expect(sent).toBeGreaterThan(0);
      },
    );
    return sent;
  }

  it('goes on where it stopped in the same ledger', async () => {
    await withDaemon({ environment: { EVENTS_PER_SECOND_MAX: String(EVENTS_PER_SECOND) } }, async (daemon) => {
      await writeFile(join(folder, file), texts.join('\n'));
      const stopped = await run(daemon.url, command, ONCE_UNDER_WAY);
      expect(stopped.code).toBe(130);
      const resumed = (await runJson(daemon.url, ...command)) as Record<string, number>;
      expect(resumed).toMatchObject({ isComplete: true, rejected: 0 });
      // What was under way at the interruption may be stored without an answer.
      const { skipped = 0, accepted = 0, duplicates = 0 } = resumed;
      expect(skipped).toBeGreaterThan(0);
      expect(skipped + accepted + duplicates).toBe(3_000);
      expect(await runJson(daemon.url, ...command)).toMatchObject({ skipped: 0, duplicates: 3_000 });
    });
  });

  it('begins anew in a ledger that was emptied', async () => {
    const [port = 0] = await findFreePorts(1);
    const sent = await interruptAt(port);
    await withDaemon({ environment: { PORT: String(port) } }, async (daemon) => {
      const again = await run(daemon.url, [...command, '--json']);
      expect(again.stderr).toMatch(/sent \d+ events, which this ledger does not hold/);
      expect(JSON.parse(again.stdout)).toMatchObject({ sent: 3_000, accepted: 3_000, duplicates: 0, skipped: 0 });
      expect(sent).toBeLessThan(3_000);
    });
  });

  it('begins anew in a ledger that was restored from before, and finds there what it holds', async () => {
    const [port = 0] = await findFreePorts(1);
    await interruptAt(port);
    await withDaemon({ environment: { PORT: String(port) } }, async (daemon) => {
      const restored = 50;
      await daemon.call(
        'POST',
        '/v1/events',
        texts.slice(0, restored).map((text) => JSON.parse(text) as unknown),
      );
      const again = await runJson(daemon.url, ...command);
      expect(again).toMatchObject({ accepted: 3_000 - restored, duplicates: restored, skipped: 0 });
    });
  });

  it('begins at the beginning with --restart', async () => {
    const [port = 0] = await findFreePorts(1);
    await interruptAt(port);
    await withDaemon({ environment: { PORT: String(port) } }, async (daemon) => {
      await daemon.call(
        'POST',
        '/v1/events',
        texts.slice(0, 1_000).map((text) => JSON.parse(text) as unknown),
      );
      const again = await run(daemon.url, [...command, '--restart', '--json']);
      expect(again.stderr).not.toContain('does not hold');
      expect(JSON.parse(again.stdout)).toMatchObject({ accepted: 2_000, duplicates: 1_000, skipped: 0 });
    });
  });
});
