/**
 * Measures what the daemon does, against what the bare driver does on the same machine in the same run, and prints one
 * table. Started with `--role` it is one of its own child processes: the daemon, the bare form, the load generator.
 */
import { parseArgs } from 'node:util';
import { runRole } from './lib/bench/child.ts';
import { measureAggregation } from './lib/bench/measure-aggregation.ts';
import { measureGrowth } from './lib/bench/measure-growth.ts';
import { measureIngest } from './lib/bench/measure-ingest.ts';
import { measureReplay } from './lib/bench/measure-replay.ts';
import { measureSingle } from './lib/bench/measure-single.ts';
import { measureSteady } from './lib/bench/measure-steady.ts';
import { measureFaults, measureScale } from './lib/bench/measure-submission.ts';
import { type Figure, renderFigures } from './lib/bench/report.ts';
import { roles } from './lib/bench/roles.ts';
import { FULL_SIZES, QUICK_SIZES, type Sizes } from './lib/bench/sizes.ts';
import { withStack, type Stack } from './lib/bench/stack.ts';

const PARTS: Readonly<Record<string, (stack: Stack, sizes: Sizes) => Promise<Figure[]>>> = {
  ingest: measureIngest,
  single: measureSingle,
  replay: measureReplay,
  aggregation: measureAggregation,
  steady: measureSteady,
  growth: measureGrowth,
  faults: measureFaults,
  scale: measureScale,
};
const HELP = `Usage: scripts/bench [PART ...] [--quick]

Parts (default: all): ${Object.keys(PARTS).join(', ')}
--quick  small sizes: to see that it works, not to judge by
Exit codes: 0 measured (also when a target is missed), 1 failed, 2 usage.`;

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { quick: { type: 'boolean' }, help: { type: 'boolean' }, role: { type: 'string' } },
  });
  if (values.role !== undefined) {
    await runRole(roles, values.role);
    return 0;
  }
  const names = positionals.length > 0 ? positionals : Object.keys(PARTS);
  const unknown = names.filter((name) => !(name in PARTS));
  if (values.help === true || unknown.length > 0) {
    process.stdout.write(`${HELP}\n`);
    return unknown.length > 0 ? 2 : 0;
  }
  const sizes = values.quick === true ? QUICK_SIZES : FULL_SIZES;
  const figures: Figure[] = [];
  for (const name of names) {
    say(`measuring: ${name}`);
    // Servers of its own, so that no part inherits another one's cache or files.
    const measured = await withStack((stack) => PARTS[name]?.(stack, sizes) ?? Promise.resolve([]));
    say(renderFigures(measured));
    figures.push(...measured);
  }
  process.stdout.write(`${renderFigures(figures)}\n`);
  return 0;
}

process.exitCode = await main();
