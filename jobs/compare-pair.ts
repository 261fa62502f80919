import { boundary } from '../src/boundary.ts';
import type { Clock } from '../src/clock.ts';
import type { BillingCustomer } from '../src/domain/billing-customer.ts';
import type { DestinationMeter } from '../src/domain/destination.ts';
import type { Meter } from '../src/domain/meter.ts';
import type { Period } from '../src/domain/period.ts';
import { equalQuantities, isZeroQuantity, type Quantity } from '../src/domain/quantity.ts';
import {
  type DeliveredSubmission,
  differingHours,
  type HealAction,
  type HealBounds,
  type HourDifference,
  isWithinBounds,
  judge,
  type LedgerFigures,
  planHeal,
  type Verdict,
} from '../src/domain/reconciliation.ts';
import { HOUR_MS } from '../src/domain/window.ts';

const MINUTE_MS = 60_000;

/** One customer's meter over one billing period. */
export interface Pair {
  readonly customer: BillingCustomer;
  readonly meter: Meter;
  readonly period: Period;
  /** Where submitting begins within the period. */
  readonly fromMs: number;
  /** Absent when the Stripe meter is missing or cannot be fed. */
  readonly stripeMeter?: DestinationMeter;
}

/** What is remembered of a pair between runs. */
export interface PairMemory {
  readonly customerId: string;
  readonly meter: string;
  readonly periodFromMs: number;
  readonly readAtMs: number;
  readonly verdict: Verdict;
  readonly matchedFingerprint?: string;
  /** Stripe's total at the last match. */
  readonly matchedTotal?: Quantity;
  readonly firstRead?: FirstRead;
  readonly rereadAtMs?: number;
}

interface FirstRead {
  readonly atMs: number;
  readonly fingerprint: string;
  readonly hours: readonly { readonly hourMs: number; readonly delivered: Quantity; readonly stripe: Quantity }[];
}

export interface PairResult {
  readonly pair: Pair;
  readonly fromMs: number;
  readonly toMs: number;
  readonly verdict: Verdict;
  readonly figures: LedgerFigures;
  readonly stripe?: Quantity;
  readonly hours: readonly HourDifference[];
  readonly note?: string;
  readonly plan: readonly HealAction[];
  readonly applied: boolean;
  readonly reads: number;
  readonly healed: number;
  /** A plan waits for a person. */
  readonly waits: boolean;
  readonly needsReread: boolean;
  readonly memory?: PairMemory;
}

interface Scope {
  readonly customerId: string;
  readonly meter: string;
  readonly fromMs: number;
  readonly toMs: number;
}

export interface ComparePairDeps {
  readonly ledger: {
    sums(scope: Scope): Promise<Omit<LedgerFigures, 'local'>>;
    deliveredByHour(scope: Scope): Promise<Map<number, Quantity>>;
    attemptsOfHour(
      scope: Scope,
      hourMs: number,
    ): Promise<{ readonly isUnanswered: boolean; readonly lastAttemptAtMs?: number }>;
    deliveredOfHour(scope: Scope, hourMs: number): Promise<DeliveredSubmission[]>;
    confirm(scope: Scope, at: Date): Promise<void>;
    replace(identifier: string, reason: string, at: Date): Promise<boolean>;
    topUp(input: { scope: Scope; hourMs: number; value: Quantity; installation: string; at: Date }): Promise<boolean>;
  };
  /** The figure of a pair: the sum of its windows from `fromMs` on, or its period's running figure. */
  localFigure(pair: Pair): Promise<Quantity>;
  readonly summaries: {
    total(range: SummaryRange): Promise<Quantity>;
    hourly(range: SummaryRange): Promise<Map<number, Quantity>>;
  };
  readonly installation: string;
  readonly summaryLagMaxMs: number;
  readonly summaryRereadMs: number;
  readonly clock: Clock;
}

interface SummaryRange {
  readonly stripeCustomerId: string;
  readonly stripeMeterId: string;
  readonly fromMs: number;
  readonly toMs: number;
}

interface CompareOptions {
  readonly memory?: PairMemory;
  readonly mayRead: boolean;
  readonly mayHeal: boolean;
  readonly bounds: HealBounds;
}

/** Compares one pair with Stripe, and mends it where that is settled, explained and within bounds. */
export async function comparePair(deps: ComparePairDeps, pair: Pair, options: CompareOptions): Promise<PairResult> {
  const nowMs = deps.clock.now();
  // Stripe takes ranges on whole minutes. Stamps lie at window starts, so the minute of an anchor belongs to its period.
  const fromMs = Math.floor(pair.fromMs / MINUTE_MS) * MINUTE_MS;
  const toMs = Math.max(
    Math.min(Math.floor(pair.period.toMs / MINUTE_MS), Math.floor(nowMs / MINUTE_MS)) * MINUTE_MS,
    fromMs,
  );
  const scope = { customerId: pair.customer.customerId, meter: pair.meter.key, fromMs, toMs };
  const figures = { ...(await deps.ledger.sums(scope)), local: await deps.localFigure(pair) };
  const base = {
    pair,
    fromMs,
    toMs,
    figures,
    hours: [],
    plan: [],
    applied: false,
    reads: 0,
    healed: 0,
    waits: false,
    needsReread: false,
  };
  const range = rangeOf(pair, { fromMs, toMs });
  if (range === undefined || toMs <= fromMs) {
    return { ...base, verdict: isZeroQuantity(figures.blocked) ? 'not_read' : 'blocked' };
  }
  if (isUntouched(figures, options.memory)) {
    const stripe = options.memory?.matchedTotal;
    return { ...base, verdict: 'match', note: 'unchanged since the last match', ...(stripe && { stripe }) };
  }
  if (!options.mayRead) return { ...base, verdict: 'not_read' };
  const stripe = await deps.summaries.total(range);
  const after = { ...(await deps.ledger.sums(scope)), local: figures.local };
  if (after.fingerprint !== figures.fingerprint) {
    const memory = memoryOf(pair, { nowMs, verdict: 'in_flight' });
    return { ...base, verdict: 'in_flight', figures: after, stripe, reads: 1, memory };
  }
  if (equalQuantities(stripe, figures.delivered)) return conclude(deps, { ...base, stripe, reads: 1 }, scope);
  return drillDown(deps, { ...base, stripe, reads: 2 }, { scope, range, options });
}

/** Nothing was submitted since the last match, and the local figure is what was delivered. */
function isUntouched(figures: LedgerFigures, memory: PairMemory | undefined): boolean {
  return (
    memory?.matchedFingerprint !== undefined &&
    memory.matchedFingerprint === figures.fingerprint &&
    equalQuantities(figures.local, figures.delivered)
  );
}

function rangeOf(pair: Pair, bounds: { fromMs: number; toMs: number }): SummaryRange | undefined {
  const { stripeCustomerId } = pair.customer;
  if (stripeCustomerId === undefined || pair.stripeMeter === undefined) return undefined;
  return { stripeCustomerId, stripeMeterId: pair.stripeMeter.id, ...bounds };
}

/** Stripe holds what was delivered: the verdict follows from our own figures. */
async function conclude(
  deps: ComparePairDeps,
  result: Omit<PairResult, 'verdict' | 'memory'>,
  scope: Scope,
): Promise<PairResult> {
  const nowMs = deps.clock.now();
  const verdict = judge(result.figures, result.stripe, []);
  if (verdict !== 'match') return { ...result, verdict, memory: memoryOf(result.pair, { nowMs, verdict }) };
  await deps.ledger.confirm(scope, new Date(nowMs));
  const matchedFingerprint = result.figures.fingerprint;
  const matched = { matchedFingerprint, ...(result.stripe !== undefined && { matchedTotal: result.stripe }) };
  return { ...result, verdict, memory: { ...memoryOf(result.pair, { nowMs, verdict }), ...matched } };
}

/** The totals differ: find the hours, see which of them are settled, and plan what mends those. */
async function drillDown(
  deps: ComparePairDeps,
  result: Omit<PairResult, 'verdict' | 'memory'>,
  context: { scope: Scope; range: SummaryRange; options: CompareOptions },
): Promise<PairResult> {
  const nowMs = deps.clock.now();
  const wholeHours = {
    fromMs: Math.floor(result.fromMs / HOUR_MS) * HOUR_MS,
    toMs: Math.floor(result.toMs / HOUR_MS) * HOUR_MS,
  };
  const stripeHours = await deps.summaries.hourly({ ...context.range, ...wholeHours });
  const scope = { ...context.scope, ...wholeHours };
  const differing = differingHours(await deps.ledger.deliveredByHour(scope), stripeHours);
  const first = context.options.memory?.firstRead;
  const agrees = first?.fingerprint === result.figures.fingerprint && nowMs - first.atMs >= deps.summaryRereadMs;
  const hours: HourDifference[] = [];
  let settlesFromMs = Number.NEGATIVE_INFINITY;
  for (const hour of differing) {
    const { isUnanswered, lastAttemptAtMs } = await deps.ledger.attemptsOfHour(scope, hour.hourMs);
    // Both reads have to lie beyond the lag: two equal reads within it say only that nothing arrived in between.
    // What is on its way (an earlier heal, too) may be what is missing.
    const oldFromMs = isUnanswered ? Number.POSITIVE_INFINITY : (lastAttemptAtMs ?? 0) + deps.summaryLagMaxMs;
    if (nowMs >= oldFromMs) settlesFromMs = Math.max(settlesFromMs, oldFromMs);
    const isSettled = agrees && first.atMs >= oldFromMs && isSameReading(first, hour);
    hours.push({ ...hour, isSettled });
  }
  const isLagPassed = settlesFromMs > Number.NEGATIVE_INFINITY;
  const verdict = judge(result.figures, result.stripe, hours);
  const needsReread = isLagPassed && !hours.some(({ isSettled }) => isSettled);
  const keepsFirst =
    first?.fingerprint === result.figures.fingerprint &&
    first.atMs >= settlesFromMs &&
    differing.every((hour) => isSameReading(first, hour));
  const firstRead =
    keepsFirst && first !== undefined
      ? first
      : { atMs: nowMs, fingerprint: result.figures.fingerprint, hours: differing };
  const memory: PairMemory = {
    ...memoryOf(result.pair, { nowMs, verdict }),
    firstRead,
    ...(needsReread && { rereadAtMs: firstRead.atMs + deps.summaryRereadMs }),
  };
  return heal(deps, { ...result, verdict, hours, needsReread, memory }, { scope, options: context.options });
}

function isSameReading(
  first: FirstRead | undefined,
  hour: { hourMs: number; delivered: Quantity; stripe: Quantity },
): boolean {
  const earlier = first?.hours.find(({ hourMs }) => hourMs === hour.hourMs);
  return (
    earlier !== undefined &&
    equalQuantities(earlier.stripe, hour.stripe) &&
    equalQuantities(earlier.delivered, hour.delivered)
  );
}

async function heal(
  deps: ComparePairDeps,
  result: PairResult,
  context: { scope: Scope; options: CompareOptions },
): Promise<PairResult> {
  const plan: HealAction[] = [];
  for (const hour of result.hours) {
    if (hour.isSettled) plan.push(planHeal(hour, await deps.ledger.deliveredOfHour(context.scope, hour.hourMs)));
  }
  if (plan.length === 0) return result;
  const isAllowed = context.options.mayHeal && isWithinBounds(plan, result.figures.local, context.options.bounds);
  const hasPerson = plan.some(({ kind }) => kind === 'person');
  if (!isAllowed) return { ...result, plan, waits: true };
  let healed = 0;
  for (const action of plan) healed += await carryOut(deps, context.scope, action);
  return { ...result, plan, applied: healed > 0, healed, waits: hasPerson };
}

/** Returns how many submissions were made. Doing it twice, or in two places at once, makes none more. */
async function carryOut(deps: ComparePairDeps, scope: Scope, action: HealAction): Promise<number> {
  const at = new Date(deps.clock.now());
  let made = 0;
  switch (action.kind) {
    case 'replace':
      for (const identifier of action.identifiers) {
        made += (await deps.ledger.replace(identifier, 'missing_at_stripe', at)) ? 1 : 0;
        await boundary('reconcile.submission-replaced');
      }
      return made;
    case 'top-up': {
      const { hourMs, quantity: value } = action;
      made += (await deps.ledger.topUp({ scope, hourMs, value, installation: deps.installation, at })) ? 1 : 0;
      await boundary('reconcile.topped-up');
      return made;
    }
    case 'person':
      return 0;
  }
}

function memoryOf(pair: Pair, read: { nowMs: number; verdict: Verdict }): PairMemory {
  return {
    customerId: pair.customer.customerId,
    meter: pair.meter.key,
    periodFromMs: pair.period.fromMs,
    readAtMs: read.nowMs,
    verdict: read.verdict,
  };
}
