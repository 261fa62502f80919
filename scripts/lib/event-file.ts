import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { pipeline } from 'node:stream/promises';
import { PassThrough, type Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { CommandError, usageError } from './command-error.ts';
import { readCsv } from './csv.ts';
import { readCsvHeader, toEventText } from './csv-events.ts';

/** One event of a file as JSON text, unchecked, and the line it begins on (from 1). */
export interface EventLine {
  readonly line: number;
  readonly text: string;
}

export interface EventFile {
  readonly bytes: number;
  /** How many bytes of the file were read so far, before inflating. */
  bytesRead(): number;
  /** Streams the file once. */
  lines(): AsyncGenerator<EventLine>;
}

const GZIP_MAGIC = [0x1f, 0x8b];

/**
 * Opens a file of usage events: NDJSON, or CSV when its name ends in `.csv` or `.csv.gz` (or `format` says so); gzip is
 * recognised by its first bytes.
 */
export async function openEventFile(path: string, format?: 'ndjson' | 'csv'): Promise<EventFile> {
  const { bytes, isGzip } = await inspect(path);
  const isCsv = format === undefined ? /\.csv(?:\.gz)?$/i.test(path) : format === 'csv';
  let bytesRead = 0;
  const lines = async function* (): AsyncGenerator<EventLine> {
    const raw = createReadStream(path);
    raw.on('data', (chunk) => {
      bytesRead += chunk.length;
    });
    const inflated: Readable = isGzip ? createGunzip() : new PassThrough();
    const flow = pipeline(raw, inflated as PassThrough);
    // The reader below sees the same failure; this promise must not go unhandled meanwhile.
    flow.catch(() => {});
    yield* isCsv ? readCsvEvents(inflated) : readJsonLines(inflated);
    await flow.catch((error: unknown) => {
      throw unreadable(path, error);
    });
  };
  return { bytes, bytesRead: () => bytesRead, lines };
}

async function inspect(path: string): Promise<{ bytes: number; isGzip: boolean }> {
  try {
    const file = await open(path);
    try {
      const start = Buffer.alloc(GZIP_MAGIC.length);
      await file.read(start, 0, start.length, 0);
      const stat = await file.stat();
      if (stat.isDirectory()) throw usageError(`${path} is a folder`, 'Name a file.');
      return { bytes: stat.size, isGzip: start.equals(Buffer.from(GZIP_MAGIC)) };
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof CommandError) throw error;
    throw unreadable(path, error);
  }
}

function unreadable(path: string, error: unknown): CommandError {
  return new CommandError({
    what: `${path} cannot be read`,
    why: error instanceof Error ? error.message : String(error),
    todo: 'Name a file of NDJSON or CSV, plain or gzip.',
    cause: error,
  });
}

async function* readJsonLines(input: Readable): AsyncGenerator<EventLine> {
  let line = 0;
  for await (const text of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
    line += 1;
    if (text.trim() !== '') yield { line, text };
  }
}

async function* readCsvEvents(input: Readable): AsyncGenerator<EventLine> {
  input.setEncoding('utf8');
  let columns: ReturnType<typeof readCsvHeader> | undefined;
  for await (const record of readCsv(input as AsyncIterable<string>)) {
    if (columns === undefined) columns = readCsvHeader(record.cells);
    else yield { line: record.line, text: toEventText(columns, record) };
  }
}
