import type { Command } from 'commander';
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
  await main();
}
