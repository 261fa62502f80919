import { renderTable } from '../table.ts';

/** One measured figure, and what it should be. */
export interface Figure {
  readonly what: string;
  readonly value: string;
  readonly target?: string;
  readonly isMet?: boolean;
}

const VERDICTS = { true: 'met', false: 'MISSED' };

/** A figure that has to be at least so much. */
export function atLeast(figure: Omit<Figure, 'value' | 'target' | 'isMet'>, value: number, target: number): Figure {
  return { ...figure, value: value.toFixed(2), target: `≥ ${target}`, isMet: value >= target };
}

/** A figure that may be at most so much. */
export function atMost(figure: Omit<Figure, 'value' | 'target' | 'isMet'>, value: number, target: number): Figure {
  const digits = target >= 10 ? 0 : target < 0.1 ? 3 : 2;
  return { ...figure, value: value.toFixed(digits), target: `≤ ${target}`, isMet: value <= target };
}

/** @param figures each with the part of the benchmark that it belongs to. */
export function renderFigures(figures: readonly (Figure & { readonly part: string })[]): string {
  return renderTable(
    [
      { heading: 'part' },
      { heading: 'what' },
      { heading: 'measured', align: 'right' },
      { heading: 'target', align: 'right' },
      { heading: '' },
    ],
    figures.map(({ part, what, value, target, isMet }) => [
      part,
      what,
      value,
      target ?? '',
      isMet === undefined ? '' : VERDICTS[isMet ? 'true' : 'false'],
    ]),
  );
}

/** A rate with thousands separated. */
export function perSecond(count: number, elapsedMs: number): string {
  return `${Math.round((count * 1_000) / elapsedMs).toLocaleString('en-US')}/s`;
}

export function seconds(value: number): string {
  return `${value.toFixed(2)} s`;
}

/** The middle one; of an even number, the lower of the two. `values` is not empty. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? Number.NaN;
}

/** The value below which the given share of the sorted ones lie. */
export function quantile(sorted: ArrayLike<number>, share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}
