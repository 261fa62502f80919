import { type CommandError, usageError } from './command-error.ts';
import { LINE_BYTES_MAX, type TextLine } from './file-text.ts';

/** One record, and the line of the file where it begins (from 1). */
export interface CsvRecord {
  readonly line: number;
  readonly cells: readonly string[];
}

export const CSV_DELIMITERS = [',', ';', '\t', '|'] as const;
/** A first line for spreadsheets, which some programs write. */
const STATED_DELIMITER = /^"?sep=(.)"?$/i;
export type CsvDelimiter = (typeof CSV_DELIMITERS)[number];

/**
 * Reads CSV as RFC 4180 has it: quotes doubled inside quotes, line breaks inside quotes (read as LF). Empty lines are
 * passed over.
 * @param delimiter default: the one that the first line holds most of.
 * @throws CommandError on a quote that is not closed, or that something follows.
 */
export async function* readCsv(
  lines: AsyncIterable<TextLine>,
  delimiter?: CsvDelimiter,
): AsyncGenerator<CsvRecord, void> {
  let between = delimiter;
  let open: OpenRecord | undefined;
  for await (const { line, text } of lines) {
    if (open === undefined && text === '') continue;
    const stated = line === 1 ? STATED_DELIMITER.exec(text)?.[1] : undefined;
    if (stated !== undefined) {
      between ??= CSV_DELIMITERS.find((known) => known === stated);
      continue;
    }
    between ??= findDelimiter(text);
    open ??= { line, cells: [], quoted: undefined, length: 0 };
    readLine(open, { line, text }, between);
    if (open.quoted !== undefined) continue;
    yield { line: open.line, cells: open.cells };
    open = undefined;
  }
  if (open !== undefined) throw notClosed(open.line);
}

/** A record of which a quoted cell may go on in the next line. */
interface OpenRecord {
  readonly line: number;
  readonly cells: string[];
  /** The beginning of a quoted cell that is not closed. */
  quoted: string | undefined;
  length: number;
}

function readLine(record: OpenRecord, { line, text }: TextLine, delimiter: CsvDelimiter): void {
  record.length += text.length + 1;
  if (record.length > LINE_BYTES_MAX) throw notClosed(record.line);
  if (record.quoted === undefined && !text.includes('"')) {
    for (const cell of text.split(delimiter)) record.cells.push(cell);
    return;
  }
  let at: number | undefined = 0;
  if (record.quoted !== undefined) {
    record.quoted += '\n';
    at = readQuoted(record, { line, text, at, delimiter });
  }
  while (at !== undefined) {
    if (text[at] === '"') {
      record.quoted = '';
      at = readQuoted(record, { line, text, at: at + 1, delimiter });
      continue;
    }
    const end: number = text.indexOf(delimiter, at);
    record.cells.push(text.slice(at, end < 0 ? undefined : end));
    at = end < 0 ? undefined : end + 1;
  }
}

/** Reads on inside a quote. @returns where the next cell begins; undefined when the line ends here. */
function readQuoted(
  record: OpenRecord,
  { line, text, at, delimiter }: TextLine & { at: number; delimiter: CsvDelimiter },
): number | undefined {
  for (let from = at; ;) {
    const quote = text.indexOf('"', from);
    record.quoted += text.slice(from, quote < 0 ? undefined : quote);
    if (quote < 0) return undefined;
    if (text[quote + 1] === '"') {
      record.quoted += '"';
      from = quote + 2;
      continue;
    }
    record.cells.push(record.quoted ?? '');
    record.quoted = undefined;
    if (quote + 1 === text.length) return undefined;
    if (text[quote + 1] !== delimiter) throw malformed(line, 'something follows a closing quote');
    return quote + 2;
  }
}

function findDelimiter(header: string): CsvDelimiter {
  const bare = header.replaceAll(/"[^"]*"/g, '');
  const count = (delimiter: CsvDelimiter): number => bare.split(delimiter).length;
  return CSV_DELIMITERS.reduce((best, other) => (count(other) > count(best) ? other : best));
}

function notClosed(line: number): CommandError {
  return malformed(line, 'a quote is never closed');
}

function malformed(line: number, reason: string): CommandError {
  return usageError(`line ${line} is not CSV: ${reason}`, 'Quote cells as "…" and double a quote inside: "".');
}
