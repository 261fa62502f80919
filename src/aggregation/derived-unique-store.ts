import { type ClientSession, type Db, Decimal128 } from 'mongodb';
import { groupBy } from '../platform/grouping.ts';
import type { Meter } from '../meters/meter.ts';
import { HOUR_MS } from '../platform/durations.ts';
import type { DerivationScope } from '../usage/derivation-scope-store.ts';
import { UniqueValues, type UniqueValueDocument, uniqueValueText } from './unique-values-store.ts';
import { UsageAggregates } from './usage-aggregates-store.ts';
import { type DerivedRow, rowKey, type UsageDerivation } from './usage-derivation-store.ts';

/** The windows of `unique` meters: their distinct values, and the rows that count them. */
export class DerivedUnique {
  readonly #aggregates: UsageAggregates;
  readonly #values: UniqueValues;
  readonly #derivation: UsageDerivation;

  constructor(db: Db, derivation: UsageDerivation) {
    this.#aggregates = new UsageAggregates(db);
    this.#values = new UniqueValues(db);
    this.#derivation = derivation;
  }

  /**
   * Stores the distinct values of a scope, then the rows that count them (values first: see usage-periods). A row that
   * is stored as it is derived here therefore has its values already.
   */
  async store(scope: DerivationScope, meter: Meter, session: ClientSession): Promise<void> {
    const { rows, values } = await this.read(scope, meter, session);
    const byWindow = groupBy(values, ({ _id }) => windowText(_id));
    await this.#aggregates.mergeRows(rows, session, async (differing) => {
      const missing = differing.flatMap(({ _id }) => byWindow.get(windowText(_id)) ?? []);
      await this.#values.add(missing, session);
    });
  }

  /** The rows and values of a scope, from raw facts; writes nothing. */
  async read(
    scope: DerivationScope,
    meter: Meter,
    session: ClientSession,
  ): Promise<{ rows: DerivedRow[]; values: UniqueValueDocument[] }> {
    const found = await this.#derivation.uniqueValues(scope, meter, session);
    const windows = new Map<string, { row: DerivedRow; values: Set<string> }>();
    for (const { customerId, hour, value, facts } of found) {
      const key = `${customerId}\u001f${hour}`;
      const window = windows.get(key) ?? newWindow(scope, rowKeyOf(scope, meter, { customerId, hour }));
      windows.set(key, window);
      if (value === undefined || value === null) {
        window.row.uncountable = (window.row.uncountable ?? 0) + facts;
        continue;
      }
      window.row.eventCount += facts;
      window.values.add(uniqueValueText(value));
    }
    const values: UniqueValueDocument[] = [];
    for (const window of windows.values()) {
      window.row.quantity = Decimal128.fromString(String(window.values.size));
      for (const value of window.values) {
        values.push({ _id: { ...window.row._id, value }, layout: scope.layout });
      }
    }
    return { rows: [...windows.values()].map(({ row }) => row), values };
  }
}

function windowText(key: DerivedRow['_id']): string {
  return `${key.customerId}\u001f${key.windowStart.getTime()}`;
}

function rowKeyOf(scope: DerivationScope, meter: Meter, at: { customerId: string; hour: number }): DerivedRow['_id'] {
  return rowKey(at.customerId, meter.key, new Date(scope.window?.fromMs ?? at.hour * HOUR_MS));
}

function newWindow(scope: DerivationScope, key: DerivedRow['_id']): { row: DerivedRow; values: Set<string> } {
  return {
    row: {
      _id: key,
      windowEnd: new Date(scope.window?.toMs ?? key.windowStart.getTime() + HOUR_MS),
      layout: scope.layout,
      eventCount: 0,
      quantity: Decimal128.fromString('0'),
    },
    values: new Set(),
  };
}
