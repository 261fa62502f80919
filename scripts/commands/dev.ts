import type { Command } from 'commander';
import { HOUR_MS } from '../../src/durations.ts';
import { EXIT } from '../lib/exit-codes.ts';
import { newAdminKey } from '../lib/admin-key.ts';
import { DEV_FOLDER, forgetDev, recordDev, refuseSecondDev } from '../lib/dev/running-dev.ts';
import { type LocalStack, SIMULATOR_KEY, startLocalStack } from '../lib/local-stack.ts';
import { untilInterrupted } from '../lib/until-interrupted.ts';
import { createVerb, runVerb, type VerbContext } from '../lib/verb.ts';
import { triggerCommand } from './dev-trigger.ts';

interface DevOptions {
  readonly port: string;
  readonly simulatorPort: string;
  readonly keep?: boolean;
  readonly dryRun?: boolean;
}

const DATABASE = 'tallystick_dev';

/** Nothing waits for lags that the double does not have. The environment may say otherwise. */
const DEV_SETTINGS = {
  LOG_LEVEL: 'warn',
  WINDOW_SETTLE_MS: '0',
  SUMMARY_LAG_MAX_MS: '0',
  SUMMARY_REREAD_MS: '500',
};

export function devCommand(): Command {
  return createVerb({
    name: 'dev',
    summary:
      'Run everything on this machine: MongoDB, Redis, a double of Stripe, and the daemon, which gets the ' +
      "double's webhooks. The double forgets everything when it stops, and a ledger that remembers more would drift " +
      `from it: so each start begins empty. What was used since is in ${DEV_FOLDER} until the next start.`,
    examples: ['tallystick dev', 'tallystick dev --port 0', 'tallystick dev trigger invoice.paid'],
  })
    .option('--port <number>', "the daemon's port; 0 takes a free one", '8080')
    .option('--simulator-port <number>', "the port of Stripe's double; 0 takes a free one", '0')
    .option(
      '--keep',
      'begin with the usage of the last time: reconciliation will miss at the double what was sent then',
    )
    .option('--dry-run', 'say what would be started and start nothing')
    .addCommand(triggerCommand())
    .action(async (options: DevOptions, command: Command) => {
      await runVerb(command, (context) => runDev(options, context), true);
    });
}

async function runDev(options: DevOptions, context: VerbContext): Promise<void> {
  const { output } = context;
  await refuseSecondDev();
  const keep = options.keep === true;
  if (options.dryRun === true) {
    output.result(
      { dryRun: true, port: options.port, dataDir: DEV_FOLDER, keep },
      () => `would start everything on port ${options.port}, ${keep ? 'with the data in' : 'and empty'} ${DEV_FOLDER}`,
    );
    return;
  }
  const stopped = untilInterrupted();
  if (!keep) {
    const { removeDataFolder } = await import('../../src/embedded/services.ts');
    await removeDataFolder(DEV_FOLDER);
  }
  await recordDev({ pid: process.pid });
  try {
    await runStack(options, context, stopped);
  } finally {
    await forgetDev();
  }
  process.exitCode = EXIT.ok;
}

async function runStack(options: DevOptions, { output }: VerbContext, stopped: Promise<unknown>): Promise<void> {
  const apiKey = newAdminKey();
  const database = databaseOf(options, process.env);
  const stack = await startLocalStack({
    dataDir: DEV_FOLDER,
    adminApiKey: apiKey,
    settings: {
      ...DEV_SETTINGS,
      ...withoutFiles(process.env),
      MONGODB_DATABASE: database.name,
      ROLES: 'http,worker,ticker',
      HOST: '127.0.0.1',
      PORT: options.port,
    },
    simulator: { port: Number(options.simulatorPort), callsPerSecond: 25 },
    say: (line) => output.note(output.paint.faint(line)),
  });
  try {
    const at = addressesOf(stack, apiKey);
    await recordDev({ pid: process.pid, url: at.url, simulatorUrl: at.simulatorUrl });
    output.result(at, () => invitation(at));
    await stopped;
    output.note('stopping');
  } finally {
    await stack.stop();
    if (database.isOurs) await dropDatabase(stack.mongodbUri, database.name);
  }
}

/**
 * A MongoDB of somebody else may hold anything: without `--keep` a database of our own is made there, and dropped at the
 * end. The one that the environment names is the production's.
 */
function databaseOf({ keep }: DevOptions, env: NodeJS.ProcessEnv): { name: string; isOurs: boolean } {
  const isForeign = (env['MONGODB_URI'] ?? '') !== '';
  if (keep === true || !isForeign) return { name: DATABASE, isOurs: false };
  return { name: `${DATABASE}_${Date.now().toString(36)}`, isOurs: true };
}

async function dropDatabase(uri: string, name: string): Promise<void> {
  const { openDatabase } = await import('../../src/storage/database.ts');
  const database = openDatabase({ uri, name });
  try {
    await database.db.dropDatabase();
  } finally {
    await database.close();
  }
}

interface Addresses {
  readonly url: string;
  readonly apiKey: string;
  readonly simulatorUrl: string;
  readonly mongodbUri: string;
  readonly redisUrl: string;
}

function addressesOf({ daemon, simulator, mongodbUri, redisUrl }: LocalStack, apiKey: string): Addresses {
  return { url: daemon.url, apiKey, simulatorUrl: simulator.url, mongodbUri, redisUrl };
}

/** Secrets in files are meant for the real services. */
function withoutFiles(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.endsWith('_FILE')));
}

function invitation({ url, apiKey, simulatorUrl, mongodbUri }: Addresses): string {
  const event = JSON.stringify({
    idempotencyKey: 'hello-1',
    customerId: 'acme',
    eventType: 'api_call',
    // Of an hour that has ended: it can be sent to Stripe at once.
    occurredAt: new Date(Date.now() - HOUR_MS).toISOString(),
    quantity: '3',
  });
  return `
daemon     ${url}   (interface: ${url}/docs)
Stripe     ${simulatorUrl}   (a double: it keeps everything in memory, and sends the daemon its webhooks)
MongoDB    ${mongodbUri}
API key    ${apiKey}

Send an event:

  curl -sS ${url}/v1/events -H 'Authorization: Bearer ${apiKey}' \\
    -H 'Content-Type: application/json' -d '${event}'

For other commands in another terminal:

  export TALLYSTICK_URL=${url} TALLYSTICK_API_KEY=${apiKey}

Make a customer at the double, and have it tell of something:

  curl -sS ${simulatorUrl}/v1/customers -u ${SIMULATOR_KEY}: -d name=Acme
  tallystick dev trigger invoice.paid

Ctrl-C stops everything.
`;
}
