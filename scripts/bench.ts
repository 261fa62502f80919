/**
 * Measures what the daemon does, against what the bare driver does on the same machine in the same run, and prints one
 * table. Started with `--role` it is one of its own child processes: the daemon, the bare form, the load generator.
 */
import { parseArgs } from 'node:util';
import { runRole } from './lib/child.ts';
import { measureAggregation } from './lib/bench/measure-aggregation.ts';
import { measureEventLoop } from './lib/bench/measure-eventloop.ts';
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

interface Part {
  readonly measure: (stack: Stack, sizes: Sizes) => Promise<Figure[]>;
  /** Of mongod. It takes no less than 0.25; left to itself, half of the machine's memory beyond 1 GiB. */
  readonly cacheGigabytes: number;
}

/** So small that the data outgrows it, as on a machine that the application has filled. */
const TIGHT = 0.25;
/** What mongod takes by itself on a machine with 3 GiB. */
const USUAL = 1;

const PARTS: Readonly<Record<string, Part>> = {
  ingest: { measure: measureIngest, cacheGigabytes: TIGHT },
  single: { measure: measureSingle, cacheGigabytes: TIGHT },
  replay: { measure: measureReplay, cacheGigabytes: TIGHT },
  aggregation: { measure: measureAggregation, cacheGigabytes: USUAL },
  'aggregation-tight': { measure: measureAggregation, cacheGigabytes: TIGHT },
  steady: { measure: measureSteady, cacheGigabytes: TIGHT },
  growth: { measure: measureGrowth, cacheGigabytes: TIGHT },
  faults: { measure: measureFaults, cacheGigabytes: USUAL },
  scale: { measure: measureScale, cacheGigabytes: USUAL },
  eventloop: { measure: measureEventLoop, cacheGigabytes: USUAL },
};
const HELP = `Usage: scripts/bench [PART ...] [--quick]

Parts (default: all): ${Object.keys(PARTS).join(', ')}
mongod's cache is 256 MiB in all but aggregation, faults, scale and eventloop, where it is 1 GiB.
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
  const figures: (Figure & { part: string })[] = [];
  for (const [name, { measure, cacheGigabytes }] of names.map((name) => [name, PARTS[name] as Part] as const)) {
    say(`measuring: ${name}`);
    // Servers of its own, so that no part inherits another one's cache or files.
    const measured = await withStack(cacheGigabytes, (stack) => measure(stack, sizes));
    const named = measured.map((figure) => ({ ...figure, part: name }));
    say(renderFigures(named));
    figures.push(...named);
  }
  process.stdout.write(`${renderFigures(figures)}\n`);
  return 0;
}

process.exitCode = await main();
