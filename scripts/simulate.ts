/**
 * Seeded simulations in process, on a virtual clock: each seed lives a week of usage with everything that goes wrong,
 * subscriptions that move and invoices that become final, then comes to rest; raw usage, aggregates and what Stripe
 * counted and billed (or what waits on a visible list) have to agree in every billing period.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { readEmbeddedEnvironment } from '../src/embedded/environment.ts';
import { startEmbeddedMongo } from '../src/embedded/mongo.ts';
import { resolveMongod } from '../src/embedded/resolve-mongod.ts';
import { openDatabase } from '../src/storage/database.ts';
import { ensureIndexes } from '../src/storage/indexes.ts';
import { EXIT, type ExitCode } from './lib/exit-codes.ts';
import { Output } from './lib/output.ts';
import { simulateSeed } from './lib/simulate/simulate-seed.ts';

const SEEDS_DEFAULT = 200;
const DAYS_DEFAULT = 7;
const FAILURES_MAX = 10;
const PROGRESS_EVERY = 10;

const output = new Output({});
process.exitCode = await simulate();

async function simulate(): Promise<ExitCode> {
  const command = new Command('simulate')
    .description('Live through weeks of usage by seed and compare what is left with the truth.')
    .option('--seeds <number>', 'how many', String(SEEDS_DEFAULT))
    .option('--seed <number>', 'the first of them; alone with --seeds 1 it replays one', '1')
    .option('--days <number>', 'virtual days of each', String(DAYS_DEFAULT))
    .option('--diaries <folder>', 'where to write what each failing seed did', join('.tallystick', 'simulate'))
    .addHelpText('after', '\nExample:\n  $ scripts/simulate --seeds 20000\n  $ scripts/simulate --seed 42 --seeds 1');
  const options = command.parse().opts<{ seeds: string; seed: string; days: string; diaries: string }>();
  const [seeds, first, days] = [options.seeds, options.seed, options.days].map(Number) as [number, number, number];
  if (![seeds, first, days].every((value) => Number.isSafeInteger(value) && value > 0)) {
    output.note('simulate: --seeds, --seed and --days are whole numbers above 0');
    return EXIT.usage;
  }
  const program = await resolveMongod(readEmbeddedEnvironment(), (line) => output.note(line));
  const mongo = await startEmbeddedMongo({ program });
  const database = openDatabase({ uri: mongo.uri, name: 'simulate' });
  try {
    await ensureIndexes(database.db);
    return await simulateAll({ database, mongodbUri: mongo.uri }, { seeds, first, days, diaries: options.diaries });
  } finally {
    await database.close();
    await mongo.stop();
  }
}

async function simulateAll(
  place: Parameters<typeof simulateSeed>[0],
  options: { seeds: number; first: number; days: number; diaries: string },
): Promise<ExitCode> {
  const { seeds, first, days } = options;
  const failed: number[] = [];
  const total = { events: 0, submissions: 0, calls: 0, invoices: 0, held: 0, late: 0 };
  for (let seed = first; seed < first + seeds && failed.length < FAILURES_MAX; seed += 1) {
    const result = await simulateSeed(place, { seed, days });
    for (const name of Object.keys(total) as (keyof typeof total)[]) total[name] += result[name];
    if (result.violations.length > 0) {
      failed.push(seed);
      for (const violation of result.violations) output.note(output.paint.bad(`seed ${seed}: ${violation}`));
      const diary = join(options.diaries, `seed-${seed}.txt`);
      mkdirSync(options.diaries, { recursive: true });
      writeFileSync(diary, `${[...result.violations, ...result.diary].join('\n')}\n`);
      output.note(`  what it did: ${diary}; to replay: scripts/simulate --seed ${seed} --seeds 1 --days ${days}`);
    }
    const done = seed - first + 1;
    if (done % PROGRESS_EVERY === 0) output.note(`${done} of ${seeds} seeds, ${failed.length} failed`);
  }
  output.note(
    `${seeds} seeds of ${days} days: ${total.events} events, ${total.submissions} submissions, ${total.calls} calls, ` +
      `${total.invoices} final invoices, ${total.held} of them held, ${total.late} entries of late usage`,
  );
  output.note(failed.length === 0 ? 'Both halves matched every time.' : `failed seeds: ${failed.join(', ')}`);
  return failed.length === 0 ? EXIT.ok : EXIT.failure;
}
