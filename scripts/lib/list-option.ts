import { InvalidArgumentError } from 'commander';

/** How many rows a list verb prints unless `--limit` says otherwise. */
export const LIMIT_DEFAULT = 100;
const LIMIT_MAX = 1_000_000;

/** The value of `--limit`: a whole number of at least 1. */
export function readListLimit(text: string): number {
  const limit = Number(text);
  if (!/^\d+$/.test(text) || limit < 1 || limit > LIMIT_MAX) {
    throw new InvalidArgumentError(`It has to be a whole number from 1 to ${LIMIT_MAX}.`);
  }
  return limit;
}

/** The first rows of a list, and whether there are more. */
export async function takeRows<T>(rows: AsyncIterable<T>, limit: number): Promise<{ rows: T[]; hasMore: boolean }> {
  const found: T[] = [];
  for await (const row of rows) {
    if (found.length === limit) return { rows: found, hasMore: true };
    found.push(row);
  }
  return { rows: found, hasMore: false };
}

/** What is said under a list that was cut. */
export function moreRows({ hasMore }: { hasMore: boolean }, limit: number): string {
  return hasMore ? `\n… and more: only the first ${limit} are shown (--limit)` : '';
}
