import { boundary } from '../src/boundary.ts';
import type { Clock } from '../src/clock.ts';
import type { BillingCustomer } from '../src/domain/billing-customer.ts';
import {
  type CustomerHour,
  type DerivationPlan,
  type DerivationStep,
  type EmptyRow,
  type PeriodStep,
  planDerivation,
} from '../src/domain/derivation-plan.ts';
import type { Meter } from '../src/domain/meter.ts';
import { DAY_MS } from '../src/durations.ts';
import { DaemonError } from '../src/errors.ts';

/** An entry that a process left open is given up after this long: it derives, and is written anew if that was wrong. */
const DIRTY_ENTRY_OPEN_MS_MAX = DAY_MS;
/** Entries whose pairs are held in memory at once. */
const ENTRIES_PER_BATCH = 100;

/** The statements of one run: see storage/derivation-run. `Id` names a journal entry. */
export interface AggregationRun<Id> {
  waiting(): Promise<{ id: Id; openedAtMs: number; closed: boolean }[]>;
  pairsOf(ids: readonly Id[]): Promise<CustomerHour[]>;
  giveUp(ids: readonly Id[], at: Date): Promise<void>;
  delete(ids: readonly Id[]): Promise<void>;
  setAside(pairs: readonly CustomerHour[], at: Date): Promise<void>;
  useMeters(at: Date): Promise<Meter[]>;
  customers(customerIds: readonly string[]): Promise<Map<string, BillingCustomer>>;
  derive(step: DerivationStep): Promise<void>;
  emptyWindows(rows: readonly EmptyRow[]): Promise<void>;
  emptyPeriods(rows: readonly EmptyRow[]): Promise<void>;
  derivePeriods(steps: readonly PeriodStep[]): Promise<void>;
}

export interface AggregateUsageDeps<Id> {
  inRun<T>(work: (run: AggregationRun<Id>) => Promise<T>): Promise<T>;
  readonly clock: Clock;
  readonly log: {
    info(fields: object, phrase: string): void;
    error(fields: object, phrase: string): void;
  };
}

export interface AggregateUsageResult {
  /** Journal entries derived and deleted. */
  readonly entries: number;
  readonly customerHours: number;
  /** Customer-hours that could not be derived; they wait in an entry of their own. */
  readonly setAside: number;
}

/**
 * Derives every customer-hour that the journal names. The journal is listed once; what arrives later is the next run's.
 * An entry is deleted only after its derivation is durable, and only if it was closed when it was listed: so the run
 * can stop anywhere, be repeated, or run twice at once.
 */
export async function aggregateUsage<Id>(
  deps: AggregateUsageDeps<Id>,
  input: { dryRun?: boolean; signal?: AbortSignal } = {},
): Promise<AggregateUsageResult> {
  return deps.inRun(async (run) => {
    const entries = await run.waiting();
    const total = { entries: 0, customerHours: 0, setAside: 0 };
    for (let from = 0; from < entries.length && input.signal?.aborted !== true; from += ENTRIES_PER_BATCH) {
      const batch = entries.slice(from, from + ENTRIES_PER_BATCH);
      const ids = batch.map(({ id }) => id);
      if (input.dryRun === true) {
        total.customerHours += (await run.pairsOf(ids)).length;
        total.entries += batch.length;
        continue;
      }
      const done = await aggregateEntries(deps, run, batch);
      total.entries += done.entries;
      total.customerHours += done.customerHours;
      total.setAside += done.setAside;
    }
    return total;
  });
}

async function aggregateEntries<Id>(
  deps: AggregateUsageDeps<Id>,
  run: AggregationRun<Id>,
  entries: readonly { id: Id; openedAtMs: number; closed: boolean }[],
): Promise<AggregateUsageResult> {
  const nowMs = deps.clock.now();
  const abandoned = entries.filter(({ closed, openedAtMs }) => !closed && nowMs - openedAtMs > DIRTY_ENTRY_OPEN_MS_MAX);
  if (abandoned.length > 0) {
    deps.log.error({ entries: abandoned.length }, 'gave up journal entries left open');
    await run.giveUp(
      abandoned.map(({ id }) => id),
      new Date(nowMs),
    );
    await boundary('aggregate.entries-given-up');
  }
  const pairs = await run.pairsOf(entries.map(({ id }) => id));
  // After the listing: a meter or anchor that changes later queues its own hours.
  const meters = await run.useMeters(new Date(nowMs));
  const customers = await run.customers([...new Set(pairs.map(({ customerId }) => customerId))]);
  const failed = await carryOut(deps, run, planDerivation(pairs, customers, meters));
  if (failed.length > 0) {
    deps.log.error({ customerHours: failed.slice(0, 20), count: failed.length }, 'set customer-hours aside');
    await run.setAside(failed, new Date(deps.clock.now()));
    await boundary('aggregate.pairs-set-aside');
  }
  const finished = entries.filter((entry) => entry.closed || abandoned.includes(entry)).map(({ id }) => id);
  await run.delete(finished);
  await boundary('aggregate.entries-deleted');
  return { entries: finished.length, customerHours: pairs.length, setAside: failed.length };
}

/** Returns the customer-hours that could not be derived. */
async function carryOut<Id>(
  deps: AggregateUsageDeps<Id>,
  run: AggregationRun<Id>,
  plan: DerivationPlan,
): Promise<CustomerHour[]> {
  await run.emptyWindows(plan.emptyWindows);
  const failed: CustomerHour[] = [];
  for (const step of plan.steps) failed.push(...(await deriveOrBisect(deps, run, step)));
  await run.emptyPeriods(plan.emptyPeriods);
  await run.derivePeriods(plan.periods);
  return failed;
}

/**
 * Derives a step, twice if need be; then halves it until the customer-hour that fails is alone. One poisoned
 * customer-hour must not stop all others. Trouble that passes by itself (the store is away) ends the run instead.
 */
async function deriveOrBisect<Id>(
  deps: AggregateUsageDeps<Id>,
  run: AggregationRun<Id>,
  step: DerivationStep,
): Promise<CustomerHour[]> {
  try {
    await run.derive(step);
    return [];
  } catch (first) {
    if (isPassing(first)) throw first;
  }
  try {
    await run.derive(step);
    return [];
  } catch (err) {
    if (isPassing(err)) throw err;
    const halves = halve(step);
    if (halves === undefined) {
      deps.log.error({ err }, 'could not derive a customer-hour');
      return step.cells.flatMap(({ hour, customerIds }) => customerIds.map((customerId) => ({ hour, customerId })));
    }
    const failed: CustomerHour[] = [];
    for (const half of halves) failed.push(...(await deriveOrBisect(deps, run, half)));
    return failed;
  }
}

function isPassing(error: unknown): boolean {
  return !(error instanceof DaemonError) || error.kind === 'transient';
}

function halve(step: DerivationStep): [DerivationStep, DerivationStep] | undefined {
  const pairs = step.cells.flatMap(({ hour, customerIds }) => customerIds.map((customerId) => ({ hour, customerId })));
  if (pairs.length < 2) return undefined;
  const middle = Math.ceil(pairs.length / 2);
  const toStep = (part: typeof pairs): DerivationStep => ({
    ...step,
    cells: part.map(({ hour, customerId }) => ({ hour, customerIds: [customerId] })),
  });
  return [toStep(pairs.slice(0, middle)), toStep(pairs.slice(middle))];
}
