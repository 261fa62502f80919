import type { AskedRange } from '../customers/calendar/asked-range.ts';
import { DaemonError } from '../platform/errors.ts';
import { type LiveUnit } from './live-usage.ts';
import { formatEventField, type Meter, parseEventField } from '../meters/meter.ts';

/** What is asked of a customer's usage. */
export interface UsageQuery extends AskedRange {
  readonly customerId: string;
  /** One meter's key; all meters without it. */
  readonly meter?: string;
  /** How figures are cut: windows (hours, split where a period begins inside), UTC days, or the whole range. */
  readonly window?: LiveUnit;
  /** Fields to group by, in any form that a meter accepts. */
  readonly groupBy?: readonly string[];
}

/**
 * Where the fields asked for are among those that the meter keeps; undefined when none were asked for.
 * @throws DaemonError `group_by_not_kept`.
 */
export function groupPositions(meter: Meter, fields: readonly string[] | undefined): readonly number[] | undefined {
  if (fields === undefined || fields.length === 0) return undefined;
  const kept = meter.groupBy.map(formatEventField);
  return fields.map((text) => {
    const field = parseEventField(text);
    const index = field === undefined ? -1 : kept.indexOf(formatEventField(field));
    if (index >= 0) return index;
    throw new DaemonError({
      kind: 'invalid',
      code: 'group_by_not_kept',
      message: 'The meter does not keep usage by this field.',
      context: { meter: meter.key, groupBy: text, kept, pointer: '/groupBy' },
    });
  });
}
