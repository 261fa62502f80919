import type { ClientSession, Collection, Db } from 'mongodb';
import {
  type Aggregation,
  type EventField,
  formatEventField,
  type LateUsagePolicy,
  type Meter,
  type MeterCondition,
  parseEventField,
} from './meter.ts';
import { defect } from '../platform/errors.ts';
import { isDuplicateKey, toStorageError, translated } from '../platform/mongo/errors.ts';

export interface MeterDocument {
  _id: string;
  displayName: string;
  unit: string;
  eventType: string;
  aggregation: Aggregation;
  valueFrom: string;
  uniqueBy?: string;
  where: MeterCondition[];
  groupBy: string[];
  effectiveFrom?: Date;
  lateUsage: LateUsagePolicy;
  stripe?: { eventName: string };
  archivedFrom?: Date;
  formerStripe?: { eventName: string };
  /** Set by the first run that derives with it; from then on what it counts is fixed. */
  usedAt?: Date;
  /** Unset once the hours of events that came before the meter are queued. */
  requeueFrom?: Date;
  revision: number;
  createdAt: Date;
  updatedAt: Date;
}

export const METERS = 'meters';

export class Meters {
  readonly #collection: Collection<MeterDocument>;

  constructor(db: Db) {
    this.#collection = db.collection<MeterDocument>(METERS);
  }

  find(key: string): Promise<MeterDocument | null> {
    return translated(this.#collection.findOne({ _id: key }));
  }

  /** All meters, by key. */
  async list(session?: ClientSession): Promise<MeterDocument[]> {
    return translated(
      this.#collection
        .find({}, { ...(session && { session }) })
        .sort({ _id: 1 })
        .toArray(),
    );
  }

  /** Inserts a new meter or replaces the given revision, which must not have been used meanwhile. */
  async save(
    document: MeterDocument,
    previous: MeterDocument | undefined,
  ): Promise<'saved' | 'changed' | 'event-name-taken'> {
    try {
      if (previous === undefined) {
        await this.#collection.insertOne(document);
        return 'saved';
      }
      const result = await this.#collection.replaceOne(
        {
          _id: document._id,
          revision: previous.revision,
          usedAt: previous.usedAt ?? { $exists: false },
        },
        document,
      );
      return result.matchedCount === 1 ? 'saved' : 'changed';
    } catch (error) {
      if (!isDuplicateKey(error)) throw toStorageError(error);
      const pattern = JSON.stringify((error as { keyPattern?: unknown }).keyPattern ?? {});
      return pattern.includes('eventName') ? 'event-name-taken' : 'changed';
    }
  }

  /**
   * The meters to derive with, in the form they will keep: each is first marked as used in the revision that was read,
   * so that a change made at the same time is either seen here or refused there.
   */
  async use(at: Date, session: ClientSession): Promise<Meter[]> {
    for (;;) {
      const documents = await this.list(session);
      const fresh = documents.filter((document) => document.usedAt === undefined);
      let changed = false;
      for (const { _id, revision } of fresh) {
        const used = { $set: { usedAt: at } };
        const result = await translated(this.#collection.updateOne({ _id, revision }, used, { session }));
        changed ||= result.matchedCount === 0;
      }
      if (!changed) return documents.map(toMeter);
    }
  }

  count(): Promise<number> {
    return translated(this.#collection.countDocuments({}));
  }

  /** Those whose earlier events are still to be queued. */
  listToRequeue(): Promise<MeterDocument[]> {
    return translated(this.#collection.find({ requeueFrom: { $exists: true } }).toArray());
  }

  async finishRequeue(key: string, revision: number): Promise<void> {
    await translated(this.#collection.updateOne({ _id: key, revision }, { $unset: { requeueFrom: 1 } }));
  }
}

export function toMeter(document: MeterDocument): Meter {
  return {
    key: document._id,
    displayName: document.displayName,
    unit: document.unit,
    eventType: document.eventType,
    aggregation: document.aggregation,
    valueFrom: fieldOf(document.valueFrom),
    ...(document.uniqueBy !== undefined && { uniqueBy: fieldOf(document.uniqueBy) }),
    where: document.where,
    groupBy: document.groupBy.map(fieldOf),
    ...(document.effectiveFrom !== undefined && { effectiveFromMs: document.effectiveFrom.getTime() }),
    createdAtMs: document.createdAt.getTime(),
    lateUsage: document.lateUsage,
    ...(document.archivedFrom !== undefined && { archivedFromMs: document.archivedFrom.getTime() }),
    ...(document.stripe !== undefined && { stripe: document.stripe }),
  };
}

/** @internal For tests; the daemon stores definitions as they were put. */
export function toMeterDocument(meter: Meter, at: { revision: number; updatedAt: Date }): MeterDocument {
  return {
    _id: meter.key,
    displayName: meter.displayName,
    unit: meter.unit,
    eventType: meter.eventType,
    aggregation: meter.aggregation,
    valueFrom: formatEventField(meter.valueFrom),
    ...(meter.uniqueBy !== undefined && { uniqueBy: formatEventField(meter.uniqueBy) }),
    where: [...meter.where],
    groupBy: meter.groupBy.map(formatEventField),
    ...(meter.effectiveFromMs !== undefined && { effectiveFrom: new Date(meter.effectiveFromMs) }),
    lateUsage: meter.lateUsage,
    ...(meter.archivedFromMs !== undefined && { archivedFrom: new Date(meter.archivedFromMs) }),
    ...(meter.stripe !== undefined && { stripe: { eventName: meter.stripe.eventName } }),
    revision: at.revision,
    createdAt: new Date(meter.createdAtMs),
    updatedAt: at.updatedAt,
  };
}

function fieldOf(text: string): EventField {
  const field = parseEventField(text);
  if (field === undefined) throw defect('A stored meter names no field of an event.', { text });
  return field;
}
