import { boundary } from '../platform/boundary.ts';
import type { HealBounds } from './heal-plan.ts';
import { DRIFT_VERDICTS, REFUSED_VERDICTS, type Verdict } from './reconciliation.ts';
import { type RefusedItems, Refusals } from '../stripe/stripe-refusal.ts';
import { HOUR_MS } from '../platform/durations.ts';
import { type AggregateCheck, type CheckAggregatesDeps, checkAggregates } from './check-aggregates.ts';
import { comparePair } from './compare-pair.ts';
import { CUSTOMERS_PER_BATCH, listPairs, type ListPairsDeps } from './list-pairs.ts';
import { type UnbilledUsage, unbilledOfPair } from './find-unbilled-usage.ts';
import type { ComparePairDeps, Pair, PairMemory, PairResult } from './pair.ts';

/** A run waits this long for second reads; beyond it a later run makes them. */
const REREAD_WAIT_MS_MAX = 60_000;
/** What matched is read again with the budget left over, but not more often than this: nightly. */
const MATCH_AGE_MS_MIN = 20 * HOUR_MS;
/** Pairs in a row for which Stripe answers 5xx: so many are Stripe's trouble and no longer theirs, and end the run. */
export const FAILURES_IN_A_ROW_MAX = 3;

export interface ReconcileUsageDeps extends ComparePairDeps, CheckAggregatesDeps, ListPairsDeps {
  readonly memories: {
    pairs(customerIds: readonly string[]): Promise<PairMemory[]>;
    save(memory: PairMemory): Promise<void>;
  };
  readonly results: {
    saveRow(run: string, result: PairResult): Promise<void>;
    saveRun(run: ReconciliationRun): Promise<void>;
  };
  readonly mode: 'heal' | 'report';
  readonly bounds: HealBounds;
  readonly summaryReadsMax: number;
  /** An id for a run, never used before. */
  newId(): string;
  readonly log: { info(fields: object, phrase: string): void; error(fields: object, phrase: string): void };
}

/** Also looks for usage that nothing bills: of everybody, or of one customer. */
export interface ReconcileWithBillingDeps extends ReconcileUsageDeps {
  findUnbilled(of: { customerId?: string; signal?: AbortSignal }): Promise<readonly UnbilledUsage[]>;
}

/** What one run came to. */
export interface ReconciliationRun {
  readonly id: string;
  readonly startedAtMs: number;
  endedAtMs?: number;
  readonly mode: 'heal' | 'report';
  readonly input: Record<string, unknown>;
  reads: number;
  verdicts: Partial<Record<Verdict, number>>;
  aggregates: AggregateCheck;
  healed: number;
  waiting: number;
  /** Matches that are as of an earlier read. */
  remembered?: number;
  /** Pairs that Stripe refuses to tell of; absent where there are none. */
  refused?: RefusedItems;
}

export interface ReconcileUsageInput {
  /** Bounds on the periods compared, UTC milliseconds; default: the open period and those that ended within 3 days. */
  readonly fromMs?: number;
  readonly toMs?: number;
  readonly customerId?: string;
  /** Report only, whatever the mode. */
  readonly dryRun?: boolean;
  /** Reads every pair anew, as far as the budget of reads goes; the others are `not_read`, never a remembered match. */
  readonly fresh?: boolean;
  readonly signal?: AbortSignal;
}

/**
 * Lays the two halves side by side: raw facts against aggregates, aggregates against submissions, submissions against
 * Stripe's event summaries. Stores both numbers of each comparison, and mends what is settled and within bounds.
 */
export async function reconcileUsage(
  deps: ReconcileWithBillingDeps,
  input: ReconcileUsageInput = {},
): Promise<ReconciliationRun> {
  const { signal, ...stated } = input;
  const run = newRun(deps, { mode: input.dryRun === true ? 'report' : deps.mode, input: stated });
  await deps.results.saveRun(run);
  const pairs = await listPairs(deps, { ...input, nowMs: deps.clock.now() });
  run.aggregates = await checkAggregates(deps, { pairs, apply: run.mode === 'heal' });
  await boundary('reconcile.aggregates-checked');
  const found = new Map<string, PairResult>();
  const { customerId } = input;
  const unbilled = await deps.findUnbilled({
    ...(customerId !== undefined && { customerId }),
    ...(signal && { signal }),
  });
  const comparing = {
    found,
    mayFinish: input.dryRun !== true,
    isFresh: input.fresh === true,
    signal,
    unbilled: byCustomerAndMeter(unbilled),
  };
  await comparePairs(deps, run, { ...comparing, pairs });
  const open = pairsWhere(found, ({ needsReread }) => needsReread);
  if (open.length > 0 && deps.summaryRereadMs <= REREAD_WAIT_MS_MAX && signal?.aborted !== true) {
    await deps.clock.sleep(deps.summaryRereadMs, signal);
    await comparePairs(deps, run, { ...comparing, pairs: open });
  }
  const matched = pairsWhere(found, ({ isRemembered }) => isRemembered);
  await comparePairs(deps, run, { ...comparing, pairs: matched, isLeftOver: true });
  await finishRun(deps, run, [...found.values()]);
  return run;
}

function pairsWhere(found: ReadonlyMap<string, PairResult>, isMeant: (result: PairResult) => boolean): Pair[] {
  return [...found.values()].filter(isMeant).map(({ pair }) => pair);
}

/** A run that has done nothing yet. */
export function newRun(
  deps: Pick<ReconcileUsageDeps, 'newId' | 'clock'>,
  { mode, input }: { mode: 'heal' | 'report'; input: Record<string, unknown> },
): ReconciliationRun {
  return {
    id: deps.newId(),
    startedAtMs: deps.clock.now(),
    mode,
    input,
    reads: 0,
    verdicts: {},
    aggregates: { checked: 0, requeued: 0, person: [] },
    healed: 0,
    waiting: 0,
  };
}

async function finishRun(
  deps: ReconcileUsageDeps,
  run: ReconciliationRun,
  found: readonly PairResult[],
): Promise<void> {
  run.endedAtMs = deps.clock.now();
  for (const { verdict } of found) run.verdicts[verdict] = (run.verdicts[verdict] ?? 0) + 1;
  run.waiting = found.filter(({ waits }) => waits).length;
  run.remembered = found.filter(({ verdict, isRemembered }) => verdict === 'match' && isRemembered).length;
  Object.assign(run, refusedOf(found));
  await deps.results.saveRun(run);
  const drifting = found.filter(({ verdict }) => DRIFT_VERDICTS.includes(verdict)).length;
  if (drifting > 0) deps.log.error({ run: run.id, verdicts: run.verdicts }, 'reconciliation found drift');
}

function refusedOf(found: readonly PairResult[]): { refused?: RefusedItems } {
  const refusals = new Refusals();
  for (const { verdict, pair, note } of found) {
    if (!REFUSED_VERDICTS.includes(verdict)) continue;
    const { customer, meter } = pair;
    const item = `customer ${customer.customerId} (${customer.stripeCustomerId ?? 'not mapped'}), meter ${meter.key}`;
    refusals.add({ item, reason: verdict, message: note ?? '' });
  }
  return refusals.result();
}

interface PairsToCompare {
  readonly pairs: readonly Pair[];
  /** By pair, what the last comparison of this run came to. */
  readonly found: Map<string, PairResult>;
  readonly mayFinish: boolean;
  readonly unbilled: ReadonlyMap<string, UnbilledUsage>;
  readonly signal: AbortSignal | undefined;
  /** They match as far as we know: read again as far as the budget goes, so that a loss at Stripe is noticed. */
  readonly isLeftOver?: boolean;
  /** What is remembered of them stands for nothing. */
  readonly isFresh: boolean;
}

/** Compares pairs within the budget of reads, oldest reading first. */
async function comparePairs(deps: ReconcileUsageDeps, run: ReconciliationRun, work: PairsToCompare): Promise<void> {
  const memories = await rememberedBy(deps, work.pairs);
  const readAtMs = (pair: Pair): number => memories.get(keyOf(pair))?.readAtMs ?? 0;
  const isLeftOver = work.isLeftOver === true;
  let failures = 0;
  for (const pair of [...work.pairs].sort((a, b) => readAtMs(a) - readAtMs(b))) {
    if (work.signal?.aborted === true) break;
    const memory = memories.get(keyOf(pair));
    const mayRead = run.reads < deps.summaryReadsMax;
    if (isLeftOver && (!mayRead || deps.clock.now() - readAtMs(pair) < MATCH_AGE_MS_MIN)) break;
    const compared = await comparePair(deps, pair, {
      ...(memory && { memory }),
      mayRead,
      isReadAnyway: isLeftOver || work.isFresh,
      mayHeal: run.mode === 'heal',
      mayFinish: work.mayFinish,
      bounds: deps.bounds,
    });
    const result = await withUnbilled(deps, compared, work.unbilled);
    run.reads += result.reads;
    run.healed += result.healed;
    await saveResult(deps, run.id, result);
    work.found.set(keyOf(pair), result);
    failures = result.failure === undefined ? (result.reads > 0 ? 0 : failures) : failures + 1;
    if (failures >= FAILURES_IN_A_ROW_MAX) throw result.failure;
  }
}

/** Equal figures are a match only if something bills them. */
async function withUnbilled(
  deps: ReconcileUsageDeps,
  result: PairResult,
  found: ReadonlyMap<string, UnbilledUsage>,
): Promise<PairResult> {
  const { customer, meter } = result.pair;
  const usage = found.get(`${customer.customerId}\u001f${meter.key}`);
  if (usage === undefined || usage.accepted !== undefined) return result;
  const unbilled = await unbilledOfPair(deps, result.pair, usage.parts);
  if (unbilled === undefined) return result;
  return { ...result, unbilled, verdict: result.verdict === 'match' ? 'unbilled' : result.verdict };
}

function byCustomerAndMeter(found: readonly UnbilledUsage[]): Map<string, UnbilledUsage> {
  return new Map(found.map((usage) => [`${usage.customerId}\u001f${usage.meter}`, usage]));
}

/** Stores a comparison, and what the next one of the pair needs to know of it. */
export async function saveResult(
  deps: Pick<ReconcileUsageDeps, 'results' | 'memories'>,
  run: string,
  result: PairResult,
): Promise<void> {
  await deps.results.saveRow(run, result);
  if (result.memory !== undefined) await deps.memories.save(result.memory);
  await boundary('reconcile.pair-saved');
}

/** What is remembered of pairs, by `keyOf`. */
export async function rememberedBy(
  deps: Pick<ReconcileUsageDeps, 'memories'>,
  pairs: readonly Pair[],
): Promise<Map<string, PairMemory>> {
  const memories = new Map<string, PairMemory>();
  const ids = [...new Set(pairs.map(({ customer }) => customer.customerId))];
  for (let from = 0; from < ids.length; from += CUSTOMERS_PER_BATCH) {
    for (const memory of await deps.memories.pairs(ids.slice(from, from + CUSTOMERS_PER_BATCH))) {
      memories.set(`${memory.customerId}\u001f${memory.meter}\u001f${memory.periodFromMs}`, memory);
    }
  }
  return memories;
}

export function keyOf(pair: Pair): string {
  return `${pair.customer.customerId}\u001f${pair.meter.key}\u001f${pair.period.fromMs}`;
}
