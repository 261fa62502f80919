import { type HealAction, holdFinal, planFigure, planHeal, stampOf } from './heal-plan.ts';
import { foldByHour, foldHour, type HourLedger } from '../submissions/ledger-entry.ts';
import type { Quantity } from '../platform/quantity.ts';
import { type DifferingHour, differingHours, judge, settleHour } from './reconciliation.ts';
import { HOUR_MS, MINUTE_MS } from '../platform/durations.ts';
import {
  type Comparison,
  type FiguresDeps,
  memoryOf,
  type Pair,
  type PairMemory,
  type PairResult,
  type Scope,
  type SummariesDeps,
  type SummaryRange,
} from './pair.ts';

interface FindDriftDeps extends FiguresDeps, SummariesDeps {}

interface DriftContext {
  readonly scope: Scope;
  readonly range: SummaryRange;
  readonly memory: PairMemory | undefined;
  /** When the comparison began. */
  readonly nowMs: number;
}

/** The totals differ: finds the hours, sees which of them are settled, and plans what mends those. */
export async function findDrift(
  deps: FindDriftDeps,
  compared: Comparison,
  context: DriftContext,
): Promise<PairResult & { memory: PairMemory }> {
  const { pair } = compared;
  const { nowMs } = context;
  const read =
    pair.mode === 'delta'
      ? await readHours(deps, pair, context)
      : { hours: await readFigure(deps, compared, context), reads: 0 };
  const rule = { nowMs, lagMaxMs: deps.summaryLagMaxMs, rereadMs: deps.summaryRereadMs };
  const earlier = new Map(context.memory?.readings?.map((reading) => [reading.hourMs, reading]));
  const states = read.hours.map((hour) => ({ hour, ...settleHour(hour, earlier.get(hour.hourMs), rule) }));
  const settled = states.flatMap(({ hour, isSettled }) => (isSettled ? [hour] : []));
  const plan = await planOf(deps, pair, { settled, nowMs });
  const hours = states.map(({ hour: { hourMs, delivered, stripe }, isSettled }) => ({
    hourMs,
    delivered,
    stripe,
    isSettled,
  }));
  // A doubt that turns out to have counted is no drift.
  const isDoubtOnly = plan.length > 0 && plan.every(({ kind }) => kind === 'confirm');
  const verdict = isDoubtOnly ? 'in_flight' : judge(compared.figures, compared.stripe, hours);
  const waiting = states.flatMap(({ isSettled, settlesFromMs }) => (isSettled ? [] : [settlesFromMs ?? Infinity]));
  const rereadAtMs = Math.min(Infinity, ...waiting);
  const needsReread = rereadAtMs < Infinity;
  const memory = {
    ...memoryOf(pair, { nowMs, verdict }),
    readings: states.map(({ reading }) => reading),
    ...(needsReread && { rereadAtMs }),
  };
  const reads = compared.reads + read.reads;
  return { ...compared, reads, verdict, hours, plan, needsReread, memory };
}

async function planOf(
  deps: FindDriftDeps,
  pair: Pair,
  found: { settled: readonly DifferingHour[]; nowMs: number },
): Promise<HealAction[]> {
  if (found.settled.length === 0) return [];
  const finals = await deps.finalPeriods(pair);
  return found.settled.flatMap(({ hourMs, delivered, stripe, ledger: { entries } }) => {
    const hour = { hourMs, delivered, stripe, entries };
    const action = pair.mode === 'delta' ? planHeal(hour, { nowMs: found.nowMs, finals }) : planFigure(hour);
    if (action === undefined) return [];
    return [holdFinal(action, finals, stampOf(action, { periodFromMs: pair.fromMs, entries }))];
  });
}

/** The hours of the range in which the two sides differ. */
export async function readHours(
  deps: FindDriftDeps,
  pair: Pair,
  { scope, range, nowMs }: DriftContext,
): Promise<{ hours: DifferingHour[]; reads: number }> {
  const compared = { ...scope, toMs: lastCompared(pair, scope) };
  const ledgers = async (): Promise<Map<number, HourLedger>> =>
    foldByHour(await deps.ledger.entries(compared), { fromMs: scope.fromMs, nowMs });
  const before = await ledgers();
  const { value: stripe, reads } = await readStripeHours(deps, { ...range, toMs: compared.toMs });
  const after = await ledgers();
  return { hours: differingHours({ before, after, stripe, nothing: foldHour([], nowMs) }), reads };
}

/** The hour that has just begun is left out: nothing in it can be settled. A period that has ended is read to its end. */
function lastCompared(pair: Pair, { fromMs, toMs }: Scope): number {
  const hasEnded = pair.period.toMs - toMs < MINUTE_MS;
  return hasEnded ? toMs : Math.max(Math.floor(toMs / HOUR_MS) * HOUR_MS, fromMs);
}

/** Stripe's hourly totals; the parts of hours at either end of the range are read on their own. */
async function readStripeHours(
  deps: SummariesDeps,
  range: SummaryRange,
): Promise<{ value: Map<number, Quantity>; reads: number }> {
  const wholeFromMs = Math.min(Math.ceil(range.fromMs / HOUR_MS) * HOUR_MS, range.toMs);
  const wholeToMs = Math.max(Math.floor(range.toMs / HOUR_MS) * HOUR_MS, wholeFromMs);
  const hours = new Map<number, Quantity>();
  let calls = 0;
  for (const [fromMs, toMs] of [
    [range.fromMs, wholeFromMs],
    [wholeToMs, range.toMs],
  ] as const) {
    if (fromMs >= toMs) continue;
    const { value, reads } = await deps.summaries.total({ ...range, fromMs, toMs });
    hours.set(fromMs, value);
    calls += reads;
  }
  if (wholeFromMs >= wholeToMs) return { value: hours, reads: calls };
  const { value, reads } = await deps.summaries.hourly({ ...range, fromMs: wholeFromMs, toMs: wholeToMs });
  return { value: new Map([...hours, ...value]), reads: calls + reads };
}

/** A meter that shows the latest value has one figure for the whole range, which has been read. */
async function readFigure(deps: FindDriftDeps, compared: Comparison, context: DriftContext): Promise<DifferingHour[]> {
  const { figures, stripe = '0' } = compared;
  const ledger = foldHour(await deps.ledger.entries(context.scope), context.nowMs);
  const { delivered, fingerprint } = figures;
  const hasMoved = ledger.fingerprint !== fingerprint;
  return [{ hourMs: context.scope.fromMs, delivered, stripe, fingerprint, ledger, hasMoved }];
}
