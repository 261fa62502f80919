import type { Collection, Db } from 'mongodb';
import type { SeenValue } from './silent-condition.ts';
import { OPERATION_MS_MAX } from '../platform/mongo/database.ts';
import { translated } from '../platform/mongo/errors.ts';
import { findBySlices } from '../platform/mongo/slices.ts';
import {
  type StoredPropertyValue,
  toPropertyValue,
  toStoredProperty,
  USAGE_EVENTS,
  type UsageEventDocument,
} from './usage-events-store.ts';
import type { PropertyValue } from '../meters/property.ts';

/** Events that are looked at, the latest by hour, of every type: so the cost does not grow with what is stored. */
export const LATEST_EVENTS_MAX = 2_000;

interface FoundValue {
  readonly _id: { readonly eventType: string; readonly property: string; readonly value: StoredPropertyValue };
}

/** What recent events hold. */
export class SeenValues {
  readonly #events: Collection<UsageEventDocument>;

  constructor(db: Db) {
    this.#events = db.collection<UsageEventDocument>(USAGE_EVENTS);
  }

  /**
   * Which of these values the latest `LATEST_EVENTS_MAX` events have, in whichever property. A statement along the index by
   * hour for each slice of the values, nearly always one; none where there is nothing to look for.
   */
  async among(values: readonly PropertyValue[]): Promise<SeenValue[]> {
    const distinct = [...new Map(values.map((value) => [JSON.stringify(value), value])).values()];
    const found = await findBySlices(distinct.map(toStoredProperty), (slice) =>
      translated(
        this.#events
          .aggregate<FoundValue>(
            [
              { $sort: { hour: -1, customerId: -1 } },
              { $limit: LATEST_EVENTS_MAX },
              { $project: { eventType: 1, property: { $objectToArray: '$properties' } } },
              { $unwind: '$property' },
              { $match: { 'property.v': { $in: slice } } },
              { $group: { _id: { eventType: '$eventType', property: '$property.k', value: '$property.v' } } },
            ],
            { maxTimeMS: OPERATION_MS_MAX },
          )
          .toArray(),
      ),
    );
    return found.map(({ _id: { eventType, property, value } }) => {
      return { eventType, property, value: toPropertyValue(value) };
    });
  }
}
