import type { ClientSession, Db, Document } from 'mongodb';
import { OPERATION_MS_MAX } from './database.ts';
import { toStorageError } from './errors.ts';

/**
 * Keeps the stored row against an older derivation: one under an earlier layout, or one that counted fewer facts.
 * (Without it two overlapping runs can lose an acknowledged event: the slower one's `$merge` comes last.)
 * An equal derivation changes nothing; a different quantity raises the revision and makes planning due.
 */
const FENCE: Document[] = [
  {
    $replaceWith: {
      $cond: [
        {
          $or: [
            { $gt: ['$layout', '$$new.layout'] },
            {
              $and: [
                { $eq: ['$layout', '$$new.layout'] },
                {
                  $or: [
                    { $gt: ['$eventCount', '$$new.eventCount'] },
                    {
                      $and: [
                        { $eq: ['$eventCount', '$$new.eventCount'] },
                        { $gte: [{ $ifNull: ['$uncountable', 0] }, { $ifNull: ['$$new.uncountable', 0] }] },
                        { $eq: ['$quantity', '$$new.quantity'] },
                      ],
                    },
                  ],
                },
              ],
            },
          ],
        },
        '$$ROOT',
        {
          // A field that an expression leaves out does not overwrite: `planDue` of the new row has to go first.
          $mergeObjects: [
            { $unsetField: { field: 'planDue', input: '$$new' } },
            {
              revision: { $add: ['$revision', { $cond: [{ $ne: ['$quantity', '$$new.quantity'] }, 1, 0] }] },
              planDue: { $cond: [{ $ne: ['$quantity', '$$new.quantity'] }, '$$new.planDue', '$planDue'] },
              planned: '$planned',
            },
          ],
        },
      ],
    },
  },
];

/** What a row needs besides its derivation when it is new: an empty one has nothing to plan. */
export const NEW_ROW_FIELDS: Document = {
  $set: { revision: 1, planDue: { $cond: [{ $ne: ['$quantity', 0] }, '$planDue', '$$REMOVE'] } },
};

/** The stage that ends a derivation. */
export function mergeInto(collection: string): Document {
  return { $merge: { into: collection, on: '_id', whenMatched: FENCE, whenNotMatched: 'insert' } };
}

/** Rows of one `$documents` stage. */
const MERGE_ROWS_MAX = 1_000;

/** Merges rows that were derived here rather than in the database. */
export async function mergeDocuments(
  input: { db: Db; into: string; rows: readonly Document[] },
  session: ClientSession,
): Promise<void> {
  for (let from = 0; from < input.rows.length; from += MERGE_ROWS_MAX) {
    const documents = input.rows.slice(from, from + MERGE_ROWS_MAX).map((row) => ({ $literal: row }));
    try {
      await input.db
        .aggregate([{ $documents: documents }, NEW_ROW_FIELDS, mergeInto(input.into)], {
          session,
          maxTimeMS: OPERATION_MS_MAX,
        })
        .toArray();
    } catch (error) {
      throw toStorageError(error);
    }
  }
}
