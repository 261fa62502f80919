import type { ClientSession, Collection, Db, Decimal128, Document, Filter } from 'mongodb';
import { REPLY_DOCUMENTS_MAX } from './cursor.ts';
import { OPERATION_MS_MAX } from './database.ts';
import { isZeroDecimal128 } from './decimal128.ts';
import { translated } from './errors.ts';
import { insertAbsent } from './insert-absent.ts';
import { slicesOf } from './slices.ts';

/**
 * Keeps the stored row against an older derivation: one under an earlier layout, or one that counted fewer facts.
 * (Without it two overlapping runs can lose an acknowledged event: the slower one's `$merge` comes last.)
 * An equal derivation changes nothing; a row that moved raises the revision and makes planning due.
 * @param hasMoved whether planning has to look again: the quantity changed, or what else makes it due.
 * @param more further fields of the row.
 */
const fenceWith = (hasMoved: Document, more: Document = {}): Document[] => [
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
              revision: { $add: ['$revision', { $cond: [hasMoved, 1, 0] }] },
              planDue: { $cond: [hasMoved, '$$new.planDue', '$planDue'] },
              planned: '$planned',
              ...more,
            },
          ],
        },
      ],
    },
  },
];

const HAS_CHANGED: Document = { $ne: ['$quantity', '$$new.quantity'] };
const FENCE = fenceWith(HAS_CHANGED);
const HAS_NEW_LAYOUT: Document = { $lt: ['$layout', '$$new.layout'] };
const FENCE_BY_LAYOUT = fenceWith(
  { $or: [HAS_CHANGED, HAS_NEW_LAYOUT] },
  { relaid: { $cond: [HAS_NEW_LAYOUT, true, '$relaid'] } },
);

/** What the fence compares of a row, and the fields that a new row gets besides its derivation. */
export interface FencedRow {
  _id: object;
  layout: number;
  eventCount: number;
  uncountable?: number;
  quantity: Decimal128;
  planDue?: boolean;
}

const FENCED_FIELDS = { layout: 1, eventCount: 1, uncountable: 1, quantity: 1 };

/** Derived rows, and where they go. */
interface Derived<Row> {
  readonly db: Db;
  readonly into: string;
  readonly rows: readonly Row[];
  /** Called with the rows that differ from the stored ones, before they are written. */
  readonly before?: (rows: readonly Row[]) => Promise<void>;
  /** Makes planning due, and a row `relaid`, under each new layout, also where the quantity stayed; a new row of 0, too. */
  readonly isDueUnderNewLayout?: boolean;
}

/**
 * Stores derived rows under the fence. Reads what is stored first: a row that is stored as it is derived (most rows of
 * a run that is repeated) costs no write, and a new one a plain insert. Only the others cost a `$merge`, which takes
 * mongod about four times as long.
 */
export async function mergeDocuments<Row extends FencedRow>(
  input: Derived<Row>,
  session: ClientSession,
): Promise<void> {
  const collection = input.db.collection<FencedRow>(input.into);
  for (const rows of slicesOf(input.rows)) {
    const stored = await storedByKey(collection, rows, session);
    const fresh: Row[] = [];
    const changed: Row[] = [];
    for (const row of rows) {
      const found = stored.get(keyText(row._id));
      if (found === undefined) fresh.push(row);
      else if (!isDerivedAlike(found, row)) changed.push(row);
    }
    await input.before?.([...fresh, ...changed]);
    const isDueEmpty = input.isDueUnderNewLayout === true;
    const taken = await insertAbsent(
      collection,
      fresh.map((row) => toNewRow(row, isDueEmpty && row.layout > 0)),
      session,
    );
    await mergeFenced(input, [...changed, ...taken.map((index) => fresh[index] as Row)], session);
  }
}

async function storedByKey(
  collection: Collection<FencedRow>,
  slice: readonly FencedRow[],
  session: ClientSession,
): Promise<Map<string, FencedRow>> {
  const filter = { _id: { $in: slice.map(({ _id }) => _id) } } as unknown as Filter<FencedRow>;
  const found = await translated(
    collection
      .find(filter, { projection: FENCED_FIELDS, session, batchSize: REPLY_DOCUMENTS_MAX })
      .maxTimeMS(OPERATION_MS_MAX)
      .toArray(),
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

/** A new row; without a quantity it has nothing to plan, as a rule. */
function toNewRow({ planDue, ...row }: FencedRow, isDueEmpty: boolean): FencedRow & { revision: number } {
  const isDue = planDue === true && (isDueEmpty || !isZeroDecimal128(row.quantity));
  return { ...row, revision: 1, ...(isDue && { planDue }) };
}

async function mergeFenced(
  { db, into, isDueUnderNewLayout }: Omit<Derived<FencedRow>, 'rows' | 'before'>,
  slice: readonly FencedRow[],
  session: ClientSession,
): Promise<void> {
  if (slice.length === 0) return;
  const fence = isDueUnderNewLayout === true ? FENCE_BY_LAYOUT : FENCE;
  const stages = [
    { $documents: slice.map((row) => ({ $literal: row })) },
    // The row may be gone again, and is new then. An empty one keeps `planDue`: what was planned of it has to go back.
    { $set: { revision: 1 } },
    { $merge: { into, on: '_id', whenMatched: fence, whenNotMatched: 'insert' } },
  ];
  await translated(db.aggregate(stages, { session, maxTimeMS: OPERATION_MS_MAX }).toArray());
}
