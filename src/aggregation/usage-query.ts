import { DAY_MS } from '../platform/durations.ts';
import { DaemonError } from '../platform/errors.ts';
import { type BillingCustomer, billingPeriodOf } from '../customers/billing-customer.ts';
import { LIVE_RANGE_DAYS_MAX, type LiveUnit } from './live-usage.ts';
import { formatEventField, type Meter, parseEventField } from '../meters/meter.ts';
import type { Period } from '../customers/period.ts';
import { parseTimestamp } from '../usage/usage-event.ts';

/** What is asked of a customer's usage. */
export interface UsageQuery {
  readonly customerId: string;
  /** RFC 3339; with `to`, and instead of `period`. Half-open. */
  readonly from?: string;
  readonly to?: string;
  /** A billing period of the customer; the current one unless `from` and `to` are given. */
  readonly period?: 'current' | 'previous';
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

/**
 * The half-open range asked for: explicit, or a billing period of the customer (the current one by default).
 * @throws DaemonError `range_invalid` or `range_too_long`.
 */
export function rangeOf(
  customer: BillingCustomer,
  input: Pick<UsageQuery, 'from' | 'to' | 'period'>,
  nowMs: number,
): Period {
  if (input.from === undefined && input.to === undefined) {
    const current = billingPeriodOf(customer, nowMs);
    return input.period === 'previous' ? billingPeriodOf(customer, current.fromMs - 1) : current;
  }
  const fromMs = input.from === undefined ? undefined : parseTimestamp(input.from);
  const toMs = input.to === undefined ? undefined : parseTimestamp(input.to);
  if (input.period !== undefined || fromMs === undefined || toMs === undefined || fromMs >= toMs) {
    throw new DaemonError({
      kind: 'invalid',
      code: 'range_invalid',
      message: 'Give from and to, RFC 3339 with an offset, from before to; or a period instead of them.',
      context: { pointer: '/from' },
    });
  }
  return boundedRange({ fromMs, toMs }, '/to');
}

/**
 * The range itself, unless it is too long to be read.
 * @throws DaemonError `range_too_long`
 */
export function boundedRange(range: Period, pointer: string): Period {
  if (range.toMs - range.fromMs <= LIVE_RANGE_DAYS_MAX * DAY_MS) return range;
  throw new DaemonError({
    kind: 'invalid',
    code: 'range_too_long',
    message: `A range may span ${LIVE_RANGE_DAYS_MAX} days.`,
    context: { pointer },
  });
}
