import { type ClientSession, type Db, Decimal128 } from 'mongodb';
import type { Meter } from '../domain/meter.ts';
import { HOUR_MS } from '../domain/window.ts';
import { UniqueValues, type UniqueValueDocument, uniqueValueText } from './unique-values.ts';
import { type DerivationScope, type DerivedRow, rowKey, type UsageDerivation } from './usage-derivation.ts';

/** The windows of `unique` meters: their distinct values, and the rows that count them. */
export class DerivedUnique {
  readonly #values: UniqueValues;
  readonly #derivation: UsageDerivation;

  constructor(db: Db, derivation: UsageDerivation) {
    this.#values = new UniqueValues(db);
    this.#derivation = derivation;
  }

  /** Stores the distinct values of a scope, then returns the rows that count them (values first: see usage-periods). */
  async derive(scope: DerivationScope, meter: Meter, session: ClientSession): Promise<DerivedRow[]> {
    const { rows, values } = await this.read(scope, meter, session);
    await this.#values.add(values, session);
    return rows;
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
