import { isWithinBounds } from './heal-plan.ts';
import { equalQuantities, isZeroQuantity, type Quantity } from '../platform/quantity.ts';
import { expectedAtStripe, isSameTotal, judge, type LedgerFigures, type Verdict } from './reconciliation.ts';
import { isServerError, refusalOf } from '../stripe/stripe-refusal.ts';
import { carryOutPlan } from './carry-out-plan.ts';
import { findDrift } from './find-drift.ts';
import { finishCancellations } from './finish-cancellations.ts';
import {
  type CompareOptions,
  type ComparePairDeps,
  type Comparison,
  memoryOf,
  type Pair,
  type PairMemory,
  type PairResult,
  type RangeSums,
  type Scope,
  type SummaryRange,
} from './pair.ts';
import { readFigures, readSums, scopeOf } from './read-figures.ts';

const NOTHING_DONE = {
  hours: [],
  plan: [],
  applied: false,
  reads: 0,
  healed: 0,
  waits: false,
  needsReread: false,
  isRemembered: false,
} as const;

/** Compares one pair with Stripe, and mends it where that is settled, explained and within bounds. */
export async function comparePair(deps: ComparePairDeps, pair: Pair, options: CompareOptions): Promise<PairResult> {
  const nowMs = deps.clock.now();
  const scope = scopeOf(pair, nowMs);
  const sums = await readFinishedSums(deps, pair, { scope, mayFinish: options.mayFinish });
  const { fromMs, toMs } = scope;
  const base = { ...NOTHING_DONE, pair, fromMs, toMs, ...(await readFigures(deps, pair, { scope, sums })) };
  const range = rangeOf(pair, { fromMs, toMs });
  if (range === undefined || toMs <= fromMs) return { ...base, verdict: verdictUnread(base.figures) };
  const { memory } = options;
  if (options.isReadAnyway !== true) {
    if (sums.submissions === 0) return nothingSent(base, memory);
    if (isUntouched(deps, base, memory)) return remembered(base, memory);
  }
  if (!options.mayRead) return { ...base, verdict: 'not_read' };
  try {
    const { value: stripe, reads } = await deps.summaries.total(range);
    const read = { ...base, stripe, reads, readAtMs: nowMs };
    const after = await readSums(deps, pair, scope);
    if (after.fingerprint !== sums.fingerprint) return whileMoving(read, after, nowMs);
    if (isSameTotal(stripe, sums.delivered)) return await conclude(deps, read, { scope, nowMs });
    return await mend(deps, await findDrift(deps, read, { scope, range, memory, nowMs }), options);
  } catch (error) {
    return unread(base, error, nowMs);
  }
}

/**
 * Stripe refuses to tell of this pair, or fails at it: a verdict as well, so that all others are compared. It counts as
 * read now: what cannot be read must not come first in every run, and use up the reads of the others.
 * @throws the error itself where it is not about this pair.
 */
function unread(base: Comparison, error: unknown, nowMs: number): PairResult {
  const refusal = refusalOf(error);
  if (refusal === undefined && !isServerError(error)) throw error;
  const verdict =
    refusal === undefined ? 'not_read' : refusal.reason === 'customer_not_found' ? 'customer_not_found' : 'refused';
  const note = error instanceof Error ? error.message : String(error);
  const memory = memoryOf(base.pair, { nowMs, verdict });
  return { ...base, verdict, note, reads: base.reads + 1, memory, ...(refusal === undefined && { failure: error }) };
}

/** Our submissions of the range, once calls that nobody knows the answer of have been made again. */
async function readFinishedSums(
  deps: ComparePairDeps,
  pair: Pair,
  { scope, mayFinish }: { scope: Scope; mayFinish: boolean },
): Promise<RangeSums> {
  const sums = await readSums(deps, pair, scope);
  if (sums.calling === 0 || !mayFinish) return sums;
  await finishCancellations(deps, await deps.ledger.entries(scope));
  return readSums(deps, pair, scope);
}

function rangeOf(pair: Pair, bounds: { fromMs: number; toMs: number }): SummaryRange | undefined {
  const { stripeCustomerId } = pair.customer;
  if (stripeCustomerId === undefined || pair.stripeMeter === undefined) return undefined;
  return { stripeCustomerId, stripeMeterId: pair.stripeMeter.id, ...bounds };
}

function verdictUnread(figures: LedgerFigures): Verdict {
  return isZeroQuantity(figures.blocked) ? 'not_read' : 'blocked';
}

/**
 * Nothing was submitted since the last match, and what is expected is what was delivered. Once more when a period has
 * ended and the lag has passed, Stripe is asked all the same: that total is the one that is billed.
 */
function isUntouched(deps: ComparePairDeps, { figures, pair }: Comparison, memory: PairMemory | undefined): boolean {
  if (memory?.matchedFingerprint === undefined || memory.matchedFingerprint !== figures.fingerprint) return false;
  if (!equalQuantities(expectedAtStripe(figures), figures.delivered)) return false;
  const finalFromMs = pair.period.toMs + deps.summaryLagMaxMs;
  return deps.clock.now() < finalFromMs || memory.readAtMs >= finalFromMs;
}

function remembered(base: Comparison, memory: PairMemory | undefined): PairResult {
  return {
    ...base,
    verdict: base.figures.isLateWaiting ? 'late' : 'match',
    note: 'unchanged since the last match',
    isRemembered: true,
    ...figureOf(memory),
  };
}

/** Stripe's figure at the last match, and when it was read: it is shown as of then. */
function figureOf(memory: PairMemory | undefined): { stripe?: Quantity; readAtMs?: number } {
  if (memory?.matchedTotal === undefined) return {};
  return { stripe: memory.matchedTotal, readAtMs: memory.readAtMs };
}

/** Reads are for what was sent; whether Stripe holds anything else is looked at with those left over. */
function nothingSent(base: Comparison, memory: PairMemory | undefined): PairResult {
  const isMatch =
    memory?.matchedFingerprint === base.figures.fingerprint && isZeroQuantity(expectedAtStripe(base.figures));
  const note = 'nothing was submitted';
  return {
    ...base,
    verdict: isMatch ? 'match' : 'not_read',
    note,
    isRemembered: true,
    ...(isMatch && figureOf(memory)),
  };
}

/** The ledger changed while Stripe was read: the two say nothing about each other. */
function whileMoving(result: Comparison, after: RangeSums, nowMs: number): PairResult {
  const verdict = 'in_flight';
  const figures = { ...result.figures, ...after };
  return { ...result, verdict, figures, memory: memoryOf(result.pair, { nowMs, verdict }) };
}

/** Stripe holds what was delivered: the verdict follows from our own figures. */
async function conclude(
  deps: ComparePairDeps,
  result: Comparison,
  context: { scope: Scope; nowMs: number },
): Promise<PairResult> {
  const { scope, nowMs } = context;
  const { figures, stripe } = result;
  const verdict = judge(figures, stripe, []);
  const memory = memoryOf(result.pair, { nowMs, verdict });
  if (verdict !== 'match' && verdict !== 'late') return { ...result, verdict, memory };
  await deps.ledger.confirm(scope, new Date(nowMs));
  const matched = { matchedFingerprint: figures.fingerprint, ...(stripe !== undefined && { matchedTotal: stripe }) };
  return { ...result, verdict, memory: { ...memory, ...matched } };
}

/** Carries a plan out where it may be, else leaves it waiting. */
async function mend(
  deps: ComparePairDeps,
  found: PairResult & { memory: PairMemory },
  { mayHeal, bounds }: CompareOptions,
): Promise<PairResult> {
  const { pair, plan, figures, memory } = found;
  if (plan.length === 0) return found;
  if (!mayHeal || !isWithinBounds(plan, figures.local, bounds)) return { ...found, waits: true };
  const healed = await carryOutPlan(deps, { pair, plan, readAtMs: memory.readAtMs });
  return { ...found, applied: healed > 0, healed, waits: plan.some(({ kind }) => kind === 'person') };
}
