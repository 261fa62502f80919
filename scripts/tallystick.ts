#!/usr/bin/env node
/** The `tallystick` command: one file a verb in scripts/commands. */
import { Command, CommanderError } from 'commander';
import { packageVersion } from '../src/platform/version.ts';
import { adjustCommand } from './commands/adjust.ts';
import { aggregateCommand } from './commands/aggregate.ts';
import { configCommand } from './commands/config.ts';
import { customersCommand } from './commands/customers.ts';
import { devCommand } from './commands/dev.ts';
import { doctorCommand } from './commands/doctor.ts';
import { explainCommand } from './commands/explain.ts';
import { importCommand } from './commands/import.ts';
import { inboxCommand } from './commands/inbox.ts';
import { keysCommand } from './commands/keys.ts';
import { lateCommand } from './commands/late.ts';
import { metersCommand } from './commands/meters.ts';
import { reconcileCommand } from './commands/reconcile.ts';
import { rejectedCommand } from './commands/rejected.ts';
import { sendCommand } from './commands/send.ts';
import { startCommand } from './commands/start.ts';
import { statusCommand } from './commands/status.ts';
import { submissionsCommand } from './commands/submissions.ts';
import { submitCommand } from './commands/submit.ts';
import { unbilledCommand } from './commands/unbilled.ts';
import { verifyCommand } from './commands/verify.ts';
import { EXIT } from './lib/exit-codes.ts';
import { nameWhatThereIs } from './lib/refusal-text.ts';

const program = new Command('tallystick')
  // What follows the name of a verb is the verb's: `submit decide` and `submit` both have a --reason.
  .enablePositionalOptions()
  .version(packageVersion(), '--version', 'print the version')
  .description('Usage-based billing on Stripe: exact metering, an outbox of meter events, reconciliation.')
  .addHelpText(
    'after',
    '\nExit codes: 0 ok, 1 failure, 2 usage, 3 configuration, 4 dependency down, 5 drift found, 130 interrupted.' +
      '\n\nExample:\n  $ tallystick dev',
  );
const verbs = [devCommand, startCommand, doctorCommand, sendCommand, importCommand, aggregateCommand, submitCommand];
const more = [
  reconcileCommand,
  statusCommand,
  metersCommand,
  customersCommand,
  keysCommand,
  rejectedCommand,
  lateCommand,
  submissionsCommand,
  inboxCommand,
  unbilledCommand,
];
const facts = [adjustCommand, explainCommand, verifyCommand];
for (const createCommand of [...verbs, ...more, ...facts, configCommand]) program.addCommand(createCommand());
throwOnMistakes(program);
// `tallystick status | head` closes the pipe early: that is the reader's right.
process.stdout.on('error', (error: NodeJS.ErrnoException) =>
  process.exit(error.code === 'EPIPE' ? EXIT.ok : EXIT.failure),
);

try {
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof CommanderError)) throw error;
  // Help that was asked for is no mistake; commander has said what is wrong with the rest.
  process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
}

/** Lets commander throw instead of ending the process, so that a mistake in usage has its own exit code. */
function throwOnMistakes(command: Command): void {
  command.exitOverride().showHelpAfterError('(--help shows more)').showSuggestionAfterError(false);
  command.configureOutput({ outputError: (text, write) => write(nameWhatThereIs(text, command)) });
  for (const child of command.commands) throwOnMistakes(child);
}
