import { join } from 'node:path';
import type { Command } from 'commander';
import { EXIT } from '../lib/exit-codes.ts';
import { newAdminKey } from '../lib/admin-key.ts';
import { startLocalStack } from '../lib/local-stack.ts';
import { untilInterrupted } from '../lib/until-interrupted.ts';
import { createVerb, runVerb, type VerbContext } from '../lib/verb.ts';

interface DevOptions {
  readonly port: string;
  readonly simulatorPort: string;
  readonly dryRun?: boolean;
}

const DATA_DIR = join('.tallystick', 'dev');

const DEV_SETTINGS = { MONGODB_DATABASE: 'tallystick_dev', LOG_LEVEL: 'warn' };

export function devCommand(): Command {
  return createVerb({
    name: 'dev',
    summary:
      'Run everything on this machine: MongoDB, Redis, a double of Stripe, and the daemon. Usage is kept in ' +
      `${DATA_DIR}; the double forgets everything when it stops.`,
    examples: ['tallystick dev', 'tallystick dev --port 0'],
  })
    .option('--port <number>', "the daemon's port; 0 takes a free one", '8080')
    .option('--simulator-port <number>', "the port of Stripe's double; 0 takes a free one", '0')
    .option('--dry-run', 'say what would be started and start nothing')
    .action(async (options: DevOptions, command: Command) => {
      await runVerb(command, (context) => runDev(options, context), true);
    });
}

async function runDev(options: DevOptions, { output }: VerbContext): Promise<void> {
  if (options.dryRun === true) {
    output.result(
      { dryRun: true, port: options.port, dataDir: DATA_DIR },
      () => `would start everything on port ${options.port}`,
    );
    return;
  }
  const apiKey = newAdminKey();
  const stopped = untilInterrupted();
  const stack = await startLocalStack({
    dataDir: DATA_DIR,
    adminApiKey: apiKey,
    settings: { ...DEV_SETTINGS, ...withoutFiles(process.env), HOST: '127.0.0.1', PORT: options.port },
    simulator: { port: Number(options.simulatorPort), callsPerSecond: 25 },
    say: (line) => output.note(output.paint.faint(line)),
  });
  try {
    const { url } = stack.daemon;
    const simulatorUrl = stack.simulator.url;
    const { mongodbUri, redisUrl } = stack;
    output.result({ url, apiKey, simulatorUrl, mongodbUri, redisUrl }, () =>
      invitation({ url, apiKey, simulatorUrl, mongodbUri }),
    );
    await stopped;
    output.note('stopping');
  } finally {
    await stack.stop();
  }
  process.exitCode = EXIT.ok;
}

/** Secrets in files are meant for the real services. */
function withoutFiles(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.endsWith('_FILE')));
}

function invitation(at: { url: string; apiKey: string; simulatorUrl: string; mongodbUri: string }): string {
  const event = JSON.stringify({
    idempotencyKey: 'hello-1',
    customerId: 'acme',
    eventType: 'api_call',
    occurredAt: new Date().toISOString(),
    quantity: '3',
  });
  return `
daemon     ${at.url}   (interface: ${at.url}/docs)
Stripe     ${at.simulatorUrl}   (a double: it keeps everything in memory)
MongoDB    ${at.mongodbUri}
API key    ${at.apiKey}

Send an event:

  curl -sS ${at.url}/v1/events -H 'Authorization: Bearer ${at.apiKey}' \\
    -H 'Content-Type: application/json' -d '${event}'

For other commands in another terminal:

  export TALLYSTICK_URL=${at.url} TALLYSTICK_API_KEY=${at.apiKey}

Ctrl-C stops everything.
`;
}
