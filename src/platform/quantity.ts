import { Decimal } from 'decimal.js';

/**
 * Exact decimals. A `Quantity` is a canonical decimal string: no exponent, no leading or trailing zeros beyond those
 * a plain decimal needs, `-` only before a value below zero, and `0` for zero.
 */
export type Quantity = string;

/** A private decimal.js: 50 significant digits, plain notation, unaffected by anybody else's settings. */
const Exact = Decimal.clone({ precision: 50, toExpNeg: -9e15, toExpPos: 9e15 });

/** Significant digits a quantity may have, after stripping zeros: Stripe refuses 16 (changelog 2026-04-22.dahlia). */
export const SIGNIFICANT_DIGITS_MAX = 15;
/** Digits after the decimal point: what `quantity_decimal` on an invoice line can hold. */
export const FRACTION_DIGITS_MAX = 12;
/** Digits before the decimal point: with 12 after it, sums of thousands of them stay exact in Decimal128's 34 digits. */
export const INTEGER_DIGITS_MAX = 18;

/** Matches what a quantity string may look like; shared with the database's own check of property values. */
export const QUANTITY_PATTERN = `^(0|[1-9][0-9]{0,${INTEGER_DIGITS_MAX - 1}})(\\.[0-9]{1,${FRACTION_DIGITS_MAX}})?$`;
const QUANTITY_REGEX = new RegExp(QUANTITY_PATTERN);
const SIMPLE_INTEGER_REGEX = /^(0|[1-9][0-9]{0,14})$/;
const TEXT_LENGTH_MAX = INTEGER_DIGITS_MAX + 1 + FRACTION_DIGITS_MAX;

/** Why a text or number is not a quantity. */
export type QuantityFault = 'type' | 'format' | 'negative' | 'digits';

/**
 * Reads a non-negative quantity from parsed JSON.
 *
 * @param input a string like `"12.50"`, or a JSON number, which is judged by the shortest decimal that is the same number
 *   after parsing, written plainly: how it was written (`5e-07`) is the habit of a language. Integers up to 2^53.
 * @returns the canonical form, or the fault.
 */
export function parseQuantity(input: unknown): { quantity: Quantity } | { fault: QuantityFault } {
  if (typeof input === 'string') return parseText(input);
  if (typeof input !== 'number') return { fault: 'type' };
  if (!Number.isFinite(input)) return { fault: 'format' };
  if (input < 0) return { fault: 'negative' };
  if (Number.isInteger(input) && input > Number.MAX_SAFE_INTEGER + 1) return { fault: 'digits' };
  return parseText(plainText(input));
}

/** Like `parseQuantity` for the numbers among an event's properties: JSON numbers only, sign allowed. */
export function parseSignedNumber(input: number): { quantity: Quantity } | { fault: QuantityFault } {
  if (input >= 0 || !Number.isFinite(input)) return parseQuantity(input);
  const magnitude = parseQuantity(-input);
  return 'fault' in magnitude ? magnitude : { quantity: `-${magnitude.quantity}` };
}

/** The shortest decimal form of a number, without an exponent. */
function plainText(input: number): string {
  const text = String(input);
  return text.includes('e') ? new Exact(text).toFixed() : text;
}

function parseText(text: string): { quantity: Quantity } | { fault: QuantityFault } {
  if (SIMPLE_INTEGER_REGEX.test(text)) return { quantity: text };
  if (text.length > TEXT_LENGTH_MAX) {
    return { fault: /^-?[0-9]+(\.[0-9]+)?$/.test(text) ? 'digits' : 'format' };
  }
  if (!QUANTITY_REGEX.test(text)) {
    if (/^-(0|[1-9][0-9]*)(\.[0-9]+)?$/.test(text)) return { fault: 'negative' };
    return { fault: /^(0|[1-9][0-9]*)(\.[0-9]+)?$/.test(text) ? 'digits' : 'format' };
  }
  const canonical = stripFractionZeros(text);
  return significantDigits(canonical) > SIGNIFICANT_DIGITS_MAX ? { fault: 'digits' } : { quantity: canonical };
}

function stripFractionZeros(text: string): Quantity {
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text;
}

/** The number of significant digits of a canonical quantity, without zeros at either end. `0` has none. */
export function significantDigits(quantity: Quantity): number {
  return quantity.replace(/[-.]/g, '').replace(/^0+/, '').replace(/0+$/, '').length;
}

/** The canonical form of any decimal text a store or Stripe returned (`1E+3`, `12.50`). Throws on what is no number. */
export function canonicalQuantity(text: string): Quantity {
  return plain(new Exact(text));
}

/** The exact sum. */
export function addQuantities(...quantities: Quantity[]): Quantity {
  return plain(quantities.reduce((sum, quantity) => sum.plus(quantity), new Exact(0)));
}

/** `minuend` − `subtrahend`, exactly. */
export function subtractQuantities(minuend: Quantity, subtrahend: Quantity): Quantity {
  return plain(new Exact(minuend).minus(subtrahend));
}

/** The magnitude. */
export function absoluteQuantity(quantity: Quantity): Quantity {
  return plain(new Exact(quantity).abs());
}

/** Below zero, zero, or above zero: how `a` compares with `b` by value. */
export function compareQuantities(a: Quantity, b: Quantity): number {
  return new Exact(a).comparedTo(b);
}

/** Whether both are the same number. */
export function equalQuantities(a: Quantity, b: Quantity): boolean {
  return new Exact(a).equals(b);
}

/** Whether the number is zero. */
export function isZeroQuantity(quantity: Quantity): boolean {
  return new Exact(quantity).isZero();
}

/** `part` ÷ `whole` as a plain number for a bound (not for money); infinite when only `whole` is zero. */
export function fractionOf(part: Quantity, whole: Quantity): number {
  if (isZeroQuantity(part)) return 0;
  if (isZeroQuantity(whole)) return Number.POSITIVE_INFINITY;
  return new Exact(part).abs().dividedBy(new Exact(whole).abs()).toNumber();
}

/**
 * The first part of a value that has too many digits for one meter event: its leading 15 significant digits, cut
 * towards zero. Sending such parts one after the other adds up to the whole.
 */
export function leadingPart(quantity: Quantity): Quantity {
  return plain(new Exact(quantity).toSignificantDigits(SIGNIFICANT_DIGITS_MAX, Decimal.ROUND_DOWN));
}

function plain(value: Decimal): Quantity {
  return value.isZero() ? '0' : value.toFixed();
}
