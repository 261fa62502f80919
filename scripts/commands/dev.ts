import type { Command } from 'commander';
import { ForwardClock } from '../../src/platform/clock.ts';
import { packageVersion } from '../../src/platform/version.ts';
import { CommandError } from '../lib/command-error.ts';
import { type DevControl, startDevControl } from '../lib/dev/control.ts';
import { dropExportedDev, toDevEnvironment } from '../lib/dev/dev-environment.ts';
import { readDevKeys } from '../lib/dev/dev-keys.ts';
import { renderInvitation } from '../lib/dev/invitation.ts';
import { DEV_FOLDER, forgetDev, recordDev, refuseSecondDev, type RunningDev } from '../lib/dev/running-dev.ts';
import { EXIT } from '../lib/exit-codes.ts';
import { type LocalStack, type SigningSecrets, SIMULATOR_KEY, startLocalStack } from '../lib/local-stack.ts';
import { untilInterrupted } from '../lib/until-interrupted.ts';
import { createVerb, runVerb, type VerbContext } from '../lib/verb.ts';
import type { Output } from '../lib/output.ts';
import { advanceCommand } from './dev-advance.ts';
import { subscribeCommand } from './dev-subscribe.ts';
import { triggerCommand } from './dev-trigger.ts';

interface DevOptions {
  readonly port?: string;
  readonly simulatorPort: string;
  readonly keep?: boolean;
  readonly dryRun?: boolean;
}

const DATABASE = 'tallystick_dev';
const DEFAULT_PORT = '8080';
const PORT_MAX = 65_535;

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
    examples: [
      'tallystick dev',
      'PORT=9090 tallystick dev',
      'tallystick dev subscribe acme --meter api_calls --unit-amount 2',
      'tallystick dev advance 1mo',
      'tallystick dev trigger invoice.paid',
    ],
  })
    .option('--port <number>', `the daemon's port; 0 takes a free one (PORT; default ${DEFAULT_PORT})`)
    .option('--simulator-port <number>', "the port of Stripe's double; 0 takes a free one", '0')
    .option(
      '--keep',
      'begin with the usage of the last time: reconciliation will miss at the double what was sent then',
    )
    .option('--dry-run', 'say what would be started and start nothing')
    .addCommand(subscribeCommand())
    .addCommand(advanceCommand())
    .addCommand(triggerCommand())
    .action(async (options: DevOptions, command: Command) => {
      await runVerb(command, (context) => runDev(options, context), true);
    });
}

async function runDev(options: DevOptions, { output }: VerbContext): Promise<void> {
  dropExportedDev(process.env);
  await refuseSecondDev();
  const keep = options.keep === true;
  const ports = {
    daemon: readPort(
      options.port ?? (process.env['PORT'] || DEFAULT_PORT),
      options.port === undefined ? 'PORT' : '--port',
    ),
    simulator: readPort(options.simulatorPort, '--simulator-port'),
  };
  if (options.dryRun === true) {
    output.result(
      { dryRun: true, port: ports.daemon, dataDir: DEV_FOLDER, keep },
      () => `would start everything on port ${ports.daemon}, ${keep ? 'with the data in' : 'and empty'} ${DEV_FOLDER}`,
    );
    return;
  }
  const stopped = untilInterrupted();
  if (!keep) {
    const { removeDataFolder } = await import('../../packages/dev-services/src/services.ts');
    await removeDataFolder(DEV_FOLDER);
  }
  await recordDev({ pid: process.pid });
  try {
    await runStack({ ports, database: databaseOf(options, process.env) }, output, stopped);
  } finally {
    await forgetDev();
  }
  process.exitCode = EXIT.ok;
}

function readPort(text: string, name: string): number {
  const port = Number(text);
  if (/^[0-9]{1,5}$/.test(text) && port <= PORT_MAX) return port;
  throw new CommandError({
    what: `${name} is ${text}, which is no port`,
    todo: `Give a number from 0 to ${PORT_MAX}; 0 takes a free one.`,
    exitCode: name.startsWith('--') ? EXIT.usage : EXIT.configuration,
  });
}

interface Place {
  readonly ports: { readonly daemon: number; readonly simulator: number };
  readonly database: { readonly name: string; readonly isOurs: boolean };
}

async function runStack({ ports, database }: Place, output: Output, stopped: Promise<unknown>): Promise<void> {
  const { apiKey, signingSecrets } = await readDevKeys();
  const clock = new ForwardClock();
  const stack = await startLocalStack({
    dataDir: DEV_FOLDER,
    adminApiKey: apiKey,
    settings: {
      ...DEV_SETTINGS,
      ...withoutFiles(process.env),
      MONGODB_DATABASE: database.name,
      ROLES: 'http,worker,ticker',
      HOST: '127.0.0.1',
      PORT: String(ports.daemon),
    },
    simulator: { port: ports.simulator, callsPerSecond: 25 },
    signingSecrets,
    clock,
    say: (line) => output.note(output.paint.faint(line)),
  });
  const running = { stack, clock, apiKey, signingSecrets, database: database.name };
  try {
    await serve(running, output, stopped);
  } finally {
    await stack.stop();
    if (database.isOurs) await dropDatabase(stack.mongodbUri, database.name);
  }
}

interface Running {
  readonly stack: LocalStack;
  readonly clock: ForwardClock;
  readonly apiKey: string;
  readonly signingSecrets: SigningSecrets;
  readonly database: string;
}

/** Tells where everything is, and of what happens, until it is interrupted. */
async function serve(running: Running, output: Output, stopped: Promise<unknown>): Promise<void> {
  const { stack, clock, apiKey } = running;
  const at = {
    url: stack.daemon.url,
    apiKey,
    simulatorUrl: stack.simulator.url,
    mongodbUri: stack.mongodbUri,
    redisUrl: stack.redisUrl,
  };
  const environment = toDevEnvironment({ ...at, ...running, stripeKey: SIMULATOR_KEY });
  const record = (control: DevControl): Promise<void> => recordDev(toRecord({ at, control, clock, environment }));
  const control: DevControl = await startDevControl({ ...at, clock, onMoved: () => record(control) });
  const { watchLedger } = await import('../lib/dev/watch-ledger.ts');
  const { openDatabase } = await import('../../src/platform/mongo/database.ts');
  const database = openDatabase({ uri: stack.mongodbUri, name: running.database });
  const unwatch = watchLedger(database, (line) => output.note(output.paint.faint(timed(clock, line))));
  try {
    await record(control);
    const version = packageVersion();
    output.result({ ...at, version, environment }, () => renderInvitation({ ...at, version, environment }));
    await stopped;
    output.note('stopping');
  } finally {
    await unwatch();
    await database.close();
    await control.stop();
  }
}

function toRecord(parts: {
  at: { url: string; simulatorUrl: string };
  control: DevControl;
  clock: ForwardClock;
  environment: Readonly<Record<string, string>>;
}): RunningDev {
  const { at, control, clock, environment } = parts;
  const { url, simulatorUrl } = at;
  return { pid: process.pid, url, simulatorUrl, controlUrl: control.url, aheadMs: clock.aheadMs, environment };
}

function timed(clock: ForwardClock, line: string): string {
  return `${new Date(clock.now()).toISOString().slice(0, 19)}Z  ${line}`;
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
  const { openDatabase } = await import('../../src/platform/mongo/database.ts');
  const database = openDatabase({ uri, name });
  try {
    await database.db.dropDatabase();
  } finally {
    await database.close();
  }
}

/** Secrets in files are meant for the real services. */
function withoutFiles(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.endsWith('_FILE')));
}
