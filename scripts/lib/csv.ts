import { usageError } from './command-error.ts';

/** One record, and the line of the file where it begins (from 1). */
export interface CsvRecord {
  readonly line: number;
  readonly cells: readonly string[];
}

/** A record longer than this is a quote that was never closed. */
const RECORD_LENGTH_MAX = 1_000_000;

/**
 * Reads CSV as RFC 4180 has it: commas, quotes doubled inside quotes, line breaks inside quotes; LF or CRLF. Empty lines
 * are passed over. Works on any cut of the text into chunks.
 * @throws CommandError on a quote that is not closed, or that stands inside a cell.
 */
export async function* readCsv(chunks: AsyncIterable<string>): AsyncGenerator<CsvRecord> {
  const parser = new CsvParser();
  for await (const chunk of chunks) yield* parser.push(chunk);
  yield* parser.end();
}

class CsvParser {
  #cells: string[] = [];
  #cell = '';
  /** `closed`: behind the closing quote, which may turn out to be the first of two. */
  #state: 'start' | 'plain' | 'quoted' | 'closed' = 'start';
  #line = 1;
  #recordLine = 1;
  #recordLength = 0;

  *push(chunk: string): Generator<CsvRecord> {
    for (const character of chunk) {
      this.#recordLength += 1;
      if (this.#recordLength > RECORD_LENGTH_MAX) throw malformed(this.#recordLine, 'a quote is never closed');
      if (this.#state === 'quoted') this.#pushQuoted(character);
      else if (character === '\n') yield* this.#endRecord();
      else this.#pushOutside(character);
      if (character === '\n') this.#line += 1;
      if (character === '\n' && this.#state === 'start' && this.#cells.length === 0) this.#recordLine = this.#line;
    }
  }

  *end(): Generator<CsvRecord> {
    if (this.#state === 'quoted') throw malformed(this.#recordLine, 'a quote is never closed');
    yield* this.#endRecord();
  }

  #pushQuoted(character: string): void {
    if (character === '"') this.#state = 'closed';
    else this.#cell += character;
  }

  #pushOutside(character: string): void {
    if (character === ',') this.#endCell();
    else if (character === '"' && this.#state === 'start') this.#state = 'quoted';
    else if (character === '"' && this.#state === 'closed') {
      this.#cell += character;
      this.#state = 'quoted';
    } else if (character === '\r' || this.#state !== 'closed') {
      this.#cell += character;
      if (this.#state === 'start') this.#state = 'plain';
    } else throw malformed(this.#line, 'something follows a closing quote');
  }

  #endCell(): void {
    this.#cells.push(this.#cell);
    this.#cell = '';
    this.#state = 'start';
  }

  *#endRecord(): Generator<CsvRecord> {
    this.#recordLength = 0;
    if (this.#cell.endsWith('\r')) this.#cell = this.#cell.slice(0, -1);
    const isEmptyLine = this.#cells.length === 0 && this.#cell === '' && this.#state !== 'closed';
    this.#endCell();
    const cells = this.#cells;
    this.#cells = [];
    if (!isEmptyLine) yield { line: this.#recordLine, cells };
  }
}

function malformed(line: number, reason: string): Error {
  return usageError(`line ${line} is not CSV: ${reason}`, 'Quote cells as "…" and double a quote inside: "".');
}
