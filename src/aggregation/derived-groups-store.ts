import { type ClientSession, type Db, Decimal128 } from 'mongodb';
import { groupBy } from '../platform/grouping.ts';
import { type Aggregation, isAdditive, type Meter } from '../meters/meter.ts';
import { addQuantities } from '../platform/quantity.ts';
import { combineFigures } from './usage-figure.ts';
import { HOUR_MS } from '../platform/durations.ts';
import type { DerivationScope } from '../usage/derivation-scope-store.ts';
import { fromFigure, toFigure } from './stored-figure-store.ts';
import { uniqueValueText } from './unique-values-store.ts';
import { type GroupRow, rowKey, type UsageDerivation } from './usage-derivation-store.ts';
import { GROUPS_PER_WINDOW_MAX, type UsageGroup, UsageGroups, type UsageGroupsDocument } from './usage-groups-store.ts';

/** The groups of a scope's windows, for meters with `groupBy`. */
export class DerivedGroups {
  readonly #groups: UsageGroups;
  readonly #derivation: UsageDerivation;

  constructor(db: Db, derivation: UsageDerivation) {
    this.#groups = new UsageGroups(db);
    this.#derivation = derivation;
  }

  async derive(scope: DerivationScope, meter: Meter, session: ClientSession): Promise<void> {
    await this.#groups.mergeRows(await this.read(scope, meter, session), session);
  }

  /** Empties the groups of windows that the present layout does not have. */
  async empty(
    windows: readonly Omit<UsageGroupsDocument, 'revision' | 'groups'>[],
    session: ClientSession,
  ): Promise<void> {
    await this.#groups.mergeRows(
      windows.map((window) => ({ ...window, groups: [] })),
      session,
    );
  }

  /** The groups of a scope, from raw facts; writes nothing. */
  async read(
    scope: DerivationScope,
    meter: Meter,
    session: ClientSession,
  ): Promise<Omit<UsageGroupsDocument, 'revision'>[]> {
    const rows =
      meter.aggregation === 'unique'
        ? await this.#uniqueGroups(scope, meter, session)
        : (await this.#derivation.groups(scope, meter, session)).map(toWindowGroup);
    const windows = groupBy(rows, ({ customerId, hour }) => `${customerId}\u001f${hour}`);
    return [...windows.values()].map((window) => toDocument(scope, meter, window));
  }

  async #uniqueGroups(scope: DerivationScope, meter: Meter, session: ClientSession): Promise<WindowGroup[]> {
    const found = await this.#derivation.uniqueValues(scope, meter, session);
    const countable = found.filter(({ value }) => value !== undefined && value !== null);
    const groups = groupBy(countable, ({ customerId, hour, by }) => JSON.stringify([customerId, hour, by]));
    return [...groups.values()].flatMap((rows) => {
      const [first] = rows;
      if (first === undefined) return [];
      const values = [...new Set(rows.map(({ value }) => uniqueValueText(value ?? '')))].sort();
      const group: UsageGroup = {
        by: first.by ?? [],
        quantity: Decimal128.fromString(String(values.length)),
        eventCount: rows.reduce((sum, { facts }) => sum + facts, 0),
        values,
      };
      return [{ customerId: first.customerId, hour: first.hour, group }];
    });
  }
}

interface WindowGroup {
  readonly customerId: string;
  readonly hour: number;
  readonly group: UsageGroup;
}

function toWindowGroup({ customerId, hour, by, quantity, eventCount, last }: GroupRow): WindowGroup {
  return { customerId, hour, group: { by, quantity, eventCount, ...(last && { last }) } };
}

function toDocument(
  scope: DerivationScope,
  meter: Meter,
  window: readonly WindowGroup[],
): Omit<UsageGroupsDocument, 'revision'> {
  const { customerId, hour } = window[0] ?? { customerId: '', hour: 0 };
  const ranked = window
    .map(({ group }) => group)
    .sort((a, b) => b.eventCount - a.eventCount || (JSON.stringify(a.by) < JSON.stringify(b.by) ? -1 : 1));
  const kept = ranked.slice(0, GROUPS_PER_WINDOW_MAX);
  const rest = ranked.slice(GROUPS_PER_WINDOW_MAX);
  const groups =
    rest.length === 0 ? kept : [...kept, { ...combineGroups(meter.aggregation, rest), by: [], other: true as const }];
  return {
    _id: rowKey(customerId, meter.key, new Date(scope.window?.fromMs ?? hour * HOUR_MS)),
    windowEnd: new Date(scope.window?.toMs ?? (hour + 1) * HOUR_MS),
    layout: scope.layout,
    eventCount: groups.reduce((sum, group) => sum + group.eventCount, 0),
    quantity: isAdditive(meter.aggregation)
      ? Decimal128.fromString(addQuantities(...groups.map((group) => group.quantity.toString())))
      : Decimal128.fromString('0'),
    groups,
  };
}

/** Puts groups together as if their facts had been one group's. `groups` is not empty. */
export function combineGroups(aggregation: Aggregation, groups: readonly UsageGroup[]): UsageGroup {
  return { by: groups[0]?.by ?? [], ...fromFigure(combineFigures(aggregation, groups.map(toFigure))) };
}
