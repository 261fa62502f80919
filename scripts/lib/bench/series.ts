import { DAY_MS, HOUR_MS } from '../../../src/platform/durations.ts';
import type { EventSeries } from './event-series.ts';

/** An event each 100 µs, begun so long ago that millions of them lie in the past. */
export function recentSeries(customers: number): EventSeries {
  const startMs = Math.floor((Date.now() - DAY_MS) / HOUR_MS) * HOUR_MS;
  return { startMs, stepMicros: 100, customers };
}

/** `count` events spread over so many hours that end now. */
export function seriesOver(input: { hours: number; count: number; customers: number }): EventSeries {
  const startMs = Math.floor(Date.now() / HOUR_MS - input.hours) * HOUR_MS;
  return { startMs, stepMicros: (input.hours * HOUR_MS * 1_000) / input.count, customers: input.customers };
}
