import { Decimal } from 'decimal.js';

/** A private clone, so that nobody else's settings reach the simulator's sums. Never prints an exponent. */
export const Exact = Decimal.clone({ precision: 50, toExpNeg: -9e15, toExpPos: 9e15 });
export type Exact = InstanceType<typeof Exact>;

export const zero: Exact = new Exact(0);

const plainDecimal = /^-?(\d+)(?:\.(\d+))?$/;

/** The digits of a plain decimal string, or `undefined` where `text` is not one (an exponent is not plain). */
export interface DecimalDigits {
  /** Digits from the first to the last that is not zero. */
  significant: number;
  /** Digits without leading zeros, as written. */
  written: number;
  /** Places after the point, without trailing zeros. */
  decimals: number;
}

export function readDigits(text: string): DecimalDigits | undefined {
  const match = plainDecimal.exec(text);
  if (match === null) return undefined;
  const fraction = match[2] ?? '';
  const written = ((match[1] ?? '') + fraction).replace(/^0+/, '');
  return {
    significant: written.replace(/0+$/, '').length,
    written: written.length,
    decimals: fraction.replace(/0+$/, '').length,
  };
}
