/** Lists: `{data, nextCursor, hasMore}`, with a cursor that only this API reads. */
import { type Static, type TSchema, Type } from 'typebox';
import { Value } from 'typebox/value';
import { DaemonError } from '../errors.ts';

export const PAGE_ITEMS_DEFAULT = 50;
export const PAGE_ITEMS_MAX = 1_000;

/** The query parameters of every list; spread them into the properties of a route's query schema. */
export const pagingQuery = {
  cursor: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 2048,
      pattern: '^[A-Za-z0-9_-]+$',
      description: '`nextCursor` of the page before.',
    }),
  ),
  limit: Type.Optional(
    Type.String({
      pattern: '^([1-9][0-9]{0,2}|1000)$',
      description: `Items in a page: 1 to ${PAGE_ITEMS_MAX}, else ${PAGE_ITEMS_DEFAULT}.`,
    }),
  ),
};

/** An instant in a cursor, in milliseconds: one that a date can hold. */
export const CursorInstant = Type.Integer({ minimum: -8.64e15, maximum: 8.64e15 });

/** The schema of a page. */
export function pageSchema<T extends TSchema>(item: T) {
  return Type.Object({
    data: Type.Array(item),
    nextCursor: Type.Union([Type.String(), Type.Null()], { description: 'Null on the last page.' }),
    hasMore: Type.Boolean(),
  });
}

export interface Page<T> {
  readonly data: T[];
  readonly nextCursor: string | null;
  readonly hasMore: boolean;
}

/** The number of items asked for. The schema has made sure that it is one. */
export function readLimit(limit: string | undefined): number {
  return limit === undefined ? PAGE_ITEMS_DEFAULT : Number(limit);
}

/** Where a page ended, in a form for the next request. */
export function encodeCursor(position: unknown): string {
  return Buffer.from(JSON.stringify(position)).toString('base64url');
}

/**
 * Reads a cursor back, which has to match `schema`.
 * @throws DaemonError `cursor_invalid`
 */
export function decodeCursor<T extends TSchema>(cursor: string, shape: T): Static<T> {
  const parts = parse(Buffer.from(cursor, 'base64url').toString('utf8'));
  if (Value.Check(shape, parts)) return parts;
  throw new DaemonError({ kind: 'invalid', code: 'cursor_invalid', message: 'The cursor is not one of this list.' });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/**
 * A page out of `limit + 1` items that were read.
 * @param cursorOf what the next page has to follow
 */
export function toPage<T, R>(
  found: readonly T[],
  limit: number,
  map: { item: (found: T) => R; cursor: (last: T) => unknown },
): Page<R> {
  const shown = found.slice(0, limit);
  const last = shown.at(-1);
  const hasMore = found.length > limit;
  return {
    data: shown.map(map.item),
    nextCursor: hasMore && last !== undefined ? encodeCursor(map.cursor(last)) : null,
    hasMore,
  };
}
