import { Command } from 'commander';
import type { ConfigVariable } from '../../src/config.ts';
import { renderTable } from '../lib/table.ts';
import { createVerb, runVerb } from '../lib/verb.ts';

interface Setting {
  readonly name: string;
  /** Absent for a variable without a value. */
  readonly value: string | undefined;
  readonly source: 'environment' | 'file' | 'default' | 'unset';
}

const HIDDEN = '(secret, set)';

export function configCommand(): Command {
  return new Command('config')
    .description('The settings of this environment.')
    .addHelpText('after', '\nExample:\n  $ tallystick config print')
    .addCommand(printCommand());
}

function printCommand(): Command {
  return createVerb({
    name: 'print',
    summary:
      'Print every setting and where it comes from. Secrets are not shown. Each one that is wrong is named, with exit code 3.',
    examples: ['tallystick config print', 'tallystick config print --json'],
  }).action(async (_options: object, command: Command) => {
    await runVerb(command, async ({ output }) => {
      // Loaded here: the schema language takes a while, and no other verb needs it at once.
      const { configVariables, loadConfig } = await import('../../src/config.ts');
      const settings = readSettings(configVariables, process.env);
      output.result(settings, () =>
        renderTable(
          ['variable', 'value', 'from'].map((heading) => ({ heading })),
          settings.map(({ name, value, source }) => [name, value, source]),
        ),
      );
      const config = loadConfig();
      // Names of options in an address are known to the driver alone; it connects to nothing here.
      const { openDatabase } = await import('../../src/platform/mongo/database.ts');
      await openDatabase({ uri: config.mongodbUri, name: config.mongodbDatabase }).close();
    });
  });
}

function readSettings(variables: readonly ConfigVariable[], env: NodeJS.ProcessEnv): Setting[] {
  return variables.map(({ name, default: preset, secret }) => {
    const given = env[name] || undefined;
    const file = secret === true ? env[`${name}_FILE`] || undefined : undefined;
    if (given !== undefined) return { name, value: secret === true ? HIDDEN : given, source: 'environment' };
    if (file !== undefined) return { name, value: HIDDEN, source: 'file' };
    return { name, value: preset, source: preset === undefined ? 'unset' : 'default' };
  });
}
