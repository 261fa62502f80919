import type { Clock } from '../platform/clock.ts';
import { canonicalQuantity, compareQuantities, type Quantity } from '../platform/quantity.ts';
import { expectedAtStripe, isSameTotal } from './reconciliation.ts';
import { isServerError, type RefusedItem, refusalOf } from '../stripe/stripe-refusal.ts';
import { TIMESTAMP_AGE_MS_MAX } from '../submissions/submission.ts';
import { readHours } from './find-drift.ts';
import { listPairs, type ListPairsDeps } from './list-pairs.ts';
import type { FiguresDeps, Pair, Scope, SummariesDeps, SummaryRange, SummaryRead } from './pair.ts';
import { readFigures, readSums, scopeOf } from './read-figures.ts';
import { FAILURES_IN_A_ROW_MAX } from './reconcile-usage.ts';

export interface CompareRestoredDeps extends FiguresDeps, SummariesDeps, ListPairsDeps {
  /** Every customer whose usage Stripe may hold: mapped, or with submissions. A restored ledger may have lost those. */
  customerIds(): Promise<string[]>;
  readonly clock: Clock;
}

export interface CompareRestoredInput {
  readonly signal?: AbortSignal;
  /** Called before the first comparison and after each. */
  readonly onProgress?: (progress: RestoredProgress) => void;
}

/** How far a comparison has come. */
export interface RestoredProgress {
  readonly done: number;
  readonly total: number;
  /** Reads of Stripe's event summaries so far. */
  readonly reads: number;
}

/** A pair of which Stripe holds more than the ledger knows to have sent. */
export interface UnknownUsage {
  readonly customerId: string;
  readonly meter: string;
  /** The billing period `[periodFromMs, periodToMs)`. */
  readonly periodFromMs: number;
  readonly periodToMs: number;
  /** What was used, as far as the ledger knows it. */
  readonly counted: Quantity;
  /** What the ledger knows that Stripe has taken. */
  readonly delivered: Quantity;
  readonly stripe: Quantity;
  /** The first hour in which Stripe holds more; undefined where no hour that has ended does. */
  readonly sinceMs?: number;
  /** The invoice of some of the period is final: what the ledger has forgotten may have been billed. */
  readonly isFinal: boolean;
}

/** A pair that Stripe refuses to tell of: nothing is known of it. */
export interface UncomparedPair extends RefusedItem {
  readonly customerId: string;
  readonly meter: string;
}

export interface RestoredComparison {
  /** Pairs that were compared. */
  readonly compared: number;
  /** Pairs that could not be: all others were. */
  readonly refused: readonly UncomparedPair[];
  readonly unknown: readonly UnknownUsage[];
  /** Pairs of which Stripe holds less, and nowhere more: that is reconciliation's work. */
  readonly less: number;
  /** Reads of Stripe's event summaries that it took. */
  readonly reads: number;
}

/**
 * Compares what a ledger knows to have sent with what Stripe holds, over the periods in which Stripe still takes usage.
 * Where Stripe holds more, a ledger restored from a backup has forgotten what it sent, and would send it again. Changes
 * nothing. Takes a read of Stripe for each pair, and one for each hundred hours of those that differ.
 */
export async function compareRestored(
  deps: CompareRestoredDeps,
  { signal, onProgress }: CompareRestoredInput = {},
): Promise<RestoredComparison> {
  const nowMs = deps.clock.now();
  const pairs = (await listPairs(deps, { fromMs: nowMs - TIMESTAMP_AGE_MS_MAX, nowMs })).filter(isComparable);
  const unknown: UnknownUsage[] = [];
  const refused: UncomparedPair[] = [];
  let failures = 0;
  const counted = countingReads(deps);
  let done = 0;
  let less = 0;
  const report = (): void => onProgress?.({ done, total: pairs.length, reads: counted.reads() });
  report();
  for (const pair of pairs) {
    if (signal?.aborted === true) break;
    const found = await comparePair(counted.deps, pair, nowMs).catch((error: unknown) => {
      failures = isServerError(error) ? failures + 1 : 0;
      return toUncompared(pair, error, failures);
    });
    if (found === 'less') less += 1;
    else if (found !== 'equal' && 'reason' in found) refused.push(found);
    else if (found !== 'equal') unknown.push(found);
    done += 1;
    report();
  }
  return { compared: done - refused.length, refused, unknown, less, reads: counted.reads() };
}

/** @throws the error itself where it is not about this pair: so many 5xx in a row are not. */
function toUncompared(pair: ComparablePair, error: unknown, failures: number): UncomparedPair {
  const isFailure = isServerError(error) && failures < FAILURES_IN_A_ROW_MAX;
  const refusal = refusalOf(error) ?? (isFailure ? { reason: error.code, message: error.message } : undefined);
  if (refusal === undefined) throw error;
  const { customer, meter } = pair;
  return { item: customer.stripeCustomerId ?? '', customerId: customer.customerId, meter: meter.key, ...refusal };
}

/** The same reads, counted wherever they are made. */
function countingReads(deps: CompareRestoredDeps): { deps: CompareRestoredDeps; reads: () => number } {
  let reads = 0;
  const counting =
    <T>(read: (range: SummaryRange) => Promise<SummaryRead<T>>) =>
    async (range: SummaryRange): Promise<SummaryRead<T>> => {
      const found = await read(range);
      reads += found.reads;
      return found;
    };
  const summaries = {
    total: counting((range) => deps.summaries.total(range)),
    hourly: counting((range) => deps.summaries.hourly(range)),
  };
  return { deps: { ...deps, summaries }, reads: () => reads };
}

type ComparablePair = Pair & { stripeMeter: NonNullable<Pair['stripeMeter']> };

/** Stripe holds usage of those only that it knows by a customer and a meter. */
function isComparable(pair: Pair): pair is ComparablePair {
  return pair.customer.stripeCustomerId !== undefined && pair.stripeMeter !== undefined;
}

async function comparePair(
  deps: CompareRestoredDeps,
  pair: ComparablePair,
  nowMs: number,
): Promise<UnknownUsage | 'equal' | 'less'> {
  const scope = scopeOf(pair, nowMs);
  if (scope.toMs <= scope.fromMs) return 'equal';
  const range = {
    stripeCustomerId: pair.customer.stripeCustomerId ?? '',
    stripeMeterId: pair.stripeMeter.id,
    fromMs: scope.fromMs,
    toMs: scope.toMs,
  };
  const sums = await readSums(deps, pair, scope);
  const { value: stripe } = await deps.summaries.total(range);
  if (isSameTotal(stripe, sums.delivered)) return 'equal';
  const sinceMs = pair.mode === 'delta' ? await firstHourWithMore(deps, pair, { scope, range, nowMs }) : undefined;
  if (sinceMs === undefined && compareQuantities(stripe, sums.delivered) < 0) return 'less';
  const { figures } = await readFigures(deps, pair, { scope, sums });
  return {
    customerId: pair.customer.customerId,
    meter: pair.meter.key,
    periodFromMs: pair.period.fromMs,
    periodToMs: pair.period.toMs,
    counted: canonicalQuantity(expectedAtStripe(figures)),
    delivered: sums.delivered,
    stripe,
    ...(sinceMs !== undefined && { sinceMs }),
    isFinal: (await deps.finalPeriods(pair)).some(({ fromMs, toMs }) => fromMs < scope.toMs && toMs > scope.fromMs),
  };
}

/** More in one hour may hide behind less in another. */
async function firstHourWithMore(
  deps: CompareRestoredDeps,
  pair: Pair,
  read: { scope: Scope; range: Parameters<SummariesDeps['summaries']['total']>[0]; nowMs: number },
): Promise<number | undefined> {
  const { hours } = await readHours(deps, pair, { ...read, memory: undefined });
  return hours.find(({ stripe, delivered }) => compareQuantities(stripe, delivered) > 0)?.hourMs;
}
