import type { ClientSession, Collection, Document, OptionalUnlessRequiredId } from 'mongodb';
import { hasOnlyDuplicateKeys, toStorageError } from './errors.ts';
import { slicesOf } from './slices.ts';

/**
 * Inserts what is not there. Returns the indexes of those that are: somebody else stored them before, or meanwhile.
 * @throws DaemonError when the others are not durable.
 */
export async function insertAbsent<T extends Document>(
  collection: Collection<T>,
  documents: readonly OptionalUnlessRequiredId<T>[],
  session?: ClientSession,
): Promise<number[]> {
  const taken: number[] = [];
  let before = 0;
  for (const slice of slicesOf(documents)) {
    try {
      await collection.insertMany(slice, { ordered: false, ...(session && { session }) });
    } catch (error) {
      if (!hasOnlyDuplicateKeys(error)) throw toStorageError(error);
      for (const { index } of error.result.getWriteErrors()) taken.push(before + index);
    }
    before += slice.length;
  }
  return taken;
}
