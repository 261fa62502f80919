import type { Command } from 'commander';
import { CommandError } from '../lib/command-error.ts';
import { EXIT } from '../lib/exit-codes.ts';
import { createVerb, runVerb } from '../lib/verb.ts';

export function startCommand(): Command {
  return createVerb({
    name: 'start',
    summary: 'Run the daemon with the settings of the environment, until SIGTERM or Ctrl-C.',
    examples: ['tallystick start', 'ROLES=worker,ticker tallystick start'],
  })
    .option('--dry-run', 'check the configuration and start nothing')
    .action(async (options: { dryRun?: boolean }, command: Command) => {
      await runVerb(command, ({ output }) => start(options.dryRun === true, (text) => output.note(text)), true);
    });
}

async function start(isDryRun: boolean, note: (text: string) => void): Promise<void> {
  const { loadConfig } = await import('../../src/config.ts');
  loadConfig();
  if (isDryRun) {
    note('the configuration is complete; `tallystick doctor` checks what it names');
    return;
  }
  const { main } = await import('../../src/main.ts');
  try {
    await main();
  } catch (error) {
    throw isAddressInUse(error) ? addressInUse(error) : error;
  }
}

function isAddressInUse(error: unknown): error is Error {
  return error instanceof Error && (error as NodeJS.ErrnoException).code === 'EADDRINUSE';
}

function addressInUse(error: Error): CommandError {
  return new CommandError({
    what: 'the daemon cannot listen',
    why: error.message,
    todo: 'Another process has the port, perhaps another tallystick: stop it, or set PORT.',
    exitCode: EXIT.configuration,
    cause: error,
  });
}
