/** `tallystick dev` as a person uses it: started in an empty folder, told of events by the double, stopped. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { MongoClient } from 'mongodb';
import { describe, expect, it } from 'vitest';
import { type CommandResult, tallystick } from '../support/command-line.ts';
import { mongodbUri, redisUrl } from '../support/services.ts';
import { REPOSITORY } from '../support/source-files.ts';

interface Dev {
  readonly url: string;
  readonly apiKey: string;
  readonly simulatorUrl: string;
  /** Runs another command in the same folder. */
  run(...args: string[]): Promise<CommandResult>;
  /** Interrupts it as Ctrl-C does; returns its exit code. */
  interrupt(): Promise<unknown>;
}

/** Lends a `tallystick dev` that runs in an empty folder, on the stores of this test run. */
async function withDev(use: (dev: Dev, folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'tallystick-dev-'));
  const env = { MONGODB_URI: mongodbUri(), REDIS_URL: redisUrl(), PATH: process.env['PATH'] };
  const program = ['--import', import.meta.resolve('tsx'), join(REPOSITORY, 'scripts/tallystick.ts')];
  const child = spawn(process.execPath, [...program, 'dev', '--port', '0', '--json'], {
    cwd: folder,
    env,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const ended = once(child, 'exit');
  try {
    const addresses = await Promise.race([readJson(child.stdout), ended.then(() => ({}))]);
    const dev = {
      ...(addresses as Pick<Dev, 'url' | 'apiKey' | 'simulatorUrl'>),
      run: (...args: string[]) => tallystick(args, { env: {}, cwd: folder }),
      interrupt: async (): Promise<unknown> => {
        child.kill('SIGINT');
        return ((await ended) as unknown[])[0];
      },
    };
    await use(dev, folder);
  } finally {
    child.kill('SIGTERM');
    await ended;
    await rm(folder, { recursive: true, force: true });
  }
}

/** The first JSON document of a stream. */
async function readJson(stream: Readable): Promise<unknown> {
  let text = '';
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    text += String(chunk);
    if (text.endsWith('}\n')) return JSON.parse(text);
  }
  throw new Error(`no JSON, but: ${text}`);
}

async function listDatabases(): Promise<string[]> {
  const client = await MongoClient.connect(mongodbUri());
  try {
    const { databases } = await client.db().admin().listDatabases({ nameOnly: true });
    return databases.map(({ name }) => name).filter((name) => name.startsWith('tallystick_dev_'));
  } finally {
    await client.close();
  }
}

describe('tallystick dev', () => {
  it(
    'gets what is triggered at the double, runs once in a folder, and leaves nothing behind',
    { timeout: 240_000 },
    () =>
      withDev(async (dev, folder) => {
        const paid = await dev.run('dev', 'trigger', 'invoice.paid', '--json');
        const event = JSON.parse(paid.stdout) as { id: string; object: string };
        expect([paid.code, event]).toEqual([
          0,
          expect.objectContaining({
            object: expect.stringMatching(/^in_/),
            made: expect.objectContaining({ subscription: expect.stringMatching(/^sub_/) }),
            deliveries: [{ url: `${dev.url}/v1/stripe/webhooks`, status: 200, outcome: 'delivered' }],
          }),
        ]);
        const inbox = await fetch(`${dev.url}/v1/stripe/inbox?limit=100`, {
          headers: { authorization: `Bearer ${dev.apiKey}` },
        });
        expect(await inbox.json()).toMatchObject({
          data: expect.arrayContaining([expect.objectContaining({ eventId: event.id, objectId: event.object })]),
        });

        await fetch(`${dev.simulatorUrl}/_sim/switches`, {
          method: 'POST',
          body: JSON.stringify({ errorReportWindowMs: 1_000, errorReportDelayMs: 0 }),
        });
        const [report, unknown, second] = await Promise.all([
          dev.run('dev', 'trigger', 'v1.billing.meter.no_meter_found'),
          dev.run('dev', 'trigger', 'invoice.eaten'),
          dev.run('dev', '--port', '0'),
        ]);
        expect([report.code, report.stdout]).toEqual([0, expect.stringContaining('/v1/stripe/events answered 200')]);
        expect([unknown.code, unknown.stderr]).toEqual([
          2,
          expect.stringMatching(/invoice\.eaten[\s\S]*invoice\.paid/),
        ]);
        expect([second.code, second.stderr]).toEqual([3, expect.stringContaining('runs in this folder already')]);

        // Verbs of both kinds find it by its folder alone; whoever names another installation is not given this one.
        const [status, doctor, other] = await Promise.all([
          dev.run('status', '--json'),
          dev.run('doctor', 'mongodb'),
          dev.run('status', '--url', 'http://127.0.0.1:1', '--api-key', 'tly_other'),
        ]);
        expect([status.code, doctor.code, doctor.stderr]).toEqual([0, 0, '']);
        expect([other.code, other.stderr]).toEqual([4, expect.stringContaining('http://127.0.0.1:1')]);
        // The key is the folder's, for its owner alone.
        const keys = join(folder, '.tallystick', 'dev-keys.json');
        expect(JSON.parse(await readFile(keys, 'utf8'))).toMatchObject({ apiKey: dev.apiKey });
        expect((await stat(keys)).mode & 0o077).toBe(0);

        const [far, none] = await Promise.all([
          dev.run('dev', 'advance', '1 month'),
          dev.run('dev', 'advance', '6h', '--dry-run'),
        ]);
        expect([far.code, far.stderr]).toEqual([2, expect.stringContaining('1mo')]);
        expect([none.code, none.stdout]).toEqual([0, expect.stringContaining('would move the clocks')]);

        expect(await listDatabases()).toHaveLength(1);
        expect(await dev.interrupt()).toBe(0);
        expect(await listDatabases()).toEqual([]);
        expect(await readdir(join(folder, '.tallystick', 'dev'))).toEqual([]);
        const stopped = await dev.run('dev', 'trigger', 'invoice.paid');
        expect([stopped.code, stopped.stderr]).toEqual([4, expect.stringContaining('no `tallystick dev` runs')]);
      }),
  );
});
