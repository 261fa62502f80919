/**
 * JSON that means one thing. `JSON.parse` takes an object with a name that stands there twice and keeps the last value,
 * without a word; and it takes text that nests half a million levels deep, for a fifth of a second of everybody's time.
 */
import { shownName } from './json-pointer.ts';

/** Brackets that may be open at once. An event nests four deep; a body of any route less than ten. */
export const JSON_DEPTH_MAX = 64;

/** What is said of a text in which more are open. */
export const TOO_DEEP = `JSON may nest ${JSON_DEPTH_MAX} brackets deep.`;

/** What is wrong with a text; `not-json` when it cannot be parsed. */
export type JsonFault = 'not-json' | 'too-deep';

export type ParsedJson =
  | {
      readonly value: unknown;
      /** Whether each name stands once in its object. If not, `repeatedNames` says which do not. */
      readonly isExact: boolean;
    }
  | { readonly fault: JsonFault };

/** Names that are remembered of one object. No event and no body may have as many: those are refused for that. */
const NAMES_MAX = 1_000;

/** What is said of a name that is repeated. */
export function repeatedDetail(name: string): string {
  return `"${shownName(name)}" stands there twice, and only one of its values could count.`;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;

/**
 * Parses JSON, and tells whether a name was repeated: a text has as many colons outside its strings as its objects have
 * members, so there is a repetition exactly when the parsed value has fewer. One pass over the characters, which is less
 * than parsing them takes.
 */
export function parseJson(text: string): ParsedJson {
  const colons = countColons(text);
  if (colons === undefined) return { fault: 'too-deep' };
  try {
    const value: unknown = JSON.parse(text);
    return { value, isExact: colons === 0 || countMembers(value) === colons };
  } catch {
    return { fault: 'not-json' };
  }
}

/** Colons outside strings; undefined as soon as too many brackets are open. */
function countColons(text: string): number | undefined {
  let colons = 0;
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) at = endOfString(text, at);
    else if (code === COLON) colons += 1;
    else if (isOpening(code)) {
      depth += 1;
      if (depth > JSON_DEPTH_MAX) return undefined;
    } else if (isClosing(code)) depth -= 1;
  }
  return colons;
}

/** The position of the quote that ends the string which begins at `from`; the end of the text if none does. */
function endOfString(text: string, from: number): number {
  let at = from + 1;
  for (; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) break;
    if (code === BACKSLASH) at += 1;
  }
  return at;
}

function isOpening(code: number): boolean {
  return code === 0x7b || code === 0x5b;
}

function isClosing(code: number): boolean {
  return code === 0x7d || code === 0x5d;
}

function countMembers(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  let members = 0;
  if (Array.isArray(value)) {
    for (const item of value) members += countMembers(item);
    return members;
  }
  for (const name in value) {
    const member = (value as Record<string, unknown>)[name];
    members += typeof member === 'object' ? 1 + countMembers(member) : 1;
  }
  return members;
}

/** A name that stands more than once in an object. */
export interface RepeatedName {
  readonly name: string;
  /** JSON Pointer tokens to it, from the part that it was looked for in. */
  readonly path: readonly string[];
}

/** A value at the depth that was asked for, with a repeated name in it. */
export interface RepeatingPart extends RepeatedName {
  /** Its position in the array around it, if there is one. */
  readonly index: number;
  /** The part as it was sent. */
  readonly text: string;
}

interface Frame {
  readonly from: number;
  readonly names: Set<string> | undefined;
  /** The name or the position of the member that is being read. */
  name: string;
  index: number;
  repeated: RepeatedName | undefined;
}

/**
 * Finds the repeated names of a text that is JSON: the first one in each value at a depth (0: the whole text, 1: the
 * elements of an array, 2: those of an array in an object), and the first one outside all of those.
 */
export function repeatedNames(
  text: string,
  depth: 0 | 1 | 2,
): { outside: RepeatedName | undefined; parts: readonly RepeatingPart[] } {
  const parts: RepeatingPart[] = [];
  const frames: Frame[] = [];
  let outside: RepeatedName | undefined;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    const frame = frames.at(-1);
    if (isOpening(code)) frames.push(openFrame(text, at));
    else if (isClosing(code)) {
      const closed = frames.pop();
      const index = frames.at(-1)?.index ?? 0;
      if (closed?.repeated !== undefined && frames.length === depth) {
        parts.push({ ...closed.repeated, index, text: text.slice(closed.from, at + 1) });
      }
    } else if (code === 0x2c && frame !== undefined) frame.index += 1;
    else if (code === QUOTE) {
      const end = endOfString(text, at);
      if (frame?.names !== undefined && isName(text, end)) {
        const name = nameIn(text, at, end);
        const isRepeated = frame.names.has(name);
        if (frame.names.size < NAMES_MAX) frame.names.add(name);
        frame.name = name;
        if (isRepeated && frames.length > depth) tell(frames, depth);
        else if (isRepeated) outside ??= { name, path: frames.map((above) => tokenOf(above)) };
      }
      at = end;
    }
  }
  return { outside, parts };
}

function openFrame(text: string, at: number): Frame {
  const names = text.charCodeAt(at) === 0x7b ? new Set<string>() : undefined;
  return { from: at, names, name: '', index: 0, repeated: undefined };
}

/** Notes the name that was just read with the part that it belongs to. */
function tell(frames: readonly Frame[], depth: number): void {
  const part = frames[depth];
  const name = frames.at(-1)?.name ?? '';
  if (part !== undefined) part.repeated ??= { name, path: frames.slice(depth).map((frame) => tokenOf(frame)) };
}

function tokenOf(frame: Frame): string {
  return frame.names === undefined ? String(frame.index) : frame.name;
}

/** A name between its quotes, with its escapes undone: `"\\u0061"` and `"a"` are one. */
function nameIn(text: string, from: number, to: number): string {
  const written = text.slice(from + 1, to);
  return written.includes('\\') ? (JSON.parse(`"${written}"`) as string) : written;
}

/** Whether a colon follows the string that ends here. */
function isName(text: string, end: number): boolean {
  let at = end + 1;
  while (at < text.length && text.charCodeAt(at) <= 0x20) at += 1;
  return text.charCodeAt(at) === COLON;
}
