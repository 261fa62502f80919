import { createReadStream } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { PassThrough, type Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { CommandError, usageError } from './command-error.ts';
import { type CsvDelimiter, readCsv } from './csv.ts';
import { type CsvLayout, readCsvHeader, toEventText } from './csv-events.ts';
import type { FieldRule } from './field-map.ts';
import { type FileName, readTextLines, startsWith, type TextLine } from './file-text.ts';
import { jsonRules, mapJsonLine } from './json-events.ts';

/** One event of a file as JSON text, unchecked, and the line it begins on (from 1). */
export interface EventLine {
  readonly line: number;
  readonly text: string;
}

export interface EventFile {
  readonly bytes: number;
  /** How many bytes of the file were read so far, before inflating. */
  bytesRead(): number;
  /** Streams the file, from its beginning at each call. @throws CommandError where it cannot be read on. */
  lines(): AsyncGenerator<EventLine>;
}

export interface EventFileOptions {
  /** Default: by the file's name. */
  readonly format?: 'ndjson' | 'csv' | undefined;
  /** Between the cells of CSV. Default: what the first line holds most of. */
  readonly delimiter?: CsvDelimiter | undefined;
  /** How fields are filled, where the file does not name them as events do. */
  readonly map?: readonly FieldRule[];
  /** Told of columns that no rule reads. */
  readonly onIgnored?: (columns: readonly string[]) => void;
}

const GZIP_MAGIC = Buffer.from([0x1f, 0x8b]);
/** What people have instead of a file of text. */
const FOREIGN: readonly { readonly magic: Buffer; readonly name: string; readonly todo: string }[] = [
  {
    magic: Buffer.from('PK\u0003\u0004'),
    name: 'a ZIP archive or a spreadsheet',
    todo: 'Unpack it, or save the sheet as CSV (UTF-8).',
  },
  { magic: Buffer.from([0x28, 0xb5, 0x2f, 0xfd]), name: 'compressed with zstd', todo: 'Decompress it: unzstd.' },
  { magic: Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a]), name: 'compressed with xz', todo: 'Decompress it: unxz.' },
  { magic: Buffer.from('BZh'), name: 'compressed with bzip2', todo: 'Decompress it: bunzip2.' },
];
const MAGIC_BYTES_MAX = 5;

/**
 * Opens a file of usage events: NDJSON, or CSV when its name ends in `.csv` or `.tsv`, also before `.gz` (or `format` says so); gzip is
 * recognised by its first bytes, UTF-16 by its byte order mark.
 */
export async function openEventFile(path: string, options: EventFileOptions = {}): Promise<EventFile> {
  const { bytes, isGzip } = await inspect(path);
  const file = { path, isGzip };
  const isCsv = options.format === undefined ? /\.[ct]sv(?:\.gz)?$/i.test(path) : options.format === 'csv';
  let bytesRead = 0;
  const lines = async function* (): AsyncGenerator<EventLine> {
    bytesRead = 0;
    const raw = createReadStream(path);
    raw.on('data', (chunk) => {
      bytesRead += chunk.length;
    });
    const inflated: Readable = isGzip ? createGunzip() : new PassThrough();
    const flow = pipeline(raw, inflated as PassThrough);
    // The reader below sees the same failure; this promise must not go unhandled meanwhile.
    flow.catch(() => {});
    let line = 0;
    try {
      const text = readTextLines(inflated as AsyncIterable<Buffer>, file);
      for await (const event of isCsv ? csvEvents(text, options) : jsonEvents(text, options)) {
        ({ line } = event);
        yield event;
      }
      await flow;
    } catch (error) {
      throw error instanceof CommandError ? error : unreadable(file, error, line);
    }
  };
  return { bytes, bytesRead: () => bytesRead, lines };
}

async function inspect(path: string): Promise<{ bytes: number; isGzip: boolean }> {
  try {
    const found = await stat(path);
    if (found.isDirectory()) throw usageError(`${path} is a folder`, 'Name a file.');
    // A pipe can be read once; an import reads to know the file again, and to go on in it.
    if (!found.isFile()) throw usageError(`${path} is no file but a pipe or a device`, 'Write it to a file first.');
    const file = await open(path);
    try {
      const start = Buffer.alloc(MAGIC_BYTES_MAX);
      await file.read(start, 0, start.length, 0);
      const foreign = FOREIGN.find(({ magic }) => startsWith(start, magic));
      if (foreign !== undefined) throw usageError(`${path} is ${foreign.name}`, foreign.todo);
      return { bytes: found.size, isGzip: startsWith(start, GZIP_MAGIC) };
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof CommandError) throw error;
    throw unreadable({ path, isGzip: false }, error, 0);
  }
}

/** @param line the last line that could be read. */
function unreadable({ path, isGzip }: FileName, error: unknown, line: number): CommandError {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  const where = line === 0 ? '' : ` after line ${line}`;
  if (isGzip && code === 'Z_BUF_ERROR') {
    return new CommandError({
      what: `${path} is cut off${where}`,
      why: 'its gzip data does not come to its end',
      todo: 'Get the whole file and import that: events that are stored already are duplicates.',
      cause: error,
    });
  }
  if (isGzip && code === 'Z_DATA_ERROR') {
    return new CommandError({
      what: `${path} is damaged${where}`,
      why: `gzip: ${(error as Error).message}`,
      todo: 'Get the file again and import that: events that are stored already are duplicates.',
      cause: error,
    });
  }
  return new CommandError({
    what: `${path} cannot be read${where}`,
    why: error instanceof Error ? error.message : String(error),
    todo: 'Name a file of NDJSON or CSV, plain or gzip.',
    cause: error,
  });
}

async function* jsonEvents(lines: AsyncIterable<TextLine>, { map = [] }: EventFileOptions): AsyncGenerator<EventLine> {
  const rules = map.length === 0 ? undefined : jsonRules(map);
  let isFirst = true;
  for await (const { line, text } of lines) {
    if (isFirst && text.trim() !== '') {
      if (/^\s*(?:\[|\{\s*$)/.test(text)) throw oneDocument();
      isFirst = false;
    }
    if (text.trim() !== '') yield { line, text: rules === undefined ? text : mapJsonLine(text, rules) };
  }
}

function oneDocument(): CommandError {
  return usageError('the file is one JSON document, and not one event a line', 'Make lines of it: jq -c ".[]"');
}

async function* csvEvents(lines: AsyncIterable<TextLine>, options: EventFileOptions): AsyncGenerator<EventLine> {
  let layout: CsvLayout | undefined;
  for await (const record of readCsv(lines, options.delimiter)) {
    if (layout === undefined) {
      layout = readCsvHeader(record.cells, options.map);
      if (layout.ignored.length > 0) options.onIgnored?.(layout.ignored);
    } else yield { line: record.line, text: toEventText(layout, record) };
  }
}
