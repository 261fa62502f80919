import { Binary, type Collection, type Db, Decimal128, MongoServerError } from 'mongodb';
import type { MeterCondition } from '../meters/meter.ts';
import { canonicalQuantity } from '../platform/quantity.ts';
import { fingerprintOf, type UsageEvent } from './usage-event.ts';
import { type EpochHour, epochHourOf } from '../customers/calendar/window.ts';
import { DURABLE } from '../platform/mongo/database.ts';
import { inBatches } from '../platform/mongo/cursor.ts';
import { toDecimal128 } from '../platform/mongo/decimal128.ts';
import { DUPLICATE_KEY_CODE, toStorageError, translated } from '../platform/mongo/errors.ts';
import { findBySlices } from '../platform/mongo/slices.ts';
import type { PropertyValue } from '../meters/property.ts';

/** The raw facts: append-only, one document an event. Its `_id` is the dedupe; no other field repeats the key. */
export interface UsageEventDocument {
  /** `idempotencyKey` + U+001F + `customerId`: neither can hold that character. */
  _id: string;
  customerId: string;
  eventType: string;
  occurredAt: Date;
  quantity: Decimal128;
  userId?: string;
  properties?: Record<string, StoredPropertyValue>;
  /** UTC epoch hour of `occurredAt`. */
  hour: EpochHour;
  receivedAt: Date;
  /** The id that it came under, where a person decided that its usage counts with this customer. */
  recordedAs?: string;
  /** 16 bytes over the canonical content: the same key with another fingerprint is a conflict. */
  fingerprint: Binary;
}

export type StoredPropertyValue = string | boolean | Decimal128;

export const USAGE_EVENTS = 'usage_events';
const KEY_SEPARATOR = '\u001f';

/** What became of one event: `stored-before` has the same key and is to be compared by fingerprint. */
export type InsertResult = 'inserted' | 'stored-before';

export function usageEventId(idempotencyKey: string, customerId: string): string {
  return `${idempotencyKey}${KEY_SEPARATOR}${customerId}`;
}

export function idempotencyKeyOf(id: string): string {
  return id.slice(0, id.indexOf(KEY_SEPARATOR));
}

export function toUsageEventDocument(event: UsageEvent, receivedAtMs: number): UsageEventDocument {
  const document: UsageEventDocument = {
    _id: usageEventId(event.idempotencyKey, event.customerId),
    customerId: event.customerId,
    eventType: event.eventType,
    occurredAt: new Date(event.occurredAtMs),
    quantity: toDecimal128(event.quantity),
    hour: epochHourOf(event.occurredAtMs),
    receivedAt: new Date(receivedAtMs),
    fingerprint: new Binary(fingerprintOf(event)),
  };
  if (event.userId !== undefined) document.userId = event.userId;
  if (event.properties !== undefined) document.properties = toStoredProperties(event.properties);
  return document;
}

/** The event that a document was made of. */
function toUsageEvent(document: UsageEventDocument): UsageEvent {
  const { properties } = document;
  return {
    idempotencyKey: idempotencyKeyOf(document._id),
    customerId: document.customerId,
    eventType: document.eventType,
    occurredAtMs: document.occurredAt.getTime(),
    quantity: canonicalQuantity(document.quantity.toString()),
    ...(document.userId !== undefined && { userId: document.userId }),
    ...(properties !== undefined && {
      properties: Object.entries(properties).map(([name, value]) => [name, toPropertyValue(value)] as const),
    }),
  };
}

export function toPropertyValue(value: StoredPropertyValue): PropertyValue {
  return value instanceof Decimal128 ? { number: canonicalQuantity(value.toString()) } : value;
}

/** The same event for another customer: same key and content, and so the same fingerprint. */
export function usageEventFor(customerId: string, event: UsageEventDocument, receivedAtMs: number): UsageEventDocument {
  return {
    ...event,
    _id: usageEventId(idempotencyKeyOf(event._id), customerId),
    customerId,
    receivedAt: new Date(receivedAtMs),
    recordedAs: event.customerId,
  };
}

function toStoredProperties(properties: NonNullable<UsageEvent['properties']>): Record<string, StoredPropertyValue> {
  const stored: Record<string, StoredPropertyValue> = {};
  for (const [name, value] of properties) stored[name] = toStoredProperty(value);
  return stored;
}

export function toStoredProperty(value: PropertyValue): StoredPropertyValue {
  return typeof value === 'object' ? toDecimal128(value.number) : value;
}

/** One raw event as the API shows it. */
export interface RawEvent {
  readonly idempotencyKey: string;
  readonly customerId: string;
  readonly eventType: string;
  readonly occurredAt: string;
  readonly receivedAt: string;
  readonly quantity: string;
  readonly userId?: string;
  readonly properties?: Record<string, string | boolean>;
}

export interface RawEventQuery {
  readonly customerId: string;
  /** Half-open, UTC milliseconds. */
  readonly fromMs: number;
  readonly toMs: number;
  readonly eventType?: string;
  /** Only events that satisfy all of these. */
  readonly where?: readonly MeterCondition[];
  /** Continue after this event. */
  readonly after?: RawEventPosition;
  readonly limit: number;
}

/** What the server answers to an `insert` that is not ordered. */
interface InsertReply {
  readonly writeErrors?: readonly { readonly index: number; readonly code: number; readonly errmsg: string }[];
  readonly writeConcernError?: { readonly code: number; readonly errmsg: string };
}

export class UsageEvents {
  readonly #db: Db;
  readonly #collection: Collection<UsageEventDocument>;

  constructor(db: Db) {
    this.#db = db;
    this.#collection = db.collection<UsageEventDocument>(USAGE_EVENTS);
  }

  /**
   * Inserts a commit, each event on its own. Returns per event whether it was new, and only when every insert is
   * durable by majority and journal or was refused as a duplicate.
   *
   * The command itself, since `insertMany` serialises each document apart and then copies it: half as much again of this
   * process's time. Like it, a refused write concern fails the whole commit; unlike it, nothing is sent a second time
   * while the primary changes: the caller's caller does that.
   * @param documents at most 1,000: with the bounds of an event they fit into one command of 16 MiB.
   */
  async insertAll(documents: readonly UsageEventDocument[]): Promise<InsertResult[]> {
    const results = documents.map((): InsertResult => 'inserted');
    if (documents.length === 0) return results;
    const reply = await translated(
      this.#db.command({
        insert: USAGE_EVENTS,
        documents,
        ordered: false,
        writeConcern: DURABLE,
      }) as Promise<InsertReply>,
    );
    const failure = reply.writeConcernError ?? reply.writeErrors?.find(({ code }) => code !== DUPLICATE_KEY_CODE);
    if (failure !== undefined) throw toStorageError(new MongoServerError({ ...failure }));
    for (const { index } of reply.writeErrors ?? []) results[index] = 'stored-before';
    return results;
  }

  /** The fingerprints of those ids that are stored durably (a majority read: an event that may be rolled back is not). */
  async fingerprintsOf(ids: readonly string[]): Promise<Map<string, Buffer>> {
    const options = { projection: { fingerprint: 1 } };
    const found = await findBySlices(ids, (slice) =>
      translated(this.#collection.find({ _id: { $in: slice } }, options).toArray()),
    );
    return new Map(found.map((document) => [document._id, Buffer.from(document.fingerprint.buffer)]));
  }

  /** Those of these ids that are stored durably, as they were taken. */
  async find(ids: readonly string[]): Promise<Map<string, UsageEvent>> {
    const found = await findBySlices(ids, (slice) =>
      translated(this.#collection.find({ _id: { $in: slice } }).toArray()),
    );
    return new Map(found.map((document) => [document._id, toUsageEvent(document)]));
  }

  /** The events of a customer's hour, in batches, in no order. */
  ofHour(customerId: string, hour: EpochHour, batchSize: number): AsyncGenerator<UsageEventDocument[]> {
    return inBatches(this.#collection.find({ hour, customerId }), batchSize);
  }

  /** A customer's raw events in time order, then by key. Reads day by day, so that a page costs what it returns. */
  async list(query: RawEventQuery): Promise<UsageEventDocument[]> {
    const found: UsageEventDocument[] = [];
    const conditions = (query.where ?? []).map(({ property, in: values }) => ({
      [`properties.${property}`]: { $in: values.map(toStoredProperty) },
    }));
    const lastHour = epochHourOf(query.toMs - 1);
    // A position comes from outside: one before the range is no place to begin.
    let hour = epochHourOf(Math.max(query.fromMs, query.after?.occurredAtMs ?? query.fromMs));
    while (hour <= lastHour && found.length < query.limit) {
      const hourTo = Math.min(hour + 24, lastHour + 1);
      const page = await translated(
        this.#collection
          .find({
            hour: { $gte: hour, $lt: hourTo },
            customerId: query.customerId,
            occurredAt: { $gte: new Date(query.fromMs), $lt: new Date(query.toMs) },
            ...(query.eventType !== undefined && { eventType: query.eventType }),
            ...(conditions.length > 0 && { $and: conditions }),
            ...(query.after !== undefined && {
              $or: [
                { occurredAt: { $gt: new Date(query.after.occurredAtMs) } },
                { occurredAt: new Date(query.after.occurredAtMs), _id: { $gt: query.after.id } },
              ],
            }),
          })
          .sort({ occurredAt: 1, _id: 1 })
          .limit(query.limit - found.length)
          .toArray(),
      );
      found.push(...page);
      hour = hourTo;
    }
    return found;
  }
}

/** Where a page of raw events ended. */
export interface RawEventPosition {
  readonly occurredAtMs: number;
  readonly id: string;
}

export function toRawEvent(document: UsageEventDocument): RawEvent {
  return {
    idempotencyKey: idempotencyKeyOf(document._id),
    customerId: document.customerId,
    eventType: document.eventType,
    occurredAt: document.occurredAt.toISOString(),
    receivedAt: document.receivedAt.toISOString(),
    quantity: canonicalQuantity(document.quantity.toString()),
    ...(document.userId !== undefined && { userId: document.userId }),
    ...(document.properties !== undefined && {
      properties: Object.fromEntries(
        Object.entries(document.properties).map(([name, value]) => [
          name,
          value instanceof Decimal128 ? canonicalQuantity(value.toString()) : value,
        ]),
      ),
    }),
  };
}
