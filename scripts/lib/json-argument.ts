import { isUtf8 } from 'node:buffer';
import { readFile } from 'node:fs/promises';
import { buffer } from 'node:stream/consumers';
import { parseJson, repeatedNames } from '../../src/platform/exact-json.ts';
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
  if (argument === '-') return toText(await buffer(process.stdin), 'standard input');
  if (!argument.startsWith('@')) return argument;
  const path = argument.slice(1);
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw usageError(`${path} cannot be read: ${reason}`, 'Name a file with a JSON object.');
  }
  return toText(bytes, path);
}

/** Decoding what is not UTF-8 would turn letters into U+FFFD, and make another id of an id. */
function toText(bytes: Buffer, name: string): string {
  if (isUtf8(bytes)) return bytes.toString('utf8').replace(/^\ufeff/, '');
  throw usageError(`${name} is not UTF-8`, 'Convert it, for example from Latin-1: iconv -f WINDOWS-1252 -t UTF-8.');
}
