import type { ClientSession, Db, Document } from 'mongodb';
import { type BillingCustomer, unknownCustomer } from '../customers/calendar/billing-customer.ts';
import { groupBy } from '../platform/grouping.ts';
import type { LiveGroup, LiveUnit, LiveWindow } from './live-usage.ts';
import type { Meter } from '../meters/meter.ts';
import type { Period } from '../customers/calendar/period.ts';
import type { EpochHour } from '../customers/calendar/window.ts';
import { Customers, toBillingCustomer } from '../customers/customers-store.ts';
import { OPERATION_MS_MAX, withCausalSession } from '../platform/mongo/database.ts';
import type { DerivationScope } from '../usage/derivation-scope-store.ts';
import { DerivedGroups } from './derived-groups-store.ts';
import { DerivedUnique } from './derived-unique-store.ts';
import { DirtyHours } from '../usage/dirty-hours-store.ts';
import { translated } from '../platform/mongo/errors.ts';
import { Meters, toMeter } from '../meters/meters-store.ts';
import { toFigure } from './stored-figure-store.ts';
import { UNIQUE_VALUES } from './unique-values-store.ts';
import { rangeFilter, type RowRange, UsageAggregates } from './usage-aggregates-store.ts';
import { type DerivedRow, UsageDerivation } from './usage-derivation-store.ts';
import { toLiveGroups, UsageGroups } from './usage-groups-store.ts';

/** Windows of one customer and meter that begin in a half-open range of instants. */
export interface LiveRange {
  readonly customerId: string;
  readonly meter: Meter;
  readonly period: Period;
}

/** Hours and parts of hours of one customer and meter to be derived from raw facts. */
export interface LiveRaw {
  readonly customerId: string;
  readonly meter: Meter;
  readonly layout: number;
  readonly rawHours: readonly EpochHour[];
  readonly rawWindows: readonly { readonly hour: EpochHour; readonly window: Period }[];
}

/** Hours derived by one statement. */
const HOURS_PER_STATEMENT = 1_000;

/**
 * What live figures are made of, read in one causally consistent session: what is read later is never older than what
 * was read before. So an hour that the journal did not name has rows that are up to date when they are read.
 */
export class LiveUsage {
  readonly #db: Db;
  readonly #session: ClientSession;
  readonly #derivation: UsageDerivation;

  constructor(db: Db, session: ClientSession) {
    this.#db = db;
    this.#session = session;
    this.#derivation = new UsageDerivation(db);
  }

  /** A customer, known or not. The revision is 0 for one nobody told us about. */
  async customer(
    customerId: string,
  ): Promise<{ billing: BillingCustomer; revision: number; requeueFromMs?: number | undefined }> {
    const found = await new Customers(this.#db).find(customerId, this.#session);
    if (found === null) return { billing: unknownCustomer(customerId), revision: 0 };
    return {
      billing: toBillingCustomer(found),
      revision: found.revision,
      requeueFromMs: found.requeueFrom?.getTime(),
    };
  }

  /** All meters, by key. */
  async meters(): Promise<{ meter: Meter; requeueFromMs?: number | undefined }[]> {
    const found = await translated(new Meters(this.#db).list(this.#session));
    return found.map((document) => ({ meter: toMeter(document), requeueFromMs: document.requeueFrom?.getTime() }));
  }

  /** The customer's hours that wait in the journal. */
  waitingHours(query: { customerId: string; fromHour: EpochHour; toHour: EpochHour }): Promise<Set<EpochHour>> {
    return translated(new DirtyHours(this.#db).waitingHoursOf(query, this.#session));
  }

  /** Stored rows of several meters of a customer, by meter; also empty ones. One statement for very many of them. */
  async storedWindows(ranges: readonly LiveRange[]): Promise<Map<string, LiveWindow[]>> {
    const found = new Map<string, LiveWindow[]>();
    for await (const rows of new UsageAggregates(this.#db).ranges(ranges.map(toRowRange), this.#session)) {
      for (const row of rows) addTo(found, row._id.meter, toWindow(row));
    }
    return found;
  }

  /** Stored groups, also of windows that no longer exist. */
  async storedGroups(range: LiveRange): Promise<LiveGroup[]> {
    const documents = await translated(new UsageGroups(this.#db).range(toRowRange(range), this.#session));
    return documents.flatMap(toLiveGroups);
  }

  /** The distinct values that a `unique` meter stored: once for each UTC day, or once for the range. */
  async *storedValues(range: LiveRange, unit: LiveUnit): AsyncGenerator<{ fromMs: number; value: string }> {
    const from =
      unit === 'day' ? { $dateTrunc: { date: '$_id.windowStart', unit: 'day' } } : { $literal: range.period.fromMs };
    const stages: Document[] = [
      { $match: { _id: rangeFilter(toRowRange(range)) } },
      { $group: { _id: { value: '$_id.value', from } } },
    ];
    const cursor = this.#db
      .collection(UNIQUE_VALUES)
      .aggregate<{ _id: { value: string; from: Date | number } }>(stages, {
        session: this.#session,
        maxTimeMS: OPERATION_MS_MAX,
        allowDiskUse: true,
      });
    for (const { _id } of await translated(cursor.toArray())) yield { fromMs: Number(_id.from), value: _id.value };
  }

  /**
   * Windows derived from raw facts, by meter; those without any are left out. `unique` ones come with their values. One
   * statement for all meters of an event type whose facts are the same, and for each `unique` one.
   */
  async rawWindows(raws: readonly LiveRaw[]): Promise<Map<string, LiveWindow[]>> {
    const found = new Map<string, LiveWindow[]>();
    for (const alike of groupBy(raws, factsText).values()) {
      const meters = alike.map(({ meter }) => meter);
      const [first] = alike;
      if (first === undefined) continue;
      for (const scope of scopesOf(first)) {
        const inOnePass = meters.filter(({ aggregation }) => aggregation !== 'unique');
        const rows = await this.#derivation.rows(scope, inOnePass, this.#session);
        for (const row of rows) addTo(found, row._id.meter, toWindow(row));
        for (const meter of meters.filter(({ aggregation }) => aggregation === 'unique')) {
          for (const window of await this.#uniqueWindows(scope, meter)) addTo(found, meter.key, window);
        }
      }
    }
    return found;
  }

  async #uniqueWindows(scope: DerivationScope, meter: Meter): Promise<LiveWindow[]> {
    const unique = new DerivedUnique(this.#db, this.#derivation);
    const { rows, values } = await unique.read(scope, meter, this.#session);
    const byWindow = groupBy(values, ({ _id }) => _id.windowStart.getTime());
    return rows.map((row) => {
      const own = byWindow.get(row._id.windowStart.getTime()) ?? [];
      const window = toWindow(row);
      return { ...window, figure: { ...window.figure, values: own.map(({ _id }) => _id.value) } };
    });
  }

  /** Groups derived from raw facts. */
  async rawGroups(raw: LiveRaw): Promise<LiveGroup[]> {
    const derived = new DerivedGroups(this.#db, this.#derivation);
    const found: LiveGroup[] = [];
    for (const scope of scopesOf(raw)) {
      const documents = await derived.read(scope, raw.meter, this.#session);
      found.push(...documents.flatMap(toLiveGroups));
    }
    return found;
  }
}

/** Runs `work` with the reads of one live answer. */
export function withLiveUsage<T>(db: Db, work: (usage: LiveUsage) => Promise<T>): Promise<T> {
  return withCausalSession(db, (session) => work(new LiveUsage(db, session)));
}

/** The same for meters that are derived from the same facts. */
function factsText({ meter, rawHours, rawWindows, layout }: LiveRaw): string {
  return JSON.stringify([meter.eventType, layout, rawHours, rawWindows]);
}

function addTo<T>(lists: Map<string, T[]>, key: string, item: T): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [item]);
  else list.push(item);
}

function scopesOf(raw: LiveRaw): DerivationScope[] {
  const { layout } = raw;
  const customerIds = [raw.customerId];
  const scopes: DerivationScope[] = raw.rawWindows.map(({ hour, window }) => ({
    cells: [{ hour, customerIds }],
    window,
    layout,
  }));
  for (let from = 0; from < raw.rawHours.length; from += HOURS_PER_STATEMENT) {
    const hours = raw.rawHours.slice(from, from + HOURS_PER_STATEMENT);
    scopes.push({ cells: hours.map((hour) => ({ hour, customerIds })), layout });
  }
  return scopes;
}

function toRowRange({ customerId, meter, period }: LiveRange): RowRange {
  return { customerId, meter: meter.key, from: new Date(period.fromMs), to: new Date(period.toMs) };
}

function toWindow(row: DerivedRow): LiveWindow {
  return {
    period: { fromMs: row._id.windowStart.getTime(), toMs: row.windowEnd.getTime() },
    figure: toFigure(row),
  };
}
