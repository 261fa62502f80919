import type { ReviewFact } from './needs-review.ts';
import {
  describeSilentCondition,
  findSilentConditions,
  type SilentCondition,
  valuesToLookFor,
} from '../usage/silent-condition.ts';
import { toMeter } from '../meters/meters-store.ts';
import type { Stores } from './stores.ts';

type ConditionStores = Pick<Stores, 'meters' | 'seenValues'>;

/** Conditions of meters that recent events miss by their type alone. Meters without `where` cost nothing. */
async function readSilentConditions({ meters, seenValues }: ConditionStores): Promise<SilentCondition[]> {
  const live = (await meters.list()).filter(({ archivedFrom }) => archivedFrom === undefined);
  const conditional = live.map(toMeter).filter(({ where }) => where.length > 0);
  return findSilentConditions(conditional, await seenValues.among(valuesToLookFor(conditional)));
}

/** The warnings of each meter that has some. */
export async function meterWarnings(stores: ConditionStores): Promise<Map<string, { code: string; detail: string }[]>> {
  const warnings = new Map<string, { code: string; detail: string }[]>();
  for (const condition of await readSilentConditions(stores)) {
    const detail = describeSilentCondition(condition);
    const ofMeter = warnings.get(condition.meter) ?? [];
    warnings.set(condition.meter, [...ofMeter, { code: 'condition_type_differs', detail }]);
  }
  return warnings;
}

export async function conditionFacts(stores: ConditionStores): Promise<ReviewFact[]> {
  return (await readSilentConditions(stores)).map((condition) => ({
    kind: 'condition_type_differs' as const,
    count: 1,
    reason: describeSilentCondition(condition),
    examples: [condition.meter],
  }));
}
