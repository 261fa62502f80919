import type { ClientSession, Collection, Db, Decimal128, Document, Filter, OptionalUnlessRequiredId } from 'mongodb';
import { OPERATION_MS_MAX } from './database.ts';
import { isZeroDecimal128 } from './decimal128.ts';
import { hasOnlyDuplicateKeys, toStorageError, translated } from './errors.ts';

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

/** What the fence compares of a row, and the fields that a new row gets besides its derivation. */
export interface FencedRow {
  _id: object;
  layout: number;
  eventCount: number;
  uncountable?: number;
  quantity: Decimal128;
  planDue?: boolean;
}

/** Rows of one statement. */
const ROWS_MAX = 1_000;
const FENCED_FIELDS = { layout: 1, eventCount: 1, uncountable: 1, quantity: 1 };

/**
 * Stores derived rows under the fence. Reads what is stored first: a row that is stored as it is derived (most rows of
 * a run that is repeated) costs no write, and a new one a plain insert. Only the others cost a `$merge`, which takes
 * mongod about four times as long.
 * @param input `before` is called with the rows that differ from the stored ones, before they are written.
 */
export async function mergeDocuments<Row extends FencedRow>(
  input: { db: Db; into: string; rows: readonly Row[]; before?: (rows: readonly Row[]) => Promise<void> },
  session: ClientSession,
): Promise<void> {
  const collection = input.db.collection<FencedRow>(input.into);
  for (let from = 0; from < input.rows.length; from += ROWS_MAX) {
    const rows = input.rows.slice(from, from + ROWS_MAX);
    const stored = await storedByKey(collection, rows, session);
    const fresh: Row[] = [];
    const changed: Row[] = [];
    for (const row of rows) {
      const found = stored.get(keyText(row._id));
      if (found === undefined) fresh.push(row);
      else if (!isDerivedAlike(found, row)) changed.push(row);
    }
    await input.before?.([...fresh, ...changed]);
    const taken = await insertAbsent(collection, fresh.map(toNewRow), session);
    await mergeFenced(input, [...changed, ...taken.map((index) => fresh[index] as Row)], session);
  }
}

/**
 * Inserts what is not there. Returns the indexes of those that are: somebody else stored them meanwhile.
 * @throws DaemonError when the others are not durable.
 */
export async function insertAbsent<T extends Document>(
  collection: Collection<T>,
  documents: readonly OptionalUnlessRequiredId<T>[],
  session: ClientSession,
): Promise<number[]> {
  if (documents.length === 0) return [];
  try {
    await collection.insertMany(documents, { ordered: false, session });
    return [];
  } catch (error) {
    if (!hasOnlyDuplicateKeys(error)) throw toStorageError(error);
    return error.result.getWriteErrors().map(({ index }) => index);
  }
}

async function storedByKey(
  collection: Collection<FencedRow>,
  rows: readonly FencedRow[],
  session: ClientSession,
): Promise<Map<string, FencedRow>> {
  const filter = { _id: { $in: rows.map(({ _id }) => _id) } } as unknown as Filter<FencedRow>;
  const found = await translated(
    collection.find(filter, { projection: FENCED_FIELDS, session }).maxTimeMS(OPERATION_MS_MAX).toArray(),
  );
  return new Map(found.map((row) => [keyText(row._id), row]));
}

/** Ids hold no control characters. */
function keyText(key: object): string {
  return Object.values(key)
    .map((part: unknown) => (part instanceof Date ? part.getTime() : part))
    .join('\u001f');
}

/** Whether the fence would leave the stored row as it is because the derivations are equal. */
function isDerivedAlike(stored: FencedRow, row: FencedRow): boolean {
  return (
    stored.layout === row.layout &&
    stored.eventCount === row.eventCount &&
    (stored.uncountable ?? 0) === (row.uncountable ?? 0) &&
    Buffer.compare(stored.quantity.bytes, row.quantity.bytes) === 0
  );
}

/** A new row; an empty one has nothing to plan. */
function toNewRow({ planDue, ...row }: FencedRow): FencedRow & { revision: number } {
  const isDue = planDue === true && !isZeroDecimal128(row.quantity);
  return { ...row, revision: 1, ...(isDue && { planDue }) };
}

async function mergeFenced(
  { db, into }: { db: Db; into: string },
  rows: readonly FencedRow[],
  session: ClientSession,
): Promise<void> {
  if (rows.length === 0) return;
  const stages = [
    { $documents: rows.map((row) => ({ $literal: row })) },
    // The row may be gone again, and is new then. An empty one keeps `planDue`: what was planned of it has to go back.
    { $set: { revision: 1 } },
    { $merge: { into, on: '_id', whenMatched: FENCE, whenNotMatched: 'insert' } },
  ];
  await translated(db.aggregate(stages, { session, maxTimeMS: OPERATION_MS_MAX }).toArray());
}
