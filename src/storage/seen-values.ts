import type { Collection, Db } from 'mongodb';
import type { SeenValue } from '../domain/silent-condition.ts';
import { OPERATION_MS_MAX } from './database.ts';
import { translated } from './errors.ts';
import {
  type StoredPropertyValue,
  toPropertyValue,
  toStoredProperty,
  USAGE_EVENTS,
  type UsageEventDocument,
} from './usage-events.ts';

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
   * Which of these values the latest `LATEST_EVENTS_MAX` events have. One statement along the index by hour; none where
   * there is nothing to look for.
   */
  async among(values: readonly SeenValue[]): Promise<SeenValue[]> {
    if (values.length === 0) return [];
    const distinct = <T>(all: readonly T[]): T[] => [...new Set(all)];
    const found = await translated(
      this.#events
        .aggregate<FoundValue>(
          [
            { $sort: { hour: -1, customerId: -1 } },
            { $limit: LATEST_EVENTS_MAX },
            { $match: { eventType: { $in: distinct(values.map(({ eventType }) => eventType)) } } },
            { $project: { eventType: 1, property: { $objectToArray: '$properties' } } },
            { $unwind: '$property' },
            {
              $match: {
                'property.k': { $in: distinct(values.map(({ property }) => property)) },
                'property.v': { $in: values.map(({ value }) => toStoredProperty(value)) },
              },
            },
            { $group: { _id: { eventType: '$eventType', property: '$property.k', value: '$property.v' } } },
          ],
          { maxTimeMS: OPERATION_MS_MAX },
        )
        .toArray(),
    );
    return found.map(({ _id: { eventType, property, value } }) => {
      return { eventType, property, value: toPropertyValue(value) };
    });
  }
}
