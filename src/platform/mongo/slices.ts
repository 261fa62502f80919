import { BSON } from 'mongodb';

/** Items of one statement's list. */
export const SLICE_ITEMS_MAX = 1_000;
/** Updates of one bulk write: the driver takes far longer to prepare one of them than to write a key. */
export const SLICE_UPDATES_MAX = 200;
/**
 * Bytes of one statement's list as BSON. A statement may have 16 MiB; this process stands still while it writes one, and
 * the server while it reads it, so a slice is far smaller.
 */
export const SLICE_BYTES_MAX = 1024 * 1024;
/** What an item of a list costs besides itself: its type, and its index as text. */
const ITEM_BYTES = 8;

/**
 * Cuts a list that goes into one statement (`$in`, `$or`, documents to insert, updates) by count and by bytes. How long
 * such a list gets, and how long its items are, is decided by who sends usage: no statement may carry it whole.
 * @param items as they go into the statement. One that is larger than `SLICE_BYTES_MAX` gets a slice of its own.
 */
export function* slicesOf<T>(items: Iterable<T>, itemsMax = SLICE_ITEMS_MAX): Generator<T[]> {
  let slice: T[] = [];
  let bytes = 0;
  for (const item of items) {
    const size = bytesOf(item);
    if (slice.length > 0 && (slice.length >= itemsMax || bytes + size > SLICE_BYTES_MAX)) {
      yield slice;
      slice = [];
      bytes = 0;
    }
    slice.push(item);
    bytes += size;
  }
  if (slice.length > 0) yield slice;
}

/** Runs a statement for each slice of a list, one after the other; nothing for an empty one. */
export async function bySlices<T, R>(
  items: Iterable<T>,
  statement: (slice: T[]) => Promise<R>,
  itemsMax = SLICE_ITEMS_MAX,
): Promise<R[]> {
  const results: R[] = [];
  for (const slice of slicesOf(items, itemsMax)) results.push(await statement(slice));
  return results;
}

/** Like `bySlices`, for a statement that finds documents: all that were found. */
export async function findBySlices<T, R>(
  items: Iterable<T>,
  statement: (slice: T[]) => Promise<readonly R[]>,
): Promise<R[]> {
  const found: R[] = [];
  for (const slice of slicesOf(items)) for (const each of await statement(slice)) found.push(each);
  return found;
}

function bytesOf(item: unknown): number {
  if (typeof item === 'string') return Buffer.byteLength(item) + ITEM_BYTES;
  if (typeof item !== 'object' || item === null) return ITEM_BYTES * 2;
  return BSON.calculateObjectSize({ item }, { ignoreUndefined: true }) + ITEM_BYTES;
}
