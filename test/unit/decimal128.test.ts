import fc from 'fast-check';
import { Decimal128 } from 'mongodb';
import { describe, expect, it } from 'vitest';
import { parseSignedNumber } from '../../src/platform/quantity.ts';
import { isZeroDecimal128, toDecimal128 } from '../../src/platform/mongo/decimal128.ts';

const digits = (maxLength: number): fc.Arbitrary<string> => fc.stringMatching(new RegExp(`^[0-9]{1,${maxLength}}$`));

/** The bytes in hex, by the fast way and by the driver's own parser. */
function bothWays(text: string): [string, string] {
  return [toDecimal128(text).bytes, Decimal128.fromString(text).bytes].map((bytes) =>
    Buffer.from(bytes).toString('hex'),
  ) as [string, string];
}

describe('a decimal from a quantity', () => {
  it.each(['0', '1', '-1', '0.5', '-0.000000000001', '9007199254740991', '9007199254740993', '999999999999999000'])(
    'has the bytes that the driver gives %s',
    (text) => {
      const [ours, theirs] = bothWays(text);
      expect(ours).toBe(theirs);
    },
  );

  it('has the bytes that the driver gives any plain decimal', () => {
    const integer = digits(18).map((text) => text.replace(/^0+(?=.)/, ''));
    const plain = fc
      .tuple(fc.constantFrom('', '-'), integer, fc.option(digits(12)))
      .map(([sign, whole, fraction]) => `${sign}${whole}${fraction === null ? '' : `.${fraction}`}`);
    fc.assert(
      fc.property(plain, (text) => {
        const [ours, theirs] = bothWays(text);
        return ours === theirs;
      }),
      { numRuns: 2_000 },
    );
  });

  it('is the same for the numbers that an event may hold', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true }), (number) => {
        const parsed = parseSignedNumber(number);
        if (!('quantity' in parsed)) return true;
        const [ours, theirs] = bothWays(parsed.quantity);
        return ours === theirs;
      }),
    );
  });

  it.each(['0', '-0', '0.00', '0E+6111', '1', '-0.000000000001', '1E-6176', '9999999999999999999999999999999999'])(
    'is told from zero: %s',
    (text) => {
      expect(isZeroDecimal128(Decimal128.fromString(text))).toBe(!/[1-9]/.test(text.replace(/E.*/, '')));
    },
  );
});
