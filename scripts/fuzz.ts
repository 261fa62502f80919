/**
 * Sends requests by seed to a daemon of its own, made from the OpenAPI document that it serves, and holds every answer
 * against that document. Loopback only; the stores are embedded and thrown away.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { EXIT, type ExitCode } from './lib/exit-codes.ts';
import { faultText, fuzz, sendTo } from './lib/fuzz/fuzz.ts';
import type { OpenApiDocument } from './lib/fuzz/open-api.ts';
import { setScene } from './lib/fuzz/set-scene.ts';
import { startLocalStack } from './lib/local-stack.ts';
import { Output } from './lib/output.ts';

const ADMIN_API_KEY = 'tly_fuzz_admin_key_of_a_local_daemon';
const ANSWER_MS_MAX = 60_000;
const PROGRESS_EVERY = 1_000;

const output = new Output({});
process.exitCode = await main();

async function main(): Promise<ExitCode> {
  const command = new Command('fuzz')
    .description('Send requests by seed, made from /openapi.json, and hold every answer against it.')
    .option('--seed <number>', 'where to begin; the same seed sends the same requests', '1')
    .option('--requests <number>', 'how many', '20000')
    .addHelpText('after', '\nExample:\n  $ scripts/fuzz --seed 42 --requests 100000');
  const options = command.parse().opts<Record<'seed' | 'requests', string>>();
  const [seed, requests] = [Number(options.seed), Number(options.requests)];
  if (!Number.isSafeInteger(seed) || !Number.isSafeInteger(requests) || requests < 1) {
    output.note('fuzz: --seed and --requests are whole numbers');
    return EXIT.usage;
  }
  const dataDir = await mkdtemp(join(tmpdir(), 'tallystick-fuzz-'));
  try {
    return await fuzzDaemon({ dataDir, seed, requests });
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
}

async function fuzzDaemon(input: { dataDir: string; seed: number; requests: number }): Promise<ExitCode> {
  const stack = await startLocalStack({
    dataDir: input.dataDir,
    adminApiKey: ADMIN_API_KEY,
    settings: { PORT: '0', LOG_LEVEL: 'error', WINDOW_SETTLE_MS: '0' },
    simulator: { port: 0, callsPerSecond: 0 },
    say: (line) => output.note(line),
  });
  try {
    const { url } = stack.daemon;
    await setScene(url, ADMIN_API_KEY, stack.simulator.url);
    const signal = AbortSignal.timeout(ANSWER_MS_MAX);
    const document = (await (await fetch(`${url}/openapi.json`, { signal })).json()) as OpenApiDocument;
    const result = await fuzz({
      document,
      seed: input.seed,
      requests: input.requests,
      send: sendTo(url, ADMIN_API_KEY),
      onProgress: (done) => {
        if (done % PROGRESS_EVERY === 0) output.note(`${done} requests`);
      },
    });
    for (const fault of result.faults) output.note(faultText(fault));
    const statuses = [...result.statuses].sort(([a], [b]) => a - b).map(([status, count]) => `${count} × ${status}`);
    output.note(`${statuses.join(', ')}; ${result.reached.size} of ${result.operations} operations answered 2xx`);
    output.note(`seed ${input.seed}: ${result.faults.length} faults`);
    return result.faults.length === 0 ? EXIT.ok : EXIT.failure;
  } finally {
    await stack.stop();
  }
}
