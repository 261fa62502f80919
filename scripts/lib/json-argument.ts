import { readFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { parseJson, repeatedNames } from '../../src/domain/exact-json.ts';
import { usageError } from './command-error.ts';

/**
 * A JSON object given on the command line: as text, as `@file`, or as `-` for standard input.
 * @throws CommandError when it is not one.
 */
export async function readJsonArgument(argument: string): Promise<Record<string, unknown>> {
  const source = await readSource(argument);
  const json = parseJson(source);
  if (!('fault' in json) && !json.isExact) {
    const name = repeatedNames(source, 0).parts[0]?.name ?? '';
    throw usageError(`"${name}" stands twice in the argument`, 'Only one of its values could count: give it once.');
  }
  const value = 'fault' in json ? undefined : json.value;
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw usageError(
    'the argument is not a JSON object',
    'Give one like \'{"name":"Acme"}\', @file.json, or - to read it.',
  );
}

async function readSource(argument: string): Promise<string> {
  if (argument === '-') return text(process.stdin);
  if (!argument.startsWith('@')) return argument;
  try {
    return await readFile(argument.slice(1), 'utf8');
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw usageError(`${argument.slice(1)} cannot be read: ${reason}`, 'Name a file with a JSON object.');
  }
}
