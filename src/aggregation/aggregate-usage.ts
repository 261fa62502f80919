import { boundary } from '../platform/boundary.ts';
import type { Clock } from '../platform/clock.ts';
import type { BillingCustomer } from '../customers/calendar/billing-customer.ts';
import type { DerivationStep, EmptyRow, PeriodStep } from './derivation-plan.ts';
import type { Meter } from '../meters/meter.ts';
import { DAY_MS } from '../platform/durations.ts';
import { deriveApart, endsRun, type Failure } from './derive-apart.ts';
import type { CustomerHour } from '../customers/calendar/window.ts';

/** An entry that a process left open is given up after this long: it derives, and is written anew if that was wrong. */
const DIRTY_ENTRY_OPEN_MS_MAX = DAY_MS;
/** Entries, and the distinct customer-hours of entries, whose pairs are held in memory at once. */
const ENTRIES_PER_BATCH = 100;
const PAIRS_PER_BATCH = 20_000;
/** Characters of an error that are kept with what was set aside. */
const REASON_LENGTH_MAX = 300;

/** A journal entry as a run listed it. */
export interface WaitingEntry<Id> {
  readonly id: Id;
  readonly openedAtMs: number;
  readonly closed: boolean;
  /** Its pairs could not be derived before. */
  readonly setAside?: { readonly attempts: number };
}

/** The statements of one run: see aggregation/derivation-run-store. `Id` names a journal entry. */
export interface AggregationRun<Id> {
  waiting(): Promise<WaitingEntry<Id>[]>;
  /** The distinct pairs of entries, from the first on, until there are `pairsMax`; and of how many entries they are. */
  pairsOf(ids: readonly Id[], pairsMax: number): Promise<{ pairs: CustomerHour[]; entries: number }>;
  giveUp(ids: readonly Id[], at: Date): Promise<void>;
  delete(ids: readonly Id[]): Promise<void>;
  setAside(
    pairs: readonly CustomerHour[],
    of: { since: Date; at: Date; note: { attempts: number; reason: string } },
  ): Promise<void>;
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
  /** Customer-hours that could not be derived; they wait in entries of their own. */
  readonly setAside: number;
}

/** What a run has come to. */
interface Total {
  entries: number;
  customerHours: number;
  setAside: number;
  /** Why an entry was left as it was, once all others are done: the run has failed then. */
  failure?: unknown;
}

/**
 * Derives every customer-hour that the journal names. The journal is listed once; what arrives later is the next run's.
 * An entry is deleted only after its derivation is durable, and only if it was closed when it was listed: so the run
 * can stop anywhere, be repeated, or run twice at once.
 *
 * What cannot be derived must not stop the rest, whatever the reason: a batch that fails is halved until the
 * customer-hour that fails is alone, which is set aside in an entry of its own. Those are tried again in every run, after
 * all others. Only trouble that passes by itself (the store is away) ends a run.
 */
export async function aggregateUsage<Id>(
  deps: AggregateUsageDeps<Id>,
  input: { dryRun?: boolean; signal?: AbortSignal } = {},
): Promise<AggregateUsageResult> {
  return deps.inRun(async (run) => {
    const waiting = await run.waiting();
    const total: Total = { entries: 0, customerHours: 0, setAside: 0 };
    for (const isSetAside of [false, true]) {
      let left = waiting.filter(({ setAside }) => (setAside !== undefined) === isSetAside);
      while (left.length > 0 && input.signal?.aborted !== true) {
        const batch = left.slice(0, ENTRIES_PER_BATCH);
        const taken =
          input.dryRun === true
            ? await countEntries(run, batch, total)
            : await aggregateOrHalve({ deps, run, total }, batch);
        left = left.slice(taken);
      }
    }
    const { failure, ...result } = total;
    if (failure !== undefined) throw failure;
    return result;
  });
}

async function countEntries<Id>(
  run: AggregationRun<Id>,
  batch: readonly WaitingEntry<Id>[],
  total: Total,
): Promise<number> {
  const { pairs, entries } = await run.pairsOf(
    batch.map(({ id }) => id),
    PAIRS_PER_BATCH,
  );
  total.customerHours += pairs.length;
  total.entries += entries;
  return entries;
}

interface Run<Id> {
  readonly deps: AggregateUsageDeps<Id>;
  readonly run: AggregationRun<Id>;
  readonly total: Total;
}

/** Takes entries from the first on; returns how many. One that cannot even be read is left, and told of at the end. */
async function aggregateOrHalve<Id>(of: Run<Id>, batch: readonly WaitingEntry<Id>[]): Promise<number> {
  try {
    return await aggregateEntries(of, batch);
  } catch (err) {
    if (endsRun(err)) throw err;
    if (batch.length > 1) return aggregateOrHalve(of, batch.slice(0, Math.ceil(batch.length / 2)));
    // Whatever it is, it may be the same with thousands of them.
    if (of.total.failure === undefined) of.deps.log.error({ err, entry: batch[0] }, 'could not take a journal entry');
    of.total.failure ??= err;
    return 1;
  }
}

async function aggregateEntries<Id>(
  { deps, run, total }: Run<Id>,
  batch: readonly WaitingEntry<Id>[],
): Promise<number> {
  const nowMs = deps.clock.now();
  const taken = await run.pairsOf(
    batch.map(({ id }) => id),
    PAIRS_PER_BATCH,
  );
  const entries = batch.slice(0, taken.entries);
  const abandoned = entries.filter(({ closed, openedAtMs }) => !closed && nowMs - openedAtMs > DIRTY_ENTRY_OPEN_MS_MAX);
  let { pairs } = taken;
  if (abandoned.length > 0) {
    deps.log.error({ entries: abandoned.length }, 'gave up journal entries left open');
    await run.giveUp(
      abandoned.map(({ id }) => id),
      new Date(nowMs),
    );
    await boundary('aggregate.entries-given-up');
    // What was added until they were given up has to be derived, too.
    ({ pairs } = await run.pairsOf(
      entries.map(({ id }) => id),
      Number.POSITIVE_INFINITY,
    ));
  }
  // After the listing: a meter or anchor that changes later queues its own hours.
  const meters = await run.useMeters(new Date(nowMs));
  const failures = await deriveApart({ run, log: deps.log }, pairs, meters);
  if (failures.length > 0) {
    await setAside({ deps, run }, failures, entries);
    await boundary('aggregate.pairs-set-aside');
  }
  const finished = entries.filter((entry) => entry.closed || abandoned.includes(entry)).map(({ id }) => id);
  await run.delete(finished);
  await boundary('aggregate.entries-deleted');
  total.entries += finished.length;
  total.customerHours += pairs.length;
  total.setAside += failures.length;
  return entries.length;
}

async function setAside<Id>(
  { deps, run }: Pick<Run<Id>, 'deps' | 'run'>,
  failures: readonly Failure[],
  entries: readonly WaitingEntry<Id>[],
): Promise<void> {
  const pairs = failures.map(({ pair }) => pair);
  const err = failures[0]?.error;
  const attempts = 1 + Math.max(...entries.map((entry) => entry.setAside?.attempts ?? 0));
  deps.log.error({ err, customerHours: pairs.slice(0, 20), count: pairs.length, attempts }, 'set customer-hours aside');
  const reason = (err instanceof Error ? `${err.name}: ${err.message}` : String(err)).slice(0, REASON_LENGTH_MAX);
  await run.setAside(pairs, {
    since: new Date(Math.min(...entries.map(({ openedAtMs }) => openedAtMs))),
    at: new Date(deps.clock.now()),
    note: { attempts, reason },
  });
}
