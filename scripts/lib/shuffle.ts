/** Reads everything into memory and gives it back in an order that the seed decides. */
export async function* shuffled<T>(items: AsyncIterable<T>, seed: number): AsyncGenerator<T> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  const random = mulberry32(seed);
  for (let index = all.length - 1; index > 0; index -= 1) {
    const other = Math.floor(random() * (index + 1));
    [all[index], all[other]] = [all[other] as T, all[index] as T];
  }
  yield* all;
}

/** A small generator of numbers in [0, 1): the same seed, the same numbers (mulberry32, public domain). */
function mulberry32(seed: number): () => number {
  let state = Math.trunc(seed);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
