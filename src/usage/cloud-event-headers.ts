/** CloudEvents in binary mode: their attributes are headers (CloudEvents HTTP binding 3.1.3). */
import { DaemonError } from '../platform/errors.ts';

const PREFIX = 'ce-';
/** What a header can hold without being encoded; Node reads other bytes as Latin-1, which most senders do not mean. */
const PRINTABLE = /^[\x20-\x7e]*$/;
const QUOTED = /^"((?:[^"\\]|\\.)*)"$/;

/**
 * The attributes of a CloudEvent in binary mode, decoded: a quoted string is unquoted first, then percent-encoding is
 * undone (3.1.3.2).
 * @param rawHeaders names and values in turn, as they came.
 * @returns undefined when the request is none: it has no `ce-specversion`.
 * @throws DaemonError `cloud_event_header_invalid`
 */
export function cloudEventHeaders(rawHeaders: readonly string[]): Record<string, string> | undefined {
  const attributes = new Map<string, string>();
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    const name = (rawHeaders[at] ?? '').toLowerCase();
    if (!name.startsWith(PREFIX)) continue;
    if (attributes.has(name)) throw refuse(name, 'stands there twice; an attribute has one value');
    attributes.set(name, rawHeaders[at + 1] ?? '');
  }
  if (!attributes.has(`${PREFIX}specversion`)) return undefined;
  const decoded = [...attributes].map(([name, value]) => [name.slice(PREFIX.length), decode(name, value)] as const);
  return Object.fromEntries(decoded);
}

function decode(name: string, value: string): string {
  if (!PRINTABLE.test(value)) {
    throw refuse(name, 'holds bytes beyond printable ASCII. Percent-encode its UTF-8: "Z\u00fcrich" is Z%C3%BCrich');
  }
  try {
    return decodeURIComponent(unquote(name, value.trim()));
  } catch (cause) {
    if (cause instanceof DaemonError) throw cause;
    throw refuse(name, 'is not percent-encoded UTF-8. A percent sign itself is %25', cause);
  }
}

/** RFC 9110, 5.6.4: within quotes, a backslash makes the next character stand for itself. */
function unquote(name: string, value: string): string {
  if (!value.startsWith('"')) return value;
  const content = QUOTED.exec(value)?.[1];
  if (content === undefined) throw refuse(name, 'begins with a quote and is no quoted string. A quote itself is %22');
  return content.replace(/\\(.)/g, '$1');
}

function refuse(name: string, what: string, cause?: unknown): DaemonError {
  return new DaemonError({
    kind: 'invalid',
    code: 'cloud_event_header_invalid',
    message: `The header ${name.slice(0, 64)} ${what}.`,
    ...(cause !== undefined && { cause }),
  });
}
