import { type ClientSession, type Collection, type Db, Decimal128 } from 'mongodb';
import type { LiveGroup } from './live-usage.ts';
import { canonicalQuantity } from '../platform/quantity.ts';
import { translated } from '../platform/mongo/errors.ts';
import { mergeDocuments } from '../platform/mongo/fenced-merge.ts';
import { toFigure } from './stored-figure-store.ts';
import { rangeFilter, type RowRange } from './usage-aggregates-store.ts';
import type { GroupValue, RowKey } from './usage-derivation-store.ts';

/**
 * The groups of a window of a meter with `groupBy`, in one document, so that they are replaced together or not at all.
 * Groups beyond `GROUPS_PER_WINDOW_MAX` are added up under `other`.
 */
export interface UsageGroupsDocument {
  _id: RowKey;
  windowEnd: Date;
  layout: number;
  /** Facts over all groups: the fence compares it. */
  eventCount: number;
  /** The quantity over all groups where it adds up, else 0: what the fence compares besides. */
  quantity: Decimal128;
  groups: UsageGroup[];
  revision: number;
}

export interface UsageGroup {
  /** The values of the `groupBy` fields, in their order; null where the fact lacks one. */
  by: GroupValue[];
  /** Stands for the groups that were too many. */
  other?: true;
  quantity: Decimal128;
  eventCount: number;
  last?: { at: Date; id: string; value: Decimal128 };
  /** For `unique`: the distinct values, so that windows can be put together. */
  values?: string[];
}

export const USAGE_GROUPS = 'usage_groups';
/** Groups that one window keeps by name. */
export const GROUPS_PER_WINDOW_MAX = 100;

export class UsageGroups {
  readonly #db: Db;
  readonly #collection: Collection<UsageGroupsDocument>;

  constructor(db: Db) {
    this.#db = db;
    this.#collection = db.collection<UsageGroupsDocument>(USAGE_GROUPS);
  }

  mergeRows(rows: readonly Omit<UsageGroupsDocument, 'revision'>[], session: ClientSession): Promise<void> {
    return mergeDocuments({ db: this.#db, into: USAGE_GROUPS, rows }, session);
  }

  async range(query: RowRange, session?: ClientSession): Promise<UsageGroupsDocument[]> {
    return translated(
      this.#collection
        .find({ _id: rangeFilter(query) }, { ...(session && { session }) })
        .sort({ _id: 1 })
        .toArray(),
    );
  }
}

/** The groups of a document, each with its window's start. */
export function toLiveGroups(document: Pick<UsageGroupsDocument, '_id' | 'groups'>): LiveGroup[] {
  const periodFromMs = document._id.windowStart.getTime();
  return document.groups.map((group) => ({
    periodFromMs,
    by: group.by.map(toGroupKey),
    ...(group.other === true && { other: true as const }),
    figure: toFigure(group),
  }));
}

function toGroupKey(value: GroupValue): LiveGroup['by'][number] {
  return value instanceof Decimal128 ? { number: canonicalQuantity(value.toString()) } : value;
}
