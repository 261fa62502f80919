import type { ClientSession, Collection, Db, Document, Filter } from 'mongodb';
import { type EpochHour, epochHourOf, type CustomerHour } from '../customers/calendar/window.ts';
import { inBatches } from '../platform/mongo/cursor.ts';
import { translated } from '../platform/mongo/errors.ts';
import { slicesOf } from '../platform/mongo/slices.ts';
import {
  type StoredAdjustment,
  toStoredAdjustment,
  USAGE_ADJUSTMENTS,
  type UsageAdjustmentDocument,
} from './usage-adjustments-store.ts';
import {
  type RawEvent,
  type RawEventQuery,
  toRawEvent,
  USAGE_EVENTS,
  type UsageEventDocument,
  UsageEvents,
} from './usage-events-store.ts';

/** One raw fact: a usage event or an adjustment. */
export type RawFact =
  | { readonly kind: 'event'; readonly event: RawEvent }
  | { readonly kind: 'adjustment'; readonly adjustment: StoredAdjustment };

/** Where a page of facts ended. An event and an adjustment of one instant may have the same id; the event comes first. */
export interface RawFactPosition {
  readonly occurredAtMs: number;
  readonly id: string;
  readonly kind: RawFact['kind'];
}

export interface RawFactQuery extends Omit<RawEventQuery, 'after'> {
  /** Only adjustments of this meter. */
  readonly meter?: string;
  readonly after?: RawFactPosition;
}

export interface RawHoursQuery {
  readonly fromHour: EpochHour;
  readonly toHour?: EpochHour;
  readonly customerId?: string;
  readonly customerIds?: readonly string[];
  readonly eventType?: string;
  readonly batchSize: number;
}

interface Placed {
  readonly position: RawFactPosition;
  readonly fact: RawFact;
}

/** Usage events and adjustments as the one thing that everything else is derived from. */
export class RawFacts {
  readonly #db: Db;
  readonly #events: UsageEvents;
  readonly #adjustments: Collection<UsageAdjustmentDocument>;

  constructor(db: Db) {
    this.#db = db;
    this.#events = new UsageEvents(db);
    this.#adjustments = db.collection<UsageAdjustmentDocument>(USAGE_ADJUSTMENTS);
  }

  /** A page of a customer's facts in time order, then by key; `next` is where another begins, if there is more. */
  async page(query: RawFactQuery): Promise<{ facts: RawFact[]; next?: RawFactPosition }> {
    const { meter: _, ...ofEvents } = query;
    const limit = query.limit + 1;
    const events = await this.#events.list({ ...ofEvents, limit });
    const adjustments = await this.#listAdjustments({ ...query, limit });
    const placed = [...events.map(placeEvent), ...adjustments.map(placeAdjustment)].sort(byPlace);
    const shown = placed.slice(0, query.limit);
    const last = shown.at(-1);
    return {
      facts: shown.map(({ fact }) => fact),
      ...(last !== undefined && placed.length > shown.length && { next: last.position }),
    };
  }

  async #listAdjustments(query: RawFactQuery): Promise<UsageAdjustmentDocument[]> {
    const { customerId, meter, fromMs, toMs, after } = query;
    const firstHour = epochHourOf(Math.max(fromMs, after?.occurredAtMs ?? fromMs));
    const filter: Filter<UsageAdjustmentDocument> = {
      hour: { $gte: firstHour, $lte: epochHourOf(toMs - 1) },
      customerId,
      occurredAt: { $gte: new Date(fromMs), $lt: new Date(toMs) },
      ...(meter !== undefined && { meter }),
      ...(after !== undefined && {
        $or: [
          { occurredAt: { $gt: new Date(after.occurredAtMs) } },
          {
            occurredAt: new Date(after.occurredAtMs),
            _id: after.kind === 'event' ? { $gte: after.id } : { $gt: after.id },
          },
        ],
      }),
    };
    const inOrder = this.#adjustments.find(filter).sort({ occurredAt: 1, _id: 1 });
    return translated(inOrder.limit(query.limit).toArray());
  }

  /**
   * The distinct (hour, customer) pairs that hold facts, from an hour on; of one customer, of some or of all. Streams
   * them in batches. With an event type those of its events; adjustments have none, and are always among them.
   */
  async *pairsFrom(query: RawHoursQuery, session?: ClientSession): AsyncGenerator<CustomerHour[]> {
    const { customerId, customerIds, ...rest } = query;
    if (customerIds === undefined) {
      yield* this.#pairsOf(rest, customerId === undefined ? {} : { customerId }, session);
      return;
    }
    for (const slice of slicesOf(customerIds)) yield* this.#pairsOf(rest, { customerId: { $in: slice } }, session);
  }

  #pairsOf(
    query: Omit<RawHoursQuery, 'customerId' | 'customerIds'>,
    customers: Document,
    session?: ClientSession,
  ): AsyncGenerator<CustomerHour[]> {
    const { eventType } = query;
    const range: Document = {
      hour: { $gte: query.fromHour, ...(query.toHour !== undefined && { $lt: query.toHour }) },
      ...customers,
    };
    const group = { $group: { _id: { hour: '$hour', customerId: '$customerId' } } };
    const cursor = this.#db
      .collection(USAGE_EVENTS)
      .aggregate<CustomerHour>(
        [
          { $match: { ...range, ...(eventType !== undefined && { eventType }) } },
          group,
          { $unionWith: { coll: USAGE_ADJUSTMENTS, pipeline: [{ $match: range }, group] } },
          { $group: { _id: '$_id' } },
          { $replaceRoot: { newRoot: '$_id' } },
        ],
        { allowDiskUse: true, ...(session && { session }) },
      );
    return inBatches(cursor, query.batchSize);
  }
}

function placeEvent(document: UsageEventDocument): Placed {
  const { _id: id, occurredAt } = document;
  const position = { occurredAtMs: occurredAt.getTime(), id, kind: 'event' as const };
  return { position, fact: { kind: 'event', event: toRawEvent(document) } };
}

function placeAdjustment(document: UsageAdjustmentDocument): Placed {
  const { _id: id, occurredAt } = document;
  const position = { occurredAtMs: occurredAt.getTime(), id, kind: 'adjustment' as const };
  return { position, fact: { kind: 'adjustment', adjustment: toStoredAdjustment(document) } };
}

/** As the server sorts: by instant, then by the bytes of the id; of two with one id the event comes first. */
function byPlace({ position: a }: Placed, { position: b }: Placed): number {
  return (
    a.occurredAtMs - b.occurredAtMs ||
    Buffer.compare(Buffer.from(a.id), Buffer.from(b.id)) ||
    Number(a.kind === 'adjustment') - Number(b.kind === 'adjustment')
  );
}
