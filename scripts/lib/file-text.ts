import { isUtf8 } from 'node:buffer';
import { TextDecoder } from 'node:util';
import { CommandError } from './command-error.ts';

/** One line of a file, without its line break, and its number (from 1). */
export interface TextLine {
  readonly line: number;
  readonly text: string;
}

/** What error messages say of the file. */
export interface FileName {
  readonly path: string;
  readonly isGzip: boolean;
}

/** A longer line is no usage event: the daemon takes bodies of 1 MiB. */
export const LINE_BYTES_MAX = 1024 * 1024;

const NEWLINE = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const UTF8_MARK = Buffer.from([0xef, 0xbb, 0xbf]);
const UTF16_MARKS = [
  { label: 'utf-16le', mark: Buffer.from([0xff, 0xfe]) },
  { label: 'utf-16be', mark: Buffer.from([0xfe, 0xff]) },
];

/**
 * The lines of a file in UTF-8, or in UTF-16 that begins with a byte order mark. A line ends at LF or CRLF and nowhere
 * else: U+2028, U+2029 and a lone CR are characters of it, unlike with `node:readline`. The last line needs no end.
 * @throws CommandError with the line's number when it is not UTF-8, holds a NUL, or is longer than `LINE_BYTES_MAX`:
 * decoding it anyway would turn letters into U+FFFD, and two customers into one.
 */
export async function* readTextLines(chunks: AsyncIterable<Buffer>, file: FileName): AsyncGenerator<TextLine> {
  let line = 0;
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  for await (const chunk of toUtf8(chunks, file)) {
    const end = chunk.lastIndexOf(NEWLINE);
    if (end >= 0) {
      for (const text of decodeLines(Buffer.concat([...pending, chunk.subarray(0, end)]), file, line)) {
        line += 1;
        yield { line, text };
      }
      pending = [];
      pendingBytes = 0;
    }
    pending.push(chunk.subarray(end + 1));
    pendingBytes += chunk.length - end - 1;
    if (pendingBytes > LINE_BYTES_MAX) throw lineTooLong(file, line + 1);
  }
  if (pendingBytes > 0) {
    for (const text of decodeLines(Buffer.concat(pending), file, line)) yield { line: line + 1, text };
  }
}

/** @param before how many lines came before these. */
function* decodeLines(bytes: Buffer, file: FileName, before: number): Generator<string> {
  // Most blocks are in order, and decoding a block costs a fraction of decoding its lines.
  if (bytes.length <= LINE_BYTES_MAX && isUtf8(bytes) && !bytes.includes(0)) {
    for (const text of bytes.toString('utf8').split('\n')) yield text.endsWith('\r') ? text.slice(0, -1) : text;
    return;
  }
  let number = before;
  for (let from = 0; from <= bytes.length;) {
    number += 1;
    const at = bytes.indexOf(NEWLINE, from);
    const to = at < 0 ? bytes.length : at;
    const line = bytes.subarray(from, to > from && bytes[to - 1] === CARRIAGE_RETURN ? to - 1 : to);
    if (line.length > LINE_BYTES_MAX) throw lineTooLong(file, number);
    if (!isUtf8(line)) throw notUtf8(file, number);
    if (line.includes(0)) throw holdsNul(file, number);
    yield line.toString('utf8');
    from = to + 1;
  }
}

/** The same text in UTF-8 without a byte order mark. */
async function* toUtf8(chunks: AsyncIterable<Buffer>, file: FileName): AsyncGenerator<Buffer> {
  let start: Buffer | undefined = Buffer.alloc(0);
  let decoder: TextDecoder | undefined;
  const decode = (bytes?: Buffer): Buffer => {
    try {
      return Buffer.from(decoder?.decode(bytes, { stream: bytes !== undefined }) ?? '', 'utf8');
    } catch (cause) {
      throw notUtf16(file, cause);
    }
  };
  for await (const chunk of chunks) {
    let bytes = chunk;
    if (start !== undefined) {
      start = Buffer.concat([start, chunk]);
      if (start.length < UTF8_MARK.length) continue;
      decoder = utf16DecoderFor(start);
      bytes = startsWith(start, UTF8_MARK) ? start.subarray(UTF8_MARK.length) : start;
      start = undefined;
    }
    yield decoder === undefined ? bytes : decode(bytes);
  }
  if (start !== undefined) yield start;
  if (decoder !== undefined) yield decode();
}

function utf16DecoderFor(start: Buffer): TextDecoder | undefined {
  const encoding = UTF16_MARKS.find(({ mark }) => startsWith(start, mark));
  return encoding && new TextDecoder(encoding.label, { fatal: true });
}

export function startsWith(bytes: Buffer, mark: Buffer): boolean {
  return bytes.subarray(0, mark.length).equals(mark);
}

function notUtf8(file: FileName, line: number): CommandError {
  return new CommandError({
    what: `line ${line} of ${file.path} is not UTF-8`,
    why: 'its letters would be changed, and ids with them; nothing of this line and after it was sent',
    todo: `Find out its encoding and convert the file; for Latin-1 or Windows: ${iconvOf(file, 'WINDOWS-1252')}`,
  });
}

function holdsNul(file: FileName, line: number): CommandError {
  return new CommandError({
    what: `line ${line} of ${file.path} holds a NUL character`,
    why: 'it may be UTF-16 without a byte order mark; nothing of this line and after it was sent',
    todo: `Convert the file: ${iconvOf(file, 'UTF-16LE')}`,
  });
}

function notUtf16(file: FileName, cause: unknown): CommandError {
  return new CommandError({
    what: `${file.path} begins like UTF-16 and is not`,
    why: 'half of a character is missing, or the file is cut off',
    todo: 'Write the file anew, in UTF-8.',
    cause,
  });
}

function lineTooLong(file: FileName, line: number): CommandError {
  return new CommandError({
    what: `line ${line} of ${file.path} is longer than ${LINE_BYTES_MAX} bytes`,
    why: 'an event stands on one line, which ends in LF or CRLF',
    todo: 'If the file is one JSON array, make lines of it: jq -c ".[]"',
  });
}

/** A command that writes the file anew in UTF-8, beside it. */
function iconvOf({ path, isGzip }: FileName, encoding: string): string {
  const source = `'${path.replaceAll("'", String.raw`'\''`)}'`;
  const target = source.replace(/(\.[A-Za-z0-9]+)?(?:\.gz)?'$/, "-utf8$1'");
  const iconv = `iconv -f ${encoding} -t UTF-8`;
  return isGzip ? `gunzip -c ${source} | ${iconv} > ${target}` : `${iconv} ${source} > ${target}`;
}
