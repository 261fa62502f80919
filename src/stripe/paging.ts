/** Waits until a call may be made: every call to Stripe takes its turn. */
export type Pace = () => Promise<void>;

/** The largest page that Stripe gives. */
export const PAGE = 100;

/** Everything in a list that turns its own pages, waiting for its turn before each page. */
export async function* paced<T>(list: () => AsyncIterable<T>, pace: Pace): AsyncGenerator<T> {
  await pace();
  let count = 0;
  for await (const item of list()) {
    yield item;
    count += 1;
    // The next item, if there is one, is on the next page.
    if (count % PAGE === 0) await pace();
  }
}

/** Told of each item of a list that cannot be read by itself; throws where that is not about the item alone. */
export type OnRefused = (item: string, error: unknown) => void;

/** The id of what may be expanded. */
export function idOf(value: string | { readonly id: string }): string {
  return typeof value === 'string' ? value : value.id;
}

/** Stripe's Unix seconds. */
export function toDate(seconds: number): Date {
  return new Date(seconds * 1_000);
}
