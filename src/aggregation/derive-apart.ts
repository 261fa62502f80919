import { isStop } from '../platform/boundary.ts';
import type { BillingCustomer } from '../customers/calendar/billing-customer.ts';
import {
  type DerivationPlan,
  DerivationPlanner,
  type DerivationStep,
  type EmptyRow,
  type PeriodStep,
} from './derivation-plan.ts';
import type { Meter } from '../meters/meter.ts';
import { isPassing } from '../platform/errors.ts';
import { eachInTurns } from '../platform/event-loop.ts';
import type { CustomerHour } from '../customers/calendar/window.ts';

/**
 * Rows that are planned at once, one for each customer-hour and meter: bounds what a plan holds in memory, and what goes
 * through it in one piece.
 */
const PLAN_ROWS_MAX = 50_000;

/** The statements that carry a derivation out. */
export interface DerivationStatements {
  customers(customerIds: readonly string[]): Promise<Map<string, BillingCustomer>>;
  derive(step: DerivationStep): Promise<void>;
  emptyWindows(rows: readonly EmptyRow[]): Promise<void>;
  emptyPeriods(rows: readonly EmptyRow[]): Promise<void>;
  derivePeriods(steps: readonly PeriodStep[]): Promise<void>;
}

/** Whether an error ends the run: it passes by itself. Everything else belongs to the work that was tried. */
export function endsRun(error: unknown): boolean {
  return isPassing(error) || isStop(error);
}

/** A customer-hour that could not be derived, and why. */
export interface Failure {
  readonly pair: CustomerHour;
  readonly error: unknown;
}

interface Parts {
  readonly run: DerivationStatements;
  readonly log: { error(fields: object, phrase: string): void };
}

/**
 * Derives customer-hours, and finds those that cannot be derived by halving what fails, whatever fails of it.
 * @returns those; the others are durable.
 * @throws what passes by itself.
 */
export async function deriveApart(
  parts: Parts,
  pairs: readonly CustomerHour[],
  meters: readonly Meter[],
): Promise<Failure[]> {
  const failures: Failure[] = [];
  const inOrder = [...pairs].sort((a, b) => a.hour - b.hour);
  const size = Math.max(1, Math.floor(PLAN_ROWS_MAX / Math.max(1, meters.length)));
  for (let from = 0; from < inOrder.length; from += size) {
    failures.push(...(await deriveOrHalve(parts, inOrder.slice(from, from + size), meters)));
  }
  return failures;
}

/** Each customer-hour that fails is tried twice. */
async function deriveOrHalve(
  parts: Parts,
  pairs: readonly CustomerHour[],
  meters: readonly Meter[],
): Promise<Failure[]> {
  try {
    return await derivePairs(parts, pairs, meters);
  } catch (err) {
    if (endsRun(err)) throw err;
    parts.log.error({ err, count: pairs.length }, 'could not derive customer-hours together');
  }
  if (pairs.length > 1) {
    const middle = Math.ceil(pairs.length / 2);
    const first = await deriveOrHalve(parts, pairs.slice(0, middle), meters);
    return [...first, ...(await deriveOrHalve(parts, pairs.slice(middle), meters))];
  }
  try {
    return await derivePairs(parts, pairs, meters);
  } catch (error) {
    if (endsRun(error)) throw error;
    return pairs.map((pair) => ({ pair, error }));
  }
}

async function derivePairs(
  { run }: Parts,
  pairs: readonly CustomerHour[],
  meters: readonly Meter[],
): Promise<Failure[]> {
  const customers = await run.customers([...new Set(pairs.map(({ customerId }) => customerId))]);
  const planner = new DerivationPlanner(customers, meters);
  await eachInTurns(pairs, (pair) => planner.add(pair));
  return carryOut(run, planner.finish());
}

/** Returns the customer-hours whose facts could not be derived. */
async function carryOut(run: DerivationStatements, plan: DerivationPlan): Promise<Failure[]> {
  await run.emptyWindows(plan.emptyWindows);
  const failures: Failure[] = [];
  for (const step of plan.steps) failures.push(...(await deriveOrBisect(run, step)));
  await run.emptyPeriods(plan.emptyPeriods);
  await run.derivePeriods(plan.periods);
  return failures;
}

/**
 * Derives a step, twice if need be; then halves it until the customer-hour that fails is alone. Steps fail more often
 * than what is around them, and are cheaper to halve.
 */
async function deriveOrBisect(run: DerivationStatements, step: DerivationStep): Promise<Failure[]> {
  try {
    await run.derive(step);
    return [];
  } catch (first) {
    if (endsRun(first)) throw first;
  }
  try {
    await run.derive(step);
    return [];
  } catch (error) {
    if (endsRun(error)) throw error;
    const pairs = pairsOf(step);
    if (pairs.length < 2) return pairs.map((pair) => ({ pair, error }));
    const failures: Failure[] = [];
    for (const half of halve(step, pairs)) failures.push(...(await deriveOrBisect(run, half)));
    return failures;
  }
}

function pairsOf(step: DerivationStep): CustomerHour[] {
  return step.cells.flatMap(({ hour, customerIds }) => customerIds.map((customerId) => ({ hour, customerId })));
}

function halve(step: DerivationStep, pairs: readonly CustomerHour[]): DerivationStep[] {
  const middle = Math.ceil(pairs.length / 2);
  return [pairs.slice(0, middle), pairs.slice(middle)].map((part) => ({
    ...step,
    cells: part.map(({ hour, customerId }) => ({ hour, customerIds: [customerId] })),
  }));
}
