import { Argument, type Command } from 'commander';
import { EXIT, type ExitCode } from '../lib/exit-codes.ts';
import { createVerb, runVerb } from '../lib/verb.ts';

const CHECK_NAMES = [
  'configuration',
  'mongodb',
  'indexes',
  'redis',
  'stripe',
  'webhooks',
  'daemon',
  'review',
  'submissions',
  'usage',
  'unbilled',
  'invoices',
  'reconciliation',
  'jobs',
  'health',
  'restore',
  'live',
];
/** The exit code of several problems is that of the first kind met here. */
const URGENCY: readonly ExitCode[] = [EXIT.configuration, EXIT.dependencyDown, EXIT.failure];

export function doctorCommand(): Command {
  return createVerb({
    name: 'doctor',
    summary:
      'Look for what is wrong with this installation. Silent when all is well, otherwise one line a problem. ' +
      '`health` is what a container should ask: MongoDB, Redis and the daemon, without calls to Stripe. `review` lists what waits for a human, of all ' +
      'areas; `restore` ' +
      'compares a ledger that was restored from a backup with Stripe, and says whether submitting can go on; `live` goes ' +
      'through what has to be so before real usage is billed.',
    examples: [
      'tallystick doctor',
      'tallystick doctor stripe',
      'tallystick doctor health',
      'tallystick doctor restore',
      'tallystick doctor live',
    ],
  })
    .addArgument(new Argument('[check]', 'one check').choices(CHECK_NAMES))
    .action(async (check: string | undefined, _options: object, command: Command) => {
      await runVerb(command, async (context) => {
        if (check === 'live') return (await import('./doctor/live.ts')).checkLive(context);
        if (check === 'restore') return (await import('./doctor/restore.ts')).checkRestore(context);
        const { output } = context;
        const { runChecks } = await import('./doctor/checks.ts');
        const problems = await runChecks(check);
        output.result({ problems }, () =>
          problems.map(({ check: name, what, todo }) => `${name}: ${what} -> ${todo}`.replaceAll('\n', ' ')).join('\n'),
        );
        return URGENCY.find((code) => problems.some(({ exitCode }) => exitCode === code)) ?? EXIT.ok;
      });
    });
}
