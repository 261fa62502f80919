import type { Invoice } from '../mirror/invoice.ts';
import type { Period } from '../customers/calendar/period.ts';
import {
  addQuantities,
  compareQuantities,
  equalQuantities,
  isZeroQuantity,
  type Quantity,
  subtractQuantities,
} from '../platform/quantity.ts';
import { isSameTotal } from '../reconciliation/reconciliation.ts';

/**
 * What a line came to. `missing`: Stripe holds, or billed, less than our aggregates say; `surplus`: more; `late`: exactly
 * what is on the list of late usage is not on the invoice; `not_read`: the two could not be compared.
 */
export type LineVerdict = 'match' | 'missing' | 'surplus' | 'late' | 'not_read';

/** What an invoice bills of one meter over one period; several lines of Stripe's where a price has tiers. */
export interface UsageLine {
  /** Stripe's id of the first of its lines. */
  readonly lineId: string;
  /** The key of our meter. */
  readonly meter: string;
  readonly stripeMeterId: string;
  /** Half-open, UTC milliseconds. */
  readonly fromMs: number;
  readonly toMs: number;
  /** What is on the invoice. Of a draft it is not final: Stripe computes it anew when it finalises. */
  readonly billed?: Quantity;
}

/** A line with both numbers of its last comparison. */
export interface GuardedLine extends UsageLine {
  /** What is to be billed: our aggregates, without what is late. */
  readonly local?: Quantity;
  /** Stripe's event summary over the line's period. */
  readonly stripe?: Quantity;
  readonly verdict: LineVerdict;
  /** Equal texts mean that nothing changed on our side since. */
  readonly fingerprint?: string;
  readonly note?: string;
}

/** Both sides of all lines together; `unknown` where some could not be compared and none is known to differ. */
export type LinesVerdict = 'equal' | 'different' | 'unknown';

/**
 * The lines of an invoice that bill usage of our meters in a period that has ended. Lines of one item, meter and period
 * are one: Stripe bills each tier of a price on a line of its own. Lines of a trial are left out: they are free, so their
 * quantities say nothing of what was used.
 * @param meters our meters' keys by Stripe's meter ids.
 * @param trial of the invoice's subscription.
 */
export function usageLines(invoice: Invoice, meters: ReadonlyMap<string, string>, trial?: Period): UsageLine[] {
  const lines = new Map<string, UsageLine>();
  for (const {
    id: lineId,
    stripeMeterId = '',
    subscriptionItemId,
    priceId,
    from,
    to,
    quantityDecimal,
  } of invoice.lines) {
    const meter = meters.get(stripeMeterId);
    const [fromMs, toMs] = [from.getTime(), to.getTime()];
    if (meter === undefined || fromMs >= toMs || toMs > invoice.createdAt.getTime()) continue;
    if (trial !== undefined && fromMs >= trial.fromMs && toMs <= trial.toMs) continue;
    const key = JSON.stringify([stripeMeterId, subscriptionItemId ?? priceId ?? lineId, fromMs, toMs]);
    const line = lines.get(key) ?? { lineId, meter, stripeMeterId, fromMs, toMs };
    const billed = quantityDecimal === undefined ? undefined : addQuantities(line.billed ?? '0', quantityDecimal);
    lines.set(key, { ...line, ...(billed !== undefined && { billed }) });
  }
  return [...lines.values()];
}

/** Holds Stripe's event summary against what it should hold; undefined: it was not read. */
export function judgeSummary(stripe: Quantity | undefined, expected: Quantity): LineVerdict {
  if (stripe === undefined) return 'not_read';
  if (isSameTotal(stripe, expected)) return 'match';
  return compareQuantities(stripe, expected) < 0 ? 'missing' : 'surplus';
}

/**
 * Holds the quantity of a final invoice against our figures, to the last decimal. A usage total below zero is billed as
 * zero (Stripe docs, Record usage).
 * @param figures `used`: our aggregates, late usage included; `late`: the part of them that is known not to be on it.
 */
export function judgeBilled(
  billed: Quantity | undefined,
  figures: { readonly used: Quantity; readonly late: Quantity },
): LineVerdict {
  if (billed === undefined) return 'not_read';
  const expected = subtractQuantities(figures.used, figures.late);
  const floored = compareQuantities(expected, '0') < 0 ? '0' : expected;
  if (equalQuantities(billed, floored)) return isZeroQuantity(figures.late) ? 'match' : 'late';
  return compareQuantities(billed, floored) < 0 ? 'missing' : 'surplus';
}

/** What the lines of an invoice come to together. */
export function verdictOf(lines: readonly { readonly verdict: LineVerdict }[]): LinesVerdict {
  if (lines.some(({ verdict }) => verdict === 'missing' || verdict === 'surplus')) return 'different';
  return lines.some(({ verdict }) => verdict === 'not_read') ? 'unknown' : 'equal';
}
