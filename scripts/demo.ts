#!/usr/bin/env node
/**
 * A month of real flights through the whole pipeline, with Stripe's double at the other end: ingested over HTTP,
 * aggregated, submitted, reconciled, and compared with the known truth. Both the simulator and the stores start empty:
 * the simulator forgets everything when it stops, and a ledger that remembers more would drift from it.
 */
import { join } from 'node:path';
import { Command } from 'commander';
import { removeDataFolder } from '../packages/dev-services/src/services.ts';
import { compareHours, compareTotals, renderFigures } from './lib/demo/compare.ts';
import { DEMO_SETTINGS, SIMULATOR_SETTINGS } from './lib/demo/settings.ts';
import { type Flights, openFlights } from './lib/demo/flights.ts';
import { setUpCustomers, setUpMeters } from './lib/demo/set-up-account.ts';
import { Steps } from './lib/demo/steps.ts';
import { aggregateAll, submitAll } from './lib/demo/submit-all.ts';
import { newAdminKey } from './lib/admin-key.ts';
import { ApiClient } from './lib/api-client.ts';
import { EXIT, type ExitCode } from './lib/exit-codes.ts';
import { importEvents } from './lib/import-events.ts';
import type { ImportSummary } from './lib/import-summary.ts';
import { runJob } from './lib/job-run.ts';
import { type LocalStack, startLocalStack } from './lib/local-stack.ts';
import { Output } from './lib/output.ts';
import { untilInterrupted } from './lib/until-interrupted.ts';

const DATA_DIR = join('.tallystick', 'demo');
const EXAMPLES = 'examples';
/** Meter events that the month comes to; only the progress bar depends on it. */
const SUBMISSIONS = 16_354;

const command = new Command('demo')
  .description('Run a month of real flights through the pipeline and compare every figure with the known truth.')
  .option('--once', 'stop at the end: exit code 0 if every figure matched, 5 if not')
  .option('--port <number>', "the daemon's port", '8080')
  .addHelpText('after', '\nExample:\n  $ scripts/demo --once');
const options = command.parse().opts<{ once?: boolean; port: string }>();
const output = new Output({});

try {
  process.exitCode = await main();
} catch (error) {
  process.exitCode = output.failure(error, 'demo');
}

async function main(): Promise<ExitCode> {
  const steps = new Steps(output);
  const adminApiKey = newAdminKey();
  await removeDataFolder(DATA_DIR);
  const flights = await openFlights(EXAMPLES, Date.now());
  const stack = await steps.run('MongoDB, Redis, the Stripe simulator and the daemon started', () =>
    startLocalStack({
      dataDir: DATA_DIR,
      adminApiKey,
      // A name of its own each time, for a MongoDB that the environment names and this may not empty.
      settings: {
        ...DEMO_SETTINGS,
        MONGODB_DATABASE: `tallystick_demo_${Date.now().toString(36)}`,
        PORT: options.port,
      },
      simulator: SIMULATOR_SETTINGS,
      say: (line) => output.note(`    ${output.paint.faint(line)}`),
    }),
  );
  try {
    const api = new ApiClient({ url: stack.daemon.url, apiKey: adminApiKey });
    const isEqual = await runMonth({ api, stack, flights, steps });
    if (options.once === true) return isEqual ? EXIT.ok : EXIT.driftFound;
    invite(stack, adminApiKey, flights);
    await untilInterrupted();
    return EXIT.ok;
  } finally {
    await stack.stop();
  }
}

interface Month {
  readonly api: ApiClient;
  readonly stack: LocalStack;
  readonly flights: Flights;
  readonly steps: Steps;
}

/** Returns whether every figure is what it has to be. */
async function runMonth({ api, stack, flights, steps }: Month): Promise<boolean> {
  await steps.run(
    'meters registered',
    () => setUpMeters(api),
    (count) => `${count}, created at Stripe too`,
  );
  await steps.run(
    'customers mapped',
    () => setUpCustomers(api, stack.simulator.url, flights),
    (count) => `${count} airlines`,
  );
  const imported = await steps.run(
    'flights imported',
    () => importFlights(api, flights),
    (summary) => summary.toText(),
  );
  await steps.run(
    'usage aggregated',
    () => aggregateAll(api),
    (hours) => `${hours} customer-hours`,
  );
  const progress = output.progress('    submitting', SUBMISSIONS);
  await steps.run(
    'meter events submitted',
    () => submitAll(api, SUBMISSIONS, progress),
    (count) => `${count}, all taken`,
  );
  const run = await steps.run(
    'reconciled with Stripe',
    () => runJob(api, { job: 'reconcile-usage' }),
    ({ result }) => JSON.stringify(result?.['verdicts']),
  );
  const figures = await steps.run('figures compared', () => compareTotals(api, flights, String(run.result?.['id'])));
  const hours = await steps.run('hours compared', () => compareHours(api, flights));
  const differing = figures.filter(({ isEqual }) => !isEqual).length;
  output.result(figures, () => `\n${renderFigures(figures)}\n`);
  const importedWell = isImportedWell(imported, flights);
  output.note(`${figures.length - differing} of ${figures.length} figures are equal at all three places.`);
  output.note(`${hours.hours} customer-hours compared, ${hours.differing.length} figures of them differ.`);
  for (const key of hours.differing.slice(0, 10)) output.note(`  differs: ${key}`);
  if (!importedWell)
    output.note(`Expected ${flights.accepted} accepted and ${flights.rejected} rejected for /quantity.`);
  output.note(`Everything took ${steps.total()}.`);
  return differing === 0 && hours.differing.length === 0 && importedWell;
}

async function importFlights(api: ApiClient, flights: Flights): Promise<ImportSummary> {
  const progress = output.progress('    importing', flights.eventCount);
  const summary = await importEvents(api, flights.events(), {
    onProgress: ({ sent }) => progress.update(sent, `${sent} events`),
  });
  progress.clear();
  return summary;
}

/** Exactly the flights without a time in the air are refused, and for that. */
function isImportedWell(summary: ImportSummary, flights: Flights): boolean {
  const isNamed = summary.refusals().every(({ pointer }) => pointer === '/quantity');
  return isNamed && summary.accepted === flights.accepted && summary.rejected === flights.rejected;
}

function invite({ daemon, simulator }: LocalStack, apiKey: string, flights: Flights): void {
  const query = `from=${flights.firstDay}&to=${flights.endDay}&window=day`;
  output.note(`
The daemon listens on ${daemon.url} (interface: ${daemon.url}/docs), the Stripe simulator on ${simulator.url}.
API key: ${apiKey}

  curl -H 'Authorization: Bearer ${apiKey}' '${daemon.url}/v1/customers/UA/usage?${query}'
  curl ${simulator.url}/_sim/totals

The data is in ${DATA_DIR} until the next demo starts: each starts empty, as the simulator does. Ctrl-C stops everything.`);
}
