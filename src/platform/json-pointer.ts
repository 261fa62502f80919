/** How an answer names a place in what a caller sent. */

const SHOWN_LENGTH_MAX = 64;

/** A text of a caller in a form that an answer can hold. */
export function shownName(name: string): string {
  return name.slice(0, SHOWN_LENGTH_MAX).toWellFormed();
}

/** Escapes one reference token of a JSON Pointer (RFC 6901). */
export function escapePointer(token: string): string {
  return token.replaceAll('~', '~0').replaceAll('/', '~1');
}
