#!/usr/bin/env node
/**
 * Torture: processes killed and frozen, stores emptied and cut off, runs overlapping, Stripe failing. By seed, bounded,
 * and every part ends by comparing what was acknowledged, raw, the aggregates, the submissions and Stripe's totals.
 */
import { randomInt } from 'node:crypto';
import { Command } from 'commander';
import { EXIT, type ExitCode } from './lib/exit-codes.ts';
import { Output } from './lib/output.ts';
import { runCrashingDaemon } from './lib/torture/crashing-daemon.ts';
import { DAEMON_ARGUMENT } from './lib/torture/daemon-process.ts';
import { PARTS, type TorturePart } from './lib/torture/parts.ts';

const SEED_MAX = 1_000_000;
const FAULTS_SHOWN_MAX = 20;

const output = new Output({});
if (process.argv[2] === DAEMON_ARGUMENT) await runCrashingDaemon();
else process.exitCode = await torture();

async function torture(): Promise<ExitCode> {
  const command = new Command('torture')
    .description('Torture the pipeline and compare what is left with the truth.')
    .option('--only <parts>', `parts to run, with commas between them: ${Object.keys(PARTS).join(',')}`)
    .option('--seed <number>', 'repeat a run', String(randomInt(SEED_MAX)))
    .option('--quick', 'smaller sizes: a few minutes instead of many')
    .addHelpText('after', `\nParts:\n${describeParts()}\n\nExample:\n  $ scripts/torture --only b,f --seed 7 --quick`);
  const options = command.parse().opts<{ only?: string; seed: string; quick?: boolean }>();
  const names = options.only?.split(',') ?? Object.keys(PARTS);
  const unknown = names.filter((name) => !(name in PARTS));
  const seed = Number(options.seed);
  if (unknown.length > 0 || !Number.isSafeInteger(seed)) {
    output.note(`torture: not a part or not a seed: ${[...unknown, options.seed].join(', ')}\n\n${describeParts()}`);
    return EXIT.usage;
  }
  const isQuick = options.quick === true;
  const repeat = `scripts/torture --only ${names.join(',')} --seed ${seed}${isQuick ? ' --quick' : ''}`;
  output.note(`seed ${seed}; to repeat: ${repeat}`);
  let failed = 0;
  for (const name of names) {
    const part = PARTS[name];
    if (part !== undefined) failed += (await runPart(name, part, { seed, isQuick })) ? 0 : 1;
  }
  output.note(failed === 0 ? 'Nothing was lost and nothing was counted twice.' : `${failed} parts failed: ${repeat}`);
  return failed === 0 ? EXIT.ok : EXIT.failure;
}

function describeParts(): string {
  return Object.entries(PARTS)
    .map(([name, { title }]) => `  ${name}  ${title}`)
    .join('\n');
}

/** Returns whether nothing differed. */
async function runPart(name: string, part: TorturePart, options: { seed: number; isQuick: boolean }): Promise<boolean> {
  output.note(`\n(${name}) ${part.title}`);
  const startedAt = performance.now();
  const faults = await part
    .run({ ...options, say: (line) => output.note(line) })
    .catch((error: unknown) => [error instanceof Error ? (error.stack ?? error.message) : String(error)]);
  for (const fault of faults.slice(0, FAULTS_SHOWN_MAX)) output.note(output.paint.bad(`  violation: ${fault}`));
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  output.note(`(${name}) ${faults.length === 0 ? 'no violation' : `${faults.length} violations`} in ${seconds} s`);
  return faults.length === 0;
}
