/**
 * Seeded simulations in process, on a virtual clock: each seed lives a week of usage with everything that goes wrong,
 * subscriptions that move and invoices that become final, then comes to rest; raw usage, aggregates and what Stripe
 * counted and billed (or what waits on a visible list) have to agree in every billing period. Started with `--role` it
 * is one of its own child processes, which live one seed after the other.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { readEmbeddedEnvironment } from '../packages/dev-services/src/environment.ts';
import { resolveMongod } from '../packages/dev-services/src/resolve-mongod.ts';
import { runRole } from './lib/child.ts';
import { EXIT, type ExitCode } from './lib/exit-codes.ts';
import { Output } from './lib/output.ts';
import { SEED_ROLE, simulateSeeds } from './lib/simulate/seed-pool.ts';
import { liveSeeds } from './lib/simulate/seed-role.ts';
import type { SeedResult } from './lib/simulate/simulate-seed.ts';

const SEEDS_DEFAULT = 200;
const DAYS_DEFAULT = 7;
const FAILURES_MAX = 10;
const PROGRESS_EVERY = 10;

interface Options {
  readonly seeds: number;
  readonly first: number;
  readonly days: number;
  readonly processes: number;
  readonly diaries: string;
}

const output = new Output({});
process.exitCode = await simulate();

async function simulate(): Promise<ExitCode> {
  // A seed waits half of its time for its database.
  const command = new Command('simulate')
    .description('Live through weeks of usage by seed and compare what is left with the truth.')
    .option('--seeds <number>', 'how many', String(SEEDS_DEFAULT))
    .option('--seed <number>', 'the first of them; alone with --seeds 1 it replays one', '1')
    .option('--days <number>', 'virtual days of each', String(DAYS_DEFAULT))
    .option('--processes <number>', 'how many seeds live at once', String(2 * availableParallelism()))
    .option('--diaries <folder>', 'where to write what each failing seed did', join('.tallystick', 'simulate'))
    .addOption(new Option('--role <name>').hideHelp())
    .addHelpText('after', '\nExample:\n  $ scripts/simulate --seeds 20000\n  $ scripts/simulate --seed 42 --seeds 1');
  const options = command.parse().opts<Record<'seeds' | 'seed' | 'days' | 'processes' | 'diaries' | 'role', string>>();
  if (options.role !== undefined) {
    await runRole({ [SEED_ROLE]: liveSeeds }, options.role);
    return EXIT.ok;
  }
  const [seeds, first, days, processes] = [options.seeds, options.seed, options.days, options.processes].map(
    Number,
  ) as [number, number, number, number];
  if (![seeds, first, days, processes].every((value) => Number.isSafeInteger(value) && value > 0)) {
    output.note('simulate: --seeds, --seed, --days and --processes are whole numbers above 0');
    return EXIT.usage;
  }
  // Fetched once and told of once; each process finds it there.
  await resolveMongod(readEmbeddedEnvironment(), (line) => output.note(line));
  return simulateAll({ seeds, first, days, processes, diaries: options.diaries });
}
async function simulateAll({ diaries, ...options }: Options): Promise<ExitCode> {
  const { seeds, days } = options;
  const failed: number[] = [];
  const total = { events: 0, submissions: 0, calls: 0, invoices: 0, held: 0, late: 0 };
  let done = 0;
  await simulateSeeds(options, (result) => {
    for (const name of Object.keys(total) as (keyof typeof total)[]) total[name] += result[name];
    if (result.violations.length > 0) {
      failed.push(result.seed);
      tellFailure(result, { days, diaries });
    }
    done += 1;
    if (done % PROGRESS_EVERY === 0) output.note(`${done} of ${seeds} seeds, ${failed.length} failed`);
    return failed.length < FAILURES_MAX;
  });
  output.note(
    `${done} seeds of ${days} days: ${total.events} events, ${total.submissions} submissions, ${total.calls} calls, ` +
      `${total.invoices} final invoices, ${total.held} of them held, ${total.late} entries of late usage`,
  );
  output.note(failed.length === 0 ? 'Both halves matched every time.' : `failed seeds: ${failed.join(', ')}`);
  return failed.length === 0 ? EXIT.ok : EXIT.failure;
}

function tellFailure(
  { seed, violations, diary }: SeedResult,
  { days, diaries }: Pick<Options, 'days' | 'diaries'>,
): void {
  for (const violation of violations) output.note(output.paint.bad(`seed ${seed}: ${violation}`));
  const path = join(diaries, `seed-${seed}.txt`);
  mkdirSync(diaries, { recursive: true });
  writeFileSync(path, `${[...violations, ...diary].join('\n')}\n`);
  output.note(`  what it did: ${path}; to replay: scripts/simulate --seed ${seed} --seeds 1 --days ${days}`);
}
