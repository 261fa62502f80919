import type { Command } from 'commander';
import { meantHint } from '../../src/platform/nearest-name.ts';

/** What commander says of a name that it does not know, and of a value that is none of the choices. */
const UNKNOWN_COMMAND = /^error: unknown command '([^']*)'/;
const UNKNOWN_OPTION = /^error: unknown option '([^']*)'/;
const NO_CHOICE = /(?:value|argument) '([^']*)' is invalid(?: for argument '[^']*')?\. Allowed choices are (.*)\.$/;

/** A refusal of the command line with the nearest name and all there are, once. Other refusals stay as they are. */
export function nameWhatThereIs(refusal: string, command: Command): string {
  const text = refusal.trimEnd();
  const [, unknownCommand] = UNKNOWN_COMMAND.exec(text) ?? [];
  if (unknownCommand !== undefined) return listed(text, unknownCommand, namesOf(command.commands));
  const [, unknownOption] = UNKNOWN_OPTION.exec(text) ?? [];
  if (unknownOption !== undefined) return listed(text, unknownOption, optionsOf(command));
  const [, value, choices] = NO_CHOICE.exec(text) ?? [];
  if (value === undefined || choices === undefined) return refusal;
  return `${text}${meantHint(value, choices.split(', '))}\n`;
}

function listed(text: string, given: string, known: readonly string[]): string {
  return `${text}.${meantHint(given, known)} There are ${known.join(', ')}.\n`;
}

function namesOf(commands: readonly Command[]): string[] {
  return commands.map((command) => command.name());
}

/** An option of a group of verbs may stand before the verb. */
function optionsOf(command: Command): string[] {
  const names = command.options.flatMap(({ long }) => (long === null || long === undefined ? [] : [long]));
  return [...names, '--help'];
}
