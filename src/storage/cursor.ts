import { toStorageError } from './errors.ts';

/** What a cursor yields, in arrays of at most `size`; its errors are translated. */
export async function* inBatches<T>(source: AsyncIterable<T>, size: number): AsyncGenerator<T[]> {
  let batch: T[] = [];
  try {
    for await (const item of source) {
      batch.push(item);
      if (batch.length < size) continue;
      yield batch;
      batch = [];
    }
  } catch (error) {
    throw toStorageError(error);
  }
  if (batch.length > 0) yield batch;
}
