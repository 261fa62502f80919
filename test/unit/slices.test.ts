import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bySlices, SLICE_BYTES_MAX, SLICE_ITEMS_MAX, slicesOf } from '../../src/platform/mongo/slices.ts';

describe('slices of a list', () => {
  it('hold every item once, in order, and none is empty', () => {
    const items = fc.array(fc.oneof(fc.string({ maxLength: 300 }), fc.record({ a: fc.string() })), {
      maxLength: 3_000,
    });
    fc.assert(
      fc.property(items, (list) => {
        const slices = [...slicesOf(list)];
        expect(slices.flat()).toEqual(list);
        for (const slice of slices) expect(slice.length).toBeGreaterThan(0);
      }),
      { numRuns: 50 },
    );
  });

  it('are bounded by count', () => {
    const list = Array.from({ length: SLICE_ITEMS_MAX * 2 + 1 }, (_, index) => index);
    expect([...slicesOf(list)].map(({ length }) => length)).toEqual([SLICE_ITEMS_MAX, SLICE_ITEMS_MAX, 1]);
  });

  it.each([
    ['texts', (text: string): unknown => text],
    ['documents', (text: string): unknown => ({ _id: { customerId: text } })],
    ['texts beyond ASCII', (text: string): unknown => text.replaceAll('x', 'ü').slice(0, text.length / 2)],
  ])('of %s are bounded by bytes', (_, itemOf) => {
    const list = Array.from({ length: 20 }, () => itemOf('x'.repeat(SLICE_BYTES_MAX / 8)));
    const sizes = [...slicesOf(list)].map(({ length }) => length);
    expect(sizes.length).toBeGreaterThan(2);
    expect(Math.max(...sizes)).toBeLessThan(8);
  });

  it('give an item that is too large a slice of its own', () => {
    const huge = 'x'.repeat(SLICE_BYTES_MAX * 2);
    expect([...slicesOf(['a', huge, 'b'])]).toEqual([['a'], [huge], ['b']]);
  });

  it('of nothing cost no statement', async () => {
    expect(await bySlices([], () => Promise.reject(new Error('asked')))).toEqual([]);
  });
});
