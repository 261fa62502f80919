import { type HourLedger, isDelivered, isHeal, type LedgerEntry } from '../submissions/ledger-entry.ts';
import {
  addQuantities,
  compareQuantities,
  equalQuantities,
  isZeroQuantity,
  type Quantity,
  SIGNIFICANT_DIGITS_MAX,
  significantDigits,
  subtractQuantities,
} from '../platform/quantity.ts';

/** An hour of one Stripe customer's meter: what Stripe's totals can be asked for. */
export interface DestinationHour {
  readonly stripeCustomerId: string;
  readonly stripeMeterId: string;
  /** Start of the UTC hour, milliseconds. */
  readonly hourMs: number;
}

/** What Stripe's total says of the submissions in doubt of an hour. */
export type DoubtDecision = 'counted' | 'uncounted' | 'undecided';

/**
 * Decides the doubts of a settled hour by the difference between Stripe's total and what we know was delivered. Only a
 * difference of exactly zero, or of exactly their sum, decides; several are decided together, and only where they have
 * the same sign, so that some of them cannot add up to nothing. What a double cannot tell apart is not decided either.
 *
 * A total of nothing decides also where something else was delivered, which Stripe has lost then: see `holdsNothing`.
 * Any other total that lacks a part of what was delivered does not tell which part, so it decides nothing.
 */
export function decideDoubts(ledger: HourLedger, stripe: Quantity): DoubtDecision {
  const values = ledger.entries.filter(isInDoubt).map(({ value }) => value);
  if (values.length === 0 || !haveSameSign(values)) return 'undecided';
  if (holdsNothing(ledger, stripe)) return 'uncounted';
  const without = knownAtStripe(ledger);
  const withAll = addQuantities(without, ...values);
  if (![without, withAll].every(isExactAsDouble)) return 'undecided';
  if (equalQuantities(stripe, without)) return 'uncounted';
  return equalQuantities(stripe, withAll) ? 'counted' : 'undecided';
}

/**
 * Whether Stripe can have counted nothing of an hour: its total is zero, and nothing of ours that was ever sent is
 * negative, whatever became of it, so that no part of it adds up to zero.
 */
function holdsNothing({ entries }: HourLedger, stripe: Quantity): boolean {
  if (!isZeroQuantity(stripe)) return false;
  return entries.every(({ attempts, value }) => attempts === 0 || compareQuantities(value, '0') >= 0);
}

function isInDoubt({ state }: LedgerEntry): boolean {
  return state === 'in_doubt';
}

/**
 * What Stripe holds if nothing in doubt was counted. Heals make up for values that Stripe lost, so they count as
 * delivered together with those; one that has not arrived is still missing there.
 */
function knownAtStripe({ entries, delivered }: HourLedger): Quantity {
  const open = entries.filter((entry) => isHeal(entry) && !isDelivered(entry) && entry.state !== 'replaced');
  return subtractQuantities(delivered, addQuantities('0', ...open.map(({ value }) => value)));
}

function haveSameSign(values: readonly Quantity[]): boolean {
  const signs = new Set(values.map((value) => Math.sign(compareQuantities(value, '0'))));
  return signs.size === 1 && !values.some(isZeroQuantity);
}

/** Stripe's totals are JSON numbers. */
function isExactAsDouble(quantity: Quantity): boolean {
  return significantDigits(quantity) <= SIGNIFICANT_DIGITS_MAX;
}
