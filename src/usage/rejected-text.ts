/** How large the kept text of refused input may be, in UTF-8 bytes. */
export const REJECTED_TEXT_BYTES_MAX = 16 * 1024;
/** Deeper values are left out: no event that could be corrected nests this far. */
const DEPTH_MAX = 16;
/** Stands where something was left out. */
const OMITTED = '"…"';

export interface RejectedText {
  readonly text: string;
  /** Whether the text is not all of the input; it may then not be valid JSON. */
  readonly truncated: boolean;
}

interface Writer {
  readonly pieces: string[];
  bytesLeft: number;
  truncated: boolean;
}

/**
 * Writes any value of parsed JSON as text of bounded size and depth. Unpaired surrogates survive as `\u` escapes, and
 * a number beyond the range of a double as one that is read as such again.
 */
export function toRejectedText(value: unknown): RejectedText {
  const writer: Writer = { pieces: [], bytesLeft: REJECTED_TEXT_BYTES_MAX, truncated: false };
  writeValue(writer, value, 0);
  return { text: writer.pieces.join(''), truncated: writer.truncated };
}

/** Cuts text that is no JSON to the same size. */
export function cutRejectedText(text: string): RejectedText {
  const wellFormed = text.slice(0, REJECTED_TEXT_BYTES_MAX).toWellFormed();
  const cut = cutToBytes(wellFormed, REJECTED_TEXT_BYTES_MAX);
  return { text: cut, truncated: cut.length < text.length };
}

function writeValue(writer: Writer, value: unknown, depth: number): void {
  if (typeof value === 'string') writeString(writer, value);
  else if (typeof value !== 'object' || value === null) write(writer, scalarText(value));
  else if (depth >= DEPTH_MAX) {
    write(writer, OMITTED);
    writer.truncated = true;
  } else if (Array.isArray(value)) writeArray(writer, value, depth);
  else writeObject(writer, value as Record<string, unknown>, depth);
}

function writeArray(writer: Writer, values: readonly unknown[], depth: number): void {
  let separator = '[';
  for (const value of values) {
    if (writer.bytesLeft <= 0) break;
    write(writer, separator);
    writeValue(writer, value, depth + 1);
    separator = ',';
  }
  write(writer, separator === '[' ? '[]' : ']');
}

function writeObject(writer: Writer, fields: Record<string, unknown>, depth: number): void {
  let separator = '{';
  for (const name in fields) {
    if (writer.bytesLeft <= 0) break;
    if (fields[name] === undefined) continue;
    write(writer, separator);
    writeString(writer, name);
    write(writer, ':');
    writeValue(writer, fields[name], depth + 1);
    separator = ',';
  }
  write(writer, separator === '{' ? '{}' : '}');
}

function writeString(writer: Writer, text: string): void {
  write(writer, JSON.stringify(text.length > writer.bytesLeft ? text.slice(0, Math.max(writer.bytesLeft, 1)) : text));
}

function write(writer: Writer, piece: string): void {
  const bytes = Buffer.byteLength(piece);
  if (bytes <= writer.bytesLeft) {
    writer.pieces.push(piece);
    writer.bytesLeft -= bytes;
    return;
  }
  writer.truncated = true;
  if (writer.bytesLeft > 0) writer.pieces.push(cutToBytes(piece, writer.bytesLeft));
  writer.bytesLeft = 0;
}

function scalarText(value: unknown): string {
  if (typeof value === 'number' && !Number.isFinite(value)) return value < 0 ? '-1e999' : '1e999';
  return JSON.stringify(value) ?? 'null';
}

/** The longest beginning of well-formed text that takes at most so many bytes, without half a character at its end. */
function cutToBytes(text: string, bytesMax: number): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= bytesMax) return text;
  let end = bytesMax;
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
  return bytes.toString('utf8', 0, end);
}
