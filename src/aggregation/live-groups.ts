import { groupBy } from '../platform/grouping.ts';
import type { GroupKey, LiveGroup } from './live-usage.ts';
import { formatEventField, type Meter } from '../meters/meter.ts';
import { combineFigures } from './usage-figure.ts';
import { canonicalProperty } from '../meters/property.ts';

/** One group of an answer. */
export interface GroupedFigure {
  /** The value of each field asked for; numbers as decimal strings, null where the events lack it. */
  readonly by: Record<string, string | boolean | null>;
  /** Stands for the groups that were too many to keep; `by` is then empty. */
  readonly other?: true;
  readonly quantity: string;
  readonly eventCount: number;
}

/** Groups of one answer; those with the fewest events beyond it are put together. */
export const LIVE_GROUPS_MAX = 1_000;

/**
 * Puts the groups of many windows together by some of the meter's fields, those with the most events first.
 * @param fields positions among the meter's `groupBy`.
 */
export function combineLiveGroups(
  meter: Meter,
  groups: readonly LiveGroup[],
  fields: readonly number[],
): GroupedFigure[] {
  const chosen = groups.map((group) => ({
    ...group,
    by: group.other === true ? [] : fields.map((field) => group.by[field] ?? null),
  }));
  const combined = [...groupBy(chosen, textOf)].map(([text, members]) => ({
    text,
    by: members[0]?.by ?? [],
    isOther: members[0]?.other === true,
    figure: combineFigures(
      meter.aggregation,
      members.map(({ figure }) => figure),
    ),
  }));
  const named = combined
    .filter(({ isOther }) => !isOther)
    .sort((a, b) => b.figure.eventCount - a.figure.eventCount || (a.text < b.text ? -1 : 1));
  const rest = [...combined.filter(({ isOther }) => isOther), ...named.slice(LIVE_GROUPS_MAX)];
  const answer: GroupedFigure[] = named.slice(0, LIVE_GROUPS_MAX).map(({ by, figure }) => ({
    by: Object.fromEntries(fields.map((field, index) => [fieldName(meter, field), toShown(by[index] ?? null)])),
    quantity: figure.quantity,
    eventCount: figure.eventCount,
  }));
  if (rest.length === 0) return answer;
  const other = combineFigures(
    meter.aggregation,
    rest.map(({ figure }) => figure),
  );
  return [...answer, { by: {}, other: true, quantity: other.quantity, eventCount: other.eventCount }];
}

function textOf(group: { by: GroupKey; other?: true }): string {
  if (group.other === true) return 'other';
  return JSON.stringify(group.by.map((value) => (value === null ? null : canonicalProperty(value))));
}

function fieldName(meter: Meter, field: number): string {
  const kept = meter.groupBy[field];
  return kept === undefined ? '' : formatEventField(kept);
}

function toShown(value: GroupKey[number]): string | boolean | null {
  return value !== null && typeof value === 'object' ? value.number : value;
}
