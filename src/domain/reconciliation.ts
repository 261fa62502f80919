import {
  absoluteQuantity,
  addQuantities,
  compareQuantities,
  equalQuantities,
  fractionOf,
  isZeroQuantity,
  type Quantity,
  subtractQuantities,
} from './quantity.ts';

/** What a comparison of one customer's meter over one billing period came to. */
export type Verdict =
  'match' | 'in_flight' | 'missing' | 'surplus' | 'rejected' | 'blocked' | 'late' | 'stale' | 'not_read';

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
];

/** Verdicts that a person or a heal has to deal with: the figures drift. */
export const DRIFT_VERDICTS: readonly Verdict[] = ['missing', 'surplus', 'rejected', 'late'];

/** Our side of a comparison. */
export interface LedgerFigures {
  /** What the aggregates or the period's figure say was used. */
  readonly local: Quantity;
  /** Values that Stripe has taken, as far as we know. */
  readonly delivered: Quantity;
  /** Values planned, being sent or in doubt. */
  readonly inFlight: Quantity;
  readonly blocked: Quantity;
  readonly rejected: Quantity;
  /** Equal texts mean that no submission of the range was added, attempted or changed. */
  readonly fingerprint: string;
  readonly lastAttemptAtMs?: number;
}

/** One hour in which Stripe's total is not what we delivered. */
export interface HourDifference {
  readonly hourMs: number;
  readonly delivered: Quantity;
  readonly stripe: Quantity;
  /** The lag has passed, and two reads far enough apart agree over an unchanged ledger. */
  readonly isSettled: boolean;
}

/**
 * Judges one comparison. An equal total is a match at any time; a different one means something only where it is
 * settled, because event summaries lag.
 * @param stripe Stripe's total; undefined when it was not read.
 * @param hours where the totals differ.
 */
export function judge(figures: LedgerFigures, stripe: Quantity | undefined, hours: readonly HourDifference[]): Verdict {
  if (stripe === undefined) return 'not_read';
  if (equalQuantities(stripe, figures.local) && isZeroQuantity(figures.rejected)) return 'match';
  if (equalQuantities(stripe, figures.delivered)) {
    if (!isZeroQuantity(figures.rejected)) return 'rejected';
    return isZeroQuantity(figures.blocked) ? 'in_flight' : 'blocked';
  }
  const settled = hours.filter(({ isSettled }) => isSettled);
  if (settled.length === 0) return isZeroQuantity(figures.inFlight) ? 'stale' : 'in_flight';
  return compareQuantities(driftOf(settled), '0') < 0 ? 'missing' : 'surplus';
}

/** Stripe's figure minus ours over some hours. */
export function driftOf(hours: readonly HourDifference[]): Quantity {
  return addQuantities('0', ...hours.map((hour) => subtractQuantities(hour.stripe, hour.delivered)));
}

/** The hours in which the two sides differ. */
export function differingHours(
  delivered: ReadonlyMap<number, Quantity>,
  stripe: ReadonlyMap<number, Quantity>,
): { hourMs: number; delivered: Quantity; stripe: Quantity }[] {
  const hours = [...new Set([...delivered.keys(), ...stripe.keys()])].sort((a, b) => a - b);
  return hours
    .map((hourMs) => ({ hourMs, delivered: delivered.get(hourMs) ?? '0', stripe: stripe.get(hourMs) ?? '0' }))
    .filter((hour) => !equalQuantities(hour.delivered, hour.stripe));
}

/** A delivered submission of an hour, as far as healing goes. */
export interface DeliveredSubmission {
  readonly identifier: string;
  readonly value: Quantity;
}

/** What mends one settled hour. */
export type HealAction =
  /** Submissions that Stripe did not count after all: each gets a successor. */
  | {
      readonly kind: 'replace';
      readonly hourMs: number;
      readonly identifiers: readonly string[];
      readonly quantity: Quantity;
    }
  /** A shortfall that no submission explains: one meter event of its own. */
  | { readonly kind: 'top-up'; readonly hourMs: number; readonly quantity: Quantity }
  /** Stripe holds more than we sent: not ours to touch. */
  | { readonly kind: 'person'; readonly hourMs: number; readonly quantity: Quantity; readonly reason: string };

/**
 * Plans how to mend one settled hour. A shortfall is explained by one submission with exactly its value, or by all of
 * the hour's together; nothing is guessed.
 */
export function planHeal(hour: HourDifference, submissions: readonly DeliveredSubmission[]): HealAction {
  const { hourMs } = hour;
  const shortfall = subtractQuantities(hour.delivered, hour.stripe);
  if (compareQuantities(shortfall, '0') < 0) {
    return { kind: 'person', hourMs, quantity: shortfall, reason: 'stripe_holds_more' };
  }
  const single = submissions.find(({ value }) => equalQuantities(value, shortfall));
  if (single !== undefined) return { kind: 'replace', hourMs, identifiers: [single.identifier], quantity: shortfall };
  const total = addQuantities('0', ...submissions.map(({ value }) => value));
  if (submissions.length > 0 && equalQuantities(total, shortfall)) {
    return {
      kind: 'replace',
      hourMs,
      identifiers: submissions.map(({ identifier }) => identifier),
      quantity: shortfall,
    };
  }
  return { kind: 'top-up', hourMs, quantity: shortfall };
}

export interface HealBounds {
  /** |heal| ÷ local total of the pair and period. */
  readonly fractionMax: number;
  /** |heal|; absent: no bound. */
  readonly quantityMax?: Quantity;
}

/** Whether the actions on one pair may be carried out without a person. */
export function isWithinBounds(actions: readonly HealAction[], local: Quantity, bounds: HealBounds): boolean {
  const healed = addQuantities(
    '0',
    ...actions.filter(({ kind }) => kind !== 'person').map(({ quantity }) => absoluteQuantity(quantity)),
  );
  if (bounds.quantityMax !== undefined && compareQuantities(healed, bounds.quantityMax) > 0) return false;
  return fractionOf(healed, local) <= bounds.fractionMax;
}
