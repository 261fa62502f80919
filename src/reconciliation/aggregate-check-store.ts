import type { ClientSession, Db, Decimal128 } from 'mongodb';
import type { DerivationStep } from '../aggregation/derivation-plan.ts';
import { groupBy } from '../platform/grouping.ts';
import { canonicalQuantity } from '../platform/quantity.ts';
import { type EpochHour, epochHourOf, type CustomerHour } from '../customers/calendar/window.ts';
import { HOUR_MS } from '../platform/durations.ts';
import { withCausalSession } from '../platform/mongo/database.ts';
import { DerivedUnique } from '../aggregation/derived-unique-store.ts';
import { DirtyHours, toPairText } from '../usage/dirty-hours-store.ts';
import { RawFacts } from '../usage/raw-facts-store.ts';
import { UsageAggregates } from '../aggregation/usage-aggregates-store.ts';
import { type DerivedRow, type RowKey, rowKey, UsageDerivation } from '../aggregation/usage-derivation-store.ts';

/** A stored row next to what raw facts come to. */
export interface AggregateDifference {
  readonly customerId: string;
  readonly meter: string;
  readonly hour: EpochHour;
  readonly stored: { readonly quantity: string; readonly eventCount: number };
  readonly raw: { readonly quantity: string; readonly eventCount: number };
}

const HOURS_PER_BATCH = 500;
const DISTANT_FUTURE = new Date(8.64e15);
const NONE = { quantity: '0', eventCount: 0 };

/** Holds stored aggregates against a fresh derivation. Reads only, but for what it queues. */
export class AggregateChecks {
  readonly #db: Db;
  readonly #facts: RawFacts;
  readonly #dirtyHours: DirtyHours;
  readonly #aggregates: UsageAggregates;
  readonly #derivation: UsageDerivation;
  readonly #unique: DerivedUnique;

  constructor(db: Db) {
    this.#db = db;
    this.#facts = new RawFacts(db);
    this.#dirtyHours = new DirtyHours(db);
    this.#aggregates = new UsageAggregates(db);
    this.#derivation = new UsageDerivation(db);
    this.#unique = new DerivedUnique(db, this.#derivation);
  }

  rawHours(customerId: string, fromHour: EpochHour): AsyncGenerator<CustomerHour[]> {
    return this.#facts.pairsFrom({ customerId, fromHour, batchSize: HOURS_PER_BATCH });
  }

  waitingHours(customerId: string, fromHour: EpochHour): Promise<Set<EpochHour>> {
    return withCausalSession(this.#db, (session) =>
      this.#dirtyHours.waitingHoursOf({ customerId, fromHour, toHour: Number.MAX_SAFE_INTEGER }, session),
    );
  }

  async requeue(pairs: readonly CustomerHour[], at: Date): Promise<void> {
    await this.#dirtyHours.record(pairs.map(toPairText), at);
  }

  /** Also rows that are stored and for which the step's facts hold nothing. */
  compareStep(step: DerivationStep): Promise<AggregateDifference[]> {
    return withCausalSession(this.#db, async (session) => {
      const fresh = new Map((await this.#derive(step, session)).map((row) => [keyText(row._id), row]));
      const stored = new Map(
        (await this.#aggregates.findAll(rowKeysOf(step), session)).map((row) => [keyText(row._id), row]),
      );
      return [...new Set([...fresh.keys(), ...stored.keys()])].flatMap((key) => {
        const [freshRow, storedRow] = [fresh.get(key), stored.get(key)];
        const row = freshRow ?? storedRow;
        const [raw, figure] = [figureOf(freshRow), figureOf(storedRow)];
        if (row === undefined || (figure.quantity === raw.quantity && figure.eventCount === raw.eventCount)) return [];
        return [{ ...placeOf(row), stored: figure, raw }];
      });
    });
  }

  /** Stored rows that counted facts, from an hour on, as if raw held none. */
  async storedHours(
    customerId: string,
    meters: readonly string[],
    fromHour: EpochHour,
  ): Promise<AggregateDifference[]> {
    const from = new Date(fromHour * HOUR_MS);
    const rows = await Promise.all(
      meters.map((meter) => this.#aggregates.range({ customerId, meter, from, to: DISTANT_FUTURE })),
    );
    return rows
      .flat()
      .filter(({ eventCount }) => eventCount > 0)
      .map((row) => ({ ...placeOf(row), stored: figureOf(row), raw: NONE }));
  }

  async #derive(step: DerivationStep, session: ClientSession): Promise<DerivedRow[]> {
    const scope = { cells: step.cells, layout: step.layout, ...(step.window && { window: step.window }) };
    const rows: DerivedRow[] = [];
    for (const meters of groupBy(step.meters, ({ eventType }) => eventType).values()) {
      const inDatabase = meters.filter(({ aggregation }) => aggregation !== 'unique');
      rows.push(...(await this.#derivation.rows(scope, inDatabase, session)));
      for (const meter of meters.filter(({ aggregation }) => aggregation === 'unique')) {
        rows.push(...(await this.#unique.read(scope, meter, session)).rows);
      }
    }
    return rows;
  }
}

function keyText(key: DerivedRow['_id']): string {
  return `${key.customerId}\u001f${key.meter}\u001f${key.windowStart.getTime()}`;
}

function placeOf(row: DerivedRow): { customerId: string; meter: string; hour: EpochHour } {
  const { customerId, meter, windowStart } = row._id;
  return { customerId, meter, hour: epochHourOf(windowStart.getTime()) };
}

/** Every row that a step can have. */
function rowKeysOf({ cells, meters, window }: DerivationStep): RowKey[] {
  return cells.flatMap(({ hour, customerIds }) => {
    const start = new Date(window?.fromMs ?? hour * HOUR_MS);
    return customerIds.flatMap((customerId) => meters.map(({ key }) => rowKey(customerId, key, start)));
  });
}

function figureOf(row: { quantity: Decimal128; eventCount: number } | undefined): typeof NONE {
  if (row === undefined) return NONE;
  return { quantity: canonicalQuantity(row.quantity.toString()), eventCount: row.eventCount };
}
