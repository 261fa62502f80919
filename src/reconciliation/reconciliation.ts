import type { SubmittedFigures } from '../submissions/submitted-figures.ts';
import type { HourLedger } from '../submissions/ledger-entry.ts';
import {
  addQuantities,
  compareQuantities,
  equalQuantities,
  fractionOf,
  isZeroQuantity,
  type Quantity,
  SIGNIFICANT_DIGITS_MAX,
  significantDigits,
  subtractQuantities,
} from '../platform/quantity.ts';

/**
 * What a comparison of one customer's meter over one billing period came to. `customer_not_found`: Stripe has no such
 * customer; `refused`: Stripe refuses to tell, for another reason; `unbilled`: both sides are equal, and nothing bills some
 * of it.
 */
export type Verdict =
  | 'match'
  | 'in_flight'
  | 'missing'
  | 'surplus'
  | 'rejected'
  | 'blocked'
  | 'late'
  | 'stale'
  | 'not_read'
  | 'unbilled'
  | 'customer_not_found'
  | 'refused';

export const VERDICTS: readonly Verdict[] = [
  'match',
  'in_flight',
  'missing',
  'surplus',
  'rejected',
  'blocked',
  'late',
  'stale',
  'not_read',
  'unbilled',
  'customer_not_found',
  'refused',
];

/** Verdicts of what could not be compared, and will not be before a person has mended the cause. */
export const REFUSED_VERDICTS: readonly Verdict[] = ['customer_not_found', 'refused'];

/** Verdicts that a person or a heal has to deal with: the figures drift, come to no invoice, or nobody can tell. */
export const DRIFT_VERDICTS: readonly Verdict[] = [
  'missing',
  'surplus',
  'rejected',
  'late',
  'unbilled',
  ...REFUSED_VERDICTS,
];

/** Our side of a comparison. */
export interface LedgerFigures extends SubmittedFigures {
  /** What the aggregates or the period's figure say was used, with late usage of other periods that is billed here. */
  readonly local: Quantity;
  /** The part of it that is late: it is not sent with the stamp of its window. */
  readonly late: Quantity;
  /** Nobody has decided about some of it. */
  readonly isLateWaiting: boolean;
}

/** One hour in which Stripe's total is not what we delivered. */
export interface HourDifference {
  /** Start of the hour, or of its part in the compared range, UTC milliseconds. */
  readonly hourMs: number;
  readonly delivered: Quantity;
  readonly stripe: Quantity;
  /** The lag has passed, and two reads far enough apart agree over an unchanged ledger. */
  readonly isSettled: boolean;
}

/** The first of two reads of an hour that have to agree. */
export interface HourReading {
  readonly hourMs: number;
  /** When it was read, UTC milliseconds. */
  readonly atMs: number;
  readonly delivered: Quantity;
  readonly stripe: Quantity;
  /** Of the hour's ledger. */
  readonly fingerprint: string;
}

/** What Stripe should hold: usage that is late is not sent under its own stamp. */
export function expectedAtStripe(figures: LedgerFigures): Quantity {
  return subtractQuantities(figures.local, figures.late);
}

/**
 * How far Stripe's total, a JSON number, may be from ours and still be the same: a double holds 15 significant digits
 * exactly, and what has more of them only in proportion.
 */
const TOLERANCE = 1e-15;

/** Whether a total of Stripe's is ours: exactly up to 15 significant digits, beyond that as far as a double tells. */
export function isSameTotal(stripe: Quantity, ours: Quantity): boolean {
  if (equalQuantities(stripe, ours)) return true;
  if (significantDigits(ours) <= SIGNIFICANT_DIGITS_MAX) return false;
  return fractionOf(subtractQuantities(stripe, ours), ours) <= TOLERANCE;
}

/**
 * Judges one comparison. An equal total is a match at any time; a different one means something only where it is
 * settled, because event summaries lag.
 * @param stripe Stripe's total; undefined when it was not read.
 * @param hours where the totals differ.
 */
export function judge(figures: LedgerFigures, stripe: Quantity | undefined, hours: readonly HourDifference[]): Verdict {
  if (stripe === undefined) return 'not_read';
  const isRejected = !isZeroQuantity(figures.rejected);
  if (isSameTotal(stripe, expectedAtStripe(figures)) && !isRejected) return figures.isLateWaiting ? 'late' : 'match';
  if (isSameTotal(stripe, figures.delivered)) {
    if (isRejected) return 'rejected';
    return isZeroQuantity(figures.blocked) ? 'in_flight' : 'blocked';
  }
  const settled = hours.filter(({ isSettled }) => isSettled);
  if (settled.length > 0) return isShort(settled) ? 'missing' : 'surplus';
  if (isRejected) return 'rejected';
  return isZeroQuantity(figures.inFlight) ? 'stale' : 'in_flight';
}

/** Over all hours, Stripe holds less than we delivered; where they even out, in one of them. */
function isShort(hours: readonly HourDifference[]): boolean {
  const drifts = hours.map(({ stripe, delivered }) => subtractQuantities(stripe, delivered));
  const sign = compareQuantities(addQuantities('0', ...drifts), '0');
  return sign < 0 || (sign === 0 && drifts.some((drift) => compareQuantities(drift, '0') < 0));
}

/** An hour whose two sides differ: a reading of now. */
export interface DifferingHour extends Omit<HourReading, 'atMs'> {
  readonly ledger: HourLedger;
  /** The ledger changed while Stripe was read. */
  readonly hasMoved: boolean;
}

/** The hours in which the two sides differ, in order. `before` and `after`: the ledger around the read of Stripe. */
export function differingHours(input: {
  before: ReadonlyMap<number, HourLedger>;
  after: ReadonlyMap<number, HourLedger>;
  stripe: ReadonlyMap<number, Quantity>;
  nothing: HourLedger;
}): DifferingHour[] {
  const hours = [...new Set([...input.after.keys(), ...input.stripe.keys()])].sort((a, b) => a - b);
  return hours.flatMap((hourMs) => {
    const ledger = input.after.get(hourMs) ?? input.nothing;
    const stripe = input.stripe.get(hourMs) ?? '0';
    if (isSameTotal(stripe, ledger.delivered)) return [];
    const { delivered, fingerprint } = ledger;
    const hasMoved = (input.before.get(hourMs) ?? input.nothing).fingerprint !== fingerprint;
    return [{ hourMs, delivered, stripe, fingerprint, ledger, hasMoved }];
  });
}

/** What two reads have to keep to before a difference counts. */
export interface SettlingRule {
  readonly nowMs: number;
  /** Event summaries show everything that Stripe took this long ago. */
  readonly lagMaxMs: number;
  /** Two reads lie at least this far apart. */
  readonly rereadMs: number;
}

/** One differing hour after a read. */
export interface SettledState {
  readonly isSettled: boolean;
  /** To be compared with the next read. */
  readonly reading: HourReading;
  /** When the next read can settle it; undefined while the lag has not passed. */
  readonly settlesFromMs?: number;
}

/**
 * Whether a differing hour is settled: its last attempt (to send or to cancel) lies further back than the lag, and so
 * does an earlier read that showed the same, far enough before this one. Both reads have to lie beyond the lag: two
 * equal reads within it say only that nothing arrived in between.
 */
export function settleHour(hour: DifferingHour, earlier: HourReading | undefined, rule: SettlingRule): SettledState {
  const { hourMs, delivered, stripe, fingerprint, ledger } = hour;
  const now = { hourMs, atMs: rule.nowMs, delivered, stripe, fingerprint };
  const oldFromMs = ledger.lastAttemptAtMs + rule.lagMaxMs;
  if (ledger.isUnanswered || hour.hasMoved || rule.nowMs < oldFromMs) return { isSettled: false, reading: now };
  const agrees =
    earlier !== undefined &&
    earlier.atMs >= oldFromMs &&
    earlier.fingerprint === fingerprint &&
    equalQuantities(earlier.stripe, stripe) &&
    equalQuantities(earlier.delivered, delivered);
  if (!agrees) return { isSettled: false, reading: now, settlesFromMs: rule.nowMs + rule.rereadMs };
  const settlesFromMs = earlier.atMs + rule.rereadMs;
  return { isSettled: rule.nowMs >= settlesFromMs, reading: earlier, settlesFromMs };
}
