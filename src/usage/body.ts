/** From the bytes of a request to text: bounded inflation, and no byte that is not UTF-8. */
import { isUtf8 } from 'node:buffer';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import type { NdjsonLine } from './event-input.ts';
import { DaemonError } from '../platform/errors.ts';

const inflate = promisify(gunzip);
const NEWLINE = 0x0a;

/**
 * The body without its Content-Encoding.
 * @param encoding the header, as it came
 * @param bytesMax of the result; inflating stops there
 * @throws DaemonError `invalid`: `content_encoding_unsupported`, `body_too_large`, `body_not_gzip`.
 */
export async function decodeBody(raw: Buffer, encoding: string, bytesMax: number): Promise<Buffer> {
  const name = encoding.trim().toLowerCase();
  if (name === 'identity' || name === '') return raw;
  if (name !== 'gzip' && name !== 'x-gzip') {
    throw new DaemonError({
      kind: 'invalid',
      code: 'content_encoding_unsupported',
      message: 'Content-Encoding can be gzip, or nothing.',
    });
  }
  try {
    return await inflate(raw, { maxOutputLength: bytesMax });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') throw bodyTooLarge(bytesMax);
    throw new DaemonError({
      kind: 'invalid',
      code: 'body_not_gzip',
      message: 'The body is not gzip, or a part of it is missing.',
      cause,
    });
  }
}

export function bodyTooLarge(bytesMax: number): DaemonError {
  return new DaemonError({
    kind: 'invalid',
    code: 'body_too_large',
    message: `A body may take ${bytesMax} bytes, also after inflating.`,
  });
}

/** @throws DaemonError `body_not_utf8` */
export function toText(body: Buffer): string {
  if (isUtf8(body)) return withoutMark(body.toString('utf8'));
  throw new DaemonError({ kind: 'invalid', code: 'body_not_utf8', message: 'The body is not UTF-8.' });
}

/** NDJSON as text; line by line when some of it is not UTF-8, so that only those lines are refused. */
export function toNdjson(body: Buffer): string | Iterable<NdjsonLine> {
  return isUtf8(body) ? withoutMark(body.toString('utf8')) : linesOf(body);
}

/** One line after the other, so that the reader stops where it has enough. */
function* linesOf(body: Buffer): Generator<NdjsonLine> {
  for (let from = 0; from < body.length;) {
    const at = body.indexOf(NEWLINE, from);
    const to = at < 0 ? body.length : at;
    const line = body.subarray(from, to);
    yield { text: line.toString('utf8'), isUtf8: isUtf8(line) };
    from = to + 1;
  }
}

/** RFC 8259 lets a parser ignore a byte order mark; editors on Windows write one. */
function withoutMark(text: string): string {
  return text.startsWith('\ufeff') ? text.slice(1) : text;
}
