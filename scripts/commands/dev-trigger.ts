import type { Command } from 'commander';
import { SNAPSHOT_TYPES, THIN_TYPES } from '../../src/webhooks/webhook.ts';
import { usageError } from '../lib/command-error.ts';
import { requireRunningDev } from '../lib/dev/running-dev.ts';
import type { Delivery, TriggeredEvent } from '../lib/dev/trigger-event.ts';
import { EXIT, type ExitCode } from '../lib/exit-codes.ts';
import { SimulatorClient } from '../lib/simulator-client.ts';
import { createVerb, runVerb, type VerbContext } from '../lib/verb.ts';

interface TriggerOptions {
  readonly simulatorUrl?: string;
  readonly dryRun?: boolean;
}

const NO_DEV = 'Start it here, or name the address that it printed for Stripe with --simulator-url.';
const KNOWN: readonly string[] = [...SNAPSHOT_TYPES, ...THIN_TYPES];

/** `tallystick dev trigger`: an event of Stripe, for who wants to see one come in. */
export function triggerCommand(): Command {
  return createVerb({
    name: 'trigger <event>',
    summary:
      'Have the double of Stripe tell the daemon of an event, against a running `tallystick dev`: of the newest invoice ' +
      'or subscription as it is, which are made first if there are none, or of usage that was rejected.',
    examples: ['tallystick dev trigger invoice.paid', `tallystick dev trigger ${THIN_TYPES[0] ?? ''} --json`],
  })
    .option('--simulator-url <url>', "the double's address (default: the one of the `tallystick dev` of this folder)")
    .option('--dry-run', 'say what would be triggered and trigger nothing')
    .addHelpText('after', `\nEvents:\n${KNOWN.map((type) => `  ${type}`).join('\n')}`)
    .action(async (type: string, _options: object, command: Command) => {
      const options = command.optsWithGlobals<TriggerOptions>();
      await runVerb(command, (context) => runTrigger(type, options, context));
    });
}

async function runTrigger(type: string, options: TriggerOptions, context: VerbContext): Promise<ExitCode> {
  const { output, signal } = context;
  if (!KNOWN.includes(type))
    throw usageError(`there is no event ${type} to trigger`, `Give one of: ${KNOWN.join(', ')}.`);
  const url = options.simulatorUrl ?? (await requireRunningDev(NO_DEV)).simulatorUrl;
  if (options.dryRun === true) {
    output.result({ dryRun: true, type, simulatorUrl: url }, () => `would trigger ${type} at ${url}`);
    return EXIT.ok;
  }
  const { triggerEvent } = await import('../lib/dev/trigger-event.ts');
  const event = await triggerEvent(new SimulatorClient(url, signal), type, (line) => output.note(line));
  output.result(event, () => render(event));
  return event.deliveries.some(({ outcome }) => outcome === 'delivered') ? EXIT.ok : EXIT.failure;
}

function render({ id, type, object, status, deliveries }: TriggeredEvent): string {
  const about = [object, status].filter((part) => part !== undefined).join(', ');
  const told = deliveries.length === 0 ? ['not delivered yet'] : deliveries.map(describe);
  return `${type} ${id}${about === '' ? '' : ` (${about})`}: ${told.join('; ')}`;
}

function describe({ url, status, error, outcome }: Delivery): string {
  const answer = status === undefined ? `no answer (${error ?? 'unknown'})` : `answered ${status}`;
  return `${url} ${answer}${outcome === 'retried' ? ', tried again later' : ''}`;
}
