import { DAY_MS } from '../../platform/durations.ts';
import { DaemonError } from '../../platform/errors.ts';
import { parseTimestamp } from '../../platform/instant.ts';
import { type BillingCustomer, billingPeriodOf } from './billing-customer.ts';
import type { Period } from './period.ts';

/** Longest range of live figures. */
export const LIVE_RANGE_DAYS_MAX = 400;

/** A range of time as it is asked for. */
export interface AskedRange {
  /** RFC 3339; with `to`, and instead of `period`. Half-open. */
  readonly from?: string;
  readonly to?: string;
  /** A billing period of the customer; the current one unless `from` and `to` are given. */
  readonly period?: 'current' | 'previous';
}

/**
 * The half-open range asked for: explicit, or a billing period of the customer (the current one by default).
 * @throws DaemonError `range_invalid` or `range_too_long`.
 */
export function rangeOf(customer: BillingCustomer, input: AskedRange, nowMs: number): Period {
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
