import type { LiveGroup } from './live-usage.ts';

/**
 * Names a group of a window: its values in the order of the meter's `groupBy`, as a JSON array in which numbers are exact
 * decimals, like `["eu",1.5,null]`; `other` for the groups that were too many to keep. Equal texts mean equal groups.
 */
export function groupText({ by, other }: Pick<LiveGroup, 'by' | 'other'>): string {
  if (other === true) return 'other';
  const texts = by.map((value) => (value !== null && typeof value === 'object' ? value.number : JSON.stringify(value)));
  return `[${texts.join(',')}]`;
}
