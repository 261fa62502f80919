import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  absoluteQuantity,
  addQuantities,
  canonicalQuantity,
  compareQuantities,
  equalQuantities,
  fractionOf,
  isZeroQuantity,
  leadingPart,
  parseQuantity,
  parseSignedNumber,
  significantDigits,
  subtractQuantities,
} from '../../src/platform/quantity.ts';

/** Any quantity an event may have, as the sender may write it. */
const quantityText = fc
  .tuple(fc.bigInt({ min: 0n, max: 10n ** 15n - 1n }), fc.integer({ min: 0, max: 12 }), fc.integer({ min: 0, max: 3 }))
  .map(([digits, fractionLength, zeros]) => {
    if (fractionLength === 0) return `${digits}`;
    const text = digits.toString().padStart(fractionLength + 1, '0');
    const fraction = `${text.slice(-fractionLength)}${'0'.repeat(zeros)}`.slice(0, 12);
    return `${text.slice(0, -fractionLength)}.${fraction}`;
  });

describe('a quantity', () => {
  const accepted: [input: unknown, canonical: string][] = [
    ['0', '0'],
    ['1', '1'],
    ['1.0', '1'],
    ['12.50', '12.5'],
    ['0.000000000001', '0.000000000001'],
    ['100000000000000000', '100000000000000000'],
    ['123456789012345', '123456789012345'],
    ['0.000', '0'],
    [0, '0'],
    [-0, '0'],
    [1.5, '1.5'],
    [0.1, '0.1'],
    [123456789012345, '123456789012345'],
    [9007199254740000, '9007199254740000'],
    [1e-7, '0.0000001'],
    [0.0000009, '0.0000009'],
    [5e-7, '0.0000005'],
    [1.5e-10, '0.00000000015'],
    [1e-12, '0.000000000001'],
    [1e15, '1000000000000000'],
  ];
  it.each(accepted)('%j is read as %s', (input, canonical) => {
    expect(parseQuantity(input)).toEqual({ quantity: canonical });
  });

  const refused: [input: unknown, fault: string][] = [
    [null, 'type'],
    [true, 'type'],
    [[5], 'type'],
    [{}, 'type'],
    [undefined, 'type'],
    ['', 'format'],
    [' 1', 'format'],
    ['1 ', 'format'],
    ['1\n', 'format'],
    ['+1', 'format'],
    ['01', 'format'],
    ['.5', 'format'],
    ['5.', 'format'],
    ['1e3', 'format'],
    ['1,5', 'format'],
    ['0x10', 'format'],
    ['NaN', 'format'],
    ['Infinity', 'format'],
    ['٣', 'format'],
    ['-1', 'negative'],
    ['-0', 'negative'],
    [-1, 'negative'],
    [-0.5, 'negative'],
    [Number.POSITIVE_INFINITY, 'format'],
    [Number.NaN, 'format'],
    [1e21, 'digits'],
    [1e-13, 'digits'],
    [1.234567e-7, 'digits'],
    [5e-324, 'digits'],
    [2 ** 53 + 2, 'digits'],
    [0.1 + 0.2, 'digits'],
    ['1234567890123456', 'digits'],
    ['0.1234567890123', 'digits'],
    ['1000000000000000000', 'digits'],
    ['1'.repeat(10_000), 'digits'],
    ['x'.repeat(10_000), 'format'],
  ];
  it.each(refused)('%j is refused as %s', (input, fault) => {
    expect(parseQuantity(input)).toEqual({ fault });
  });

  it('keeps its value and is canonical, however it is written', () => {
    fc.assert(
      fc.property(quantityText, (text) => {
        const parsed = parseQuantity(text);
        fc.pre('quantity' in parsed);
        expect(parseQuantity(parsed.quantity)).toEqual(parsed);
        expect(equalQuantities(parsed.quantity, text)).toBe(true);
        expect(canonicalQuantity(text)).toBe(parsed.quantity);
        expect(significantDigits(parsed.quantity)).toBeLessThanOrEqual(15);
      }),
    );
  });

  it('may be negative only as a number among the properties', () => {
    expect(parseSignedNumber(-1.5)).toEqual({ quantity: '-1.5' });
    expect(parseSignedNumber(-5e-7)).toEqual({ quantity: '-0.0000005' });
    expect(parseSignedNumber(-0)).toEqual({ quantity: '0' });
    expect(parseSignedNumber(Number.POSITIVE_INFINITY)).toEqual({ fault: 'format' });
  });
});

describe('arithmetic', () => {
  it('adds up to the same in every order and split', () => {
    fc.assert(
      fc.property(fc.array(quantityText, { minLength: 1, maxLength: 30 }), fc.nat(), (texts, at) => {
        const cut = at % texts.length;
        const whole = addQuantities(...texts);
        const parts = addQuantities(addQuantities(...texts.slice(0, cut)), addQuantities(...texts.slice(cut)));
        expect(parts).toBe(whole);
        expect(addQuantities(...texts.toReversed())).toBe(whole);
      }),
    );
  });

  it('takes away exactly what it added', () => {
    fc.assert(
      fc.property(quantityText, quantityText, (a, b) => {
        expect(subtractQuantities(addQuantities(a, b), b)).toBe(canonicalQuantity(a));
        expect(compareQuantities(a, b) + compareQuantities(b, a)).toBe(0);
        expect(isZeroQuantity(subtractQuantities(a, a))).toBe(true);
      }),
    );
  });

  it('is exact where floating point is not', () => {
    expect(addQuantities('0.1', '0.2')).toBe('0.3');
    expect(subtractQuantities('1', '0.9')).toBe('0.1');
    expect(addQuantities('9007199254740993', '0.000000000001')).toBe('9007199254740993.000000000001');
    expect(subtractQuantities('1', '2.5')).toBe('-1.5');
    expect(absoluteQuantity('-1.5')).toBe('1.5');
  });

  it('brings what a store returns into plain form', () => {
    expect(canonicalQuantity('1E+3')).toBe('1000');
    expect(canonicalQuantity('12.500')).toBe('12.5');
    expect(canonicalQuantity('-0')).toBe('0');
    expect(canonicalQuantity('1E-12')).toBe('0.000000000001');
  });

  it('splits a long value into parts that Stripe takes and that add up to it', () => {
    fc.assert(
      fc.property(fc.array(quantityText, { minLength: 1, maxLength: 5 }), (texts) => {
        let rest = addQuantities(...texts, '123456789012345678');
        const whole = rest;
        const parts: string[] = [];
        while (!isZeroQuantity(rest)) {
          const part = leadingPart(rest);
          expect(significantDigits(part)).toBeLessThanOrEqual(15);
          parts.push(part);
          rest = subtractQuantities(rest, part);
        }
        expect(addQuantities(...parts)).toBe(whole);
        expect(parts.length).toBeLessThanOrEqual(4);
      }),
    );
  });

  it('knows the share of a part, also of nothing', () => {
    expect(fractionOf('1', '20')).toBe(0.05);
    expect(fractionOf('-1', '20')).toBe(0.05);
    expect(fractionOf('0', '0')).toBe(0);
    expect(fractionOf('1', '0')).toBe(Number.POSITIVE_INFINITY);
  });
});
