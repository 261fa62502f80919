import type { ClientSession, Collection, Db, Decimal128 } from 'mongodb';
import { isAdditive, type Meter } from '../meters/meter.ts';
import { canonicalQuantity, type Quantity } from '../platform/quantity.ts';
import type { EpochHour } from '../customers/calendar/window.ts';
import { DaemonError } from '../platform/errors.ts';
import { REPLY_DOCUMENTS_MAX } from '../platform/mongo/cursor.ts';
import { OPERATION_MS_MAX } from '../platform/mongo/database.ts';
import { type DerivationScope, factsOf } from './derivation-scope-store.ts';
import { translated } from '../platform/mongo/errors.ts';
import { USAGE_ADJUSTMENTS, type UsageAdjustmentDocument } from './usage-adjustments-store.ts';

/** What the adjustments of a meter in a customer's hour (or the scope's part of it) come to. */
export interface AdjustmentTotal {
  readonly customerId: string;
  readonly hour: EpochHour;
  readonly meter: string;
  readonly count: number;
  readonly quantity: Quantity;
}

/** How often the events are read again because adjustments of the same hours were stored meanwhile. */
const READS_MAX = 5;

/** The adjustments beside the events of a derivation. */
export class AdjustmentTotals {
  readonly #collection: Collection<UsageAdjustmentDocument>;

  constructor(db: Db) {
    this.#collection = db.collection<UsageAdjustmentDocument>(USAGE_ADJUSTMENTS);
  }

  /**
   * Reads events, and the adjustments that belong to them, as of one moment. The fence (see fenced-merge) takes of two
   * derivations the one that counted more facts for the newer; that holds only if neither read one collection later and
   * the other earlier. Adjustments are only ever added: where there are none after the events were read there were none
   * before, and where there are as many after as before, they are the same.
   * @throws DaemonError `usage_changing` when adjustments keep arriving.
   */
  async readBeside<T>(
    of: { scope: DerivationScope; meters: readonly Meter[]; readEvents: () => Promise<T> },
    session: ClientSession,
  ): Promise<{ events: T; totals: AdjustmentTotal[] }> {
    const keys = of.meters.filter(({ aggregation }) => isAdditive(aggregation)).map(({ key }) => key);
    if (keys.length === 0) return { events: await of.readEvents(), totals: [] };
    let before = 0;
    for (let reads = 0; reads < READS_MAX; reads += 1) {
      const events = await of.readEvents();
      const totals = await this.#read(of.scope, keys, session);
      const after = totals.reduce((sum, { count }) => sum + count, 0);
      if (after === before) return { events, totals };
      before = after;
    }
    throw new DaemonError({
      kind: 'transient',
      code: 'usage_changing',
      message: 'Adjustments of this usage arrived while it was read. Try again.',
    });
  }

  async #read(scope: DerivationScope, meters: readonly string[], session: ClientSession): Promise<AdjustmentTotal[]> {
    if (!(await this.#mayExist(scope, session))) return [];
    const found = await translated(
      this.#collection
        .aggregate<GroupedAdjustments>(
          [
            { $match: { ...factsOf(scope), meter: { $in: meters } } },
            {
              $group: {
                _id: { customerId: '$customerId', hour: '$hour', meter: '$meter' },
                count: { $sum: 1 },
                quantity: { $sum: '$quantity' },
              },
            },
          ],
          { session, maxTimeMS: OPERATION_MS_MAX, batchSize: REPLY_DOCUMENTS_MAX },
        )
        .toArray(),
    );
    return found.map(({ _id, count, quantity }) => ({
      ..._id,
      count,
      quantity: canonicalQuantity(quantity.toString()),
    }));
  }

  /** Most derivations have none: one look at the index tells, where the statement above would name every cell again. */
  async #mayExist({ cells }: DerivationScope, session: ClientSession): Promise<boolean> {
    let [from, to] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    for (const { hour } of cells) {
      from = Math.min(from, hour);
      to = Math.max(to, hour);
    }
    const found = await translated(
      this.#collection.findOne({ hour: { $gte: from, $lte: to } }, { session, projection: { _id: 1 } }),
    );
    return found !== null;
  }
}

interface GroupedAdjustments {
  _id: { customerId: string; hour: EpochHour; meter: string };
  count: number;
  quantity: Decimal128;
}
