import { boundary } from '../src/boundary.ts';
import type { Clock } from '../src/clock.ts';
import { type BillingCustomer, billingPeriodOf, countsFromMs } from '../src/domain/billing-customer.ts';
import { type DestinationMeter, meterFault } from '../src/domain/destination.ts';
import type { Meter } from '../src/domain/meter.ts';
import type { Period } from '../src/domain/period.ts';
import { DRIFT_VERDICTS, type HealBounds, type Verdict } from '../src/domain/reconciliation.ts';
import { HOUR_MS } from '../src/domain/window.ts';
import { type AggregateCheck, type CheckAggregatesDeps, checkAggregates } from './check-aggregates.ts';
import { comparePair, type ComparePairDeps, type Pair, type PairMemory, type PairResult } from './compare-pair.ts';

/** Periods that ended this recently are compared again: their invoices may still be drafts. */
const ENDED_PERIOD_MS_MAX = 3 * 24 * HOUR_MS;
/** A run waits this long for second reads; beyond it a later run makes them. */
const REREAD_WAIT_MS_MAX = 60_000;
const CUSTOMERS_PER_BATCH = 200;

export interface ReconcileUsageDeps extends ComparePairDeps, CheckAggregatesDeps {
  /** Customers that have submissions. */
  customerIds(): Promise<string[]>;
  billingOf(customerIds: readonly string[]): Promise<Map<string, BillingCustomer>>;
  meters(): Promise<Meter[]>;
  stripeMeters(): Promise<DestinationMeter[]>;
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
  readonly summaryRereadMs: number;
  /** An id for a run, never used before. */
  newId(): string;
  readonly clock: Clock;
  readonly log: { info(fields: object, phrase: string): void; error(fields: object, phrase: string): void };
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
}

export interface ReconcileUsageInput {
  /** Bounds on the periods compared, UTC milliseconds; default: the open period and those that ended within 3 days. */
  readonly fromMs?: number;
  readonly toMs?: number;
  readonly customerId?: string;
  /** false: report only, whatever the mode. */
  readonly apply?: boolean;
  readonly signal?: AbortSignal;
}

/**
 * Lays the two halves side by side: raw facts against aggregates, aggregates against submissions, submissions against
 * Stripe's event summaries. Stores both numbers of each comparison, and mends what is settled and within bounds.
 */
export async function reconcileUsage(
  deps: ReconcileUsageDeps,
  input: ReconcileUsageInput = {},
): Promise<ReconciliationRun> {
  const { signal, ...stated } = input;
  const mode = input.apply === false ? 'report' : deps.mode;
  const run: ReconciliationRun = {
    id: deps.newId(),
    startedAtMs: deps.clock.now(),
    mode,
    input: stated,
    reads: 0,
    verdicts: {},
    aggregates: { checked: 0, requeued: 0, person: [] },
    healed: 0,
    waiting: 0,
  };
  await deps.results.saveRun(run);
  const pairs = await listPairs(deps, input);
  run.aggregates = await checkAggregates(deps, { pairs, apply: mode === 'heal' });
  await boundary('reconcile.aggregates-checked');
  const open = await comparePairs(deps, run, { pairs, ...(signal && { signal }) });
  if (open.length > 0 && deps.summaryRereadMs <= REREAD_WAIT_MS_MAX && signal?.aborted !== true) {
    await deps.clock.sleep(deps.summaryRereadMs, signal);
    for (const result of open) count(run, result.verdict, -1);
    await comparePairs(deps, run, { pairs: open.map(({ pair }) => pair), ...(signal && { signal }) });
  }
  run.endedAtMs = deps.clock.now();
  await deps.results.saveRun(run);
  const drifting = DRIFT_VERDICTS.reduce((sum, verdict) => sum + (run.verdicts[verdict] ?? 0), 0);
  if (drifting > 0) deps.log.error({ run: run.id, verdicts: run.verdicts }, 'reconciliation found drift');
  return run;
}

/** Compares pairs within the budget of reads, oldest reading first; returns those that wait for a second read. */
async function comparePairs(
  deps: ReconcileUsageDeps,
  run: ReconciliationRun,
  input: { pairs: readonly Pair[]; signal?: AbortSignal },
): Promise<PairResult[]> {
  const memories = await rememberedBy(deps, input.pairs);
  const byAge = [...input.pairs].sort(
    (a, b) => (memories.get(keyOf(a))?.readAtMs ?? 0) - (memories.get(keyOf(b))?.readAtMs ?? 0),
  );
  const waiting: PairResult[] = [];
  for (const pair of byAge) {
    if (input.signal?.aborted === true) break;
    const memory = memories.get(keyOf(pair));
    const result = await comparePair(deps, pair, {
      ...(memory && { memory }),
      mayRead: run.reads < deps.summaryReadsMax,
      mayHeal: run.mode === 'heal',
      bounds: deps.bounds,
    });
    run.reads += result.reads;
    run.healed += result.healed;
    run.waiting += result.waits ? 1 : 0;
    count(run, result.verdict, 1);
    await deps.results.saveRow(run.id, result);
    if (result.memory !== undefined) await deps.memories.save(result.memory);
    await boundary('reconcile.pair-saved');
    if (result.needsReread) waiting.push(result);
  }
  return waiting;
}

function count(run: ReconciliationRun, verdict: Verdict, by: number): void {
  const next = (run.verdicts[verdict] ?? 0) + by;
  if (next > 0) run.verdicts[verdict] = next;
  else delete run.verdicts[verdict];
}

async function rememberedBy(deps: ReconcileUsageDeps, pairs: readonly Pair[]): Promise<Map<string, PairMemory>> {
  const memories = new Map<string, PairMemory>();
  const ids = [...new Set(pairs.map(({ customer }) => customer.customerId))];
  for (let from = 0; from < ids.length; from += CUSTOMERS_PER_BATCH) {
    for (const memory of await deps.memories.pairs(ids.slice(from, from + CUSTOMERS_PER_BATCH))) {
      memories.set(`${memory.customerId}\u001f${memory.meter}\u001f${memory.periodFromMs}`, memory);
    }
  }
  return memories;
}

function keyOf(pair: Pair): string {
  return `${pair.customer.customerId}\u001f${pair.meter.key}\u001f${pair.period.fromMs}`;
}

/** Every customer with submissions × every meter with a Stripe meter × the periods to compare. */
async function listPairs(deps: ReconcileUsageDeps, input: ReconcileUsageInput): Promise<Pair[]> {
  const meters = (await deps.meters()).filter(({ stripe }) => stripe !== undefined);
  const stripeMeters = new Map((await deps.stripeMeters()).map((meter) => [meter.eventName, meter]));
  const ids = input.customerId === undefined ? await deps.customerIds() : [input.customerId];
  const pairs: Pair[] = [];
  for (let from = 0; from < ids.length; from += CUSTOMERS_PER_BATCH) {
    const customers = await deps.billingOf(ids.slice(from, from + CUSTOMERS_PER_BATCH));
    for (const customer of customers.values()) {
      for (const period of periodsOf(customer, input, deps.clock.now())) {
        for (const meter of meters) {
          const fromMs = Math.max(period.fromMs, customer.submitFromMs ?? 0, countsFromMs(meter, customer));
          if (fromMs >= period.toMs) continue;
          const stripeMeter = stripeMeters.get(meter.stripe?.eventName ?? '');
          const isFed = stripeMeter !== undefined && meterFault(stripeMeter) === undefined;
          pairs.push({ customer, meter, period, fromMs, ...(isFed && { stripeMeter }) });
        }
      }
    }
  }
  return pairs;
}

function periodsOf(customer: BillingCustomer, input: ReconcileUsageInput, nowMs: number): Period[] {
  const lastMs = Math.min(input.toMs === undefined ? nowMs : input.toMs - 1, nowMs);
  const firstMs = input.fromMs ?? lastMs - ENDED_PERIOD_MS_MAX;
  const periods: Period[] = [];
  let period = billingPeriodOf(customer, lastMs);
  while (period.toMs > firstMs) {
    periods.unshift(period);
    period = billingPeriodOf(customer, period.fromMs - 1);
  }
  return periods;
}
