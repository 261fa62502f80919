import type { ClientSession, Db, Document, ObjectId } from 'mongodb';
import { boundary } from '../platform/boundary.ts';
import type { BillingCustomer } from '../customers/calendar/billing-customer.ts';
import type { DerivationStep, EmptyRow, PeriodStep } from './derivation-plan.ts';
import { groupBy } from '../platform/grouping.ts';
import type { Meter } from '../meters/meter.ts';
import { Customers } from '../customers/customers-store.ts';
import { withCausalSession } from '../platform/mongo/database.ts';
import { DirtyHours, type SetAsideNote, type WaitingEntry } from '../usage/dirty-hours-store.ts';
import { DerivedGroups } from './derived-groups-store.ts';
import { DerivedUnique } from './derived-unique-store.ts';
import { Meters } from '../meters/meters-store.ts';
import { bySlices } from '../platform/mongo/slices.ts';
import { emptyQuantity, UsageAggregates } from './usage-aggregates-store.ts';
import { type DerivedRow, rowKey, UsageDerivation } from './usage-derivation-store.ts';
import { type DerivedPeriod, periodKey, UsagePeriods } from './usage-periods-store.ts';
import type { CustomerHour } from '../customers/calendar/window.ts';

/** Periods derived by one statement. */
const PERIODS_PER_STATEMENT = 100;

/**
 * The statements of one aggregation run, all in one causally consistent session with majority reads: the run sees its
 * own writes, and what it lists first it never sees undone.
 */
export class DerivationRun {
  readonly #session: ClientSession;
  readonly #dirtyHours: DirtyHours;
  readonly #meters: Meters;
  readonly #customers: Customers;
  readonly #aggregates: UsageAggregates;
  readonly #periods: UsagePeriods;
  readonly #unique: DerivedUnique;
  readonly #groups: DerivedGroups;
  readonly #derivation: UsageDerivation;

  constructor(db: Db, session: ClientSession, holdStages: Document[] = []) {
    this.#session = session;
    this.#dirtyHours = new DirtyHours(db);
    this.#meters = new Meters(db);
    this.#customers = new Customers(db);
    this.#aggregates = new UsageAggregates(db);
    this.#periods = new UsagePeriods(db);
    this.#derivation = new UsageDerivation(db, holdStages);
    this.#unique = new DerivedUnique(db, this.#derivation);
    this.#groups = new DerivedGroups(db, this.#derivation);
  }

  /** Every entry that waits, oldest first, and whether it was closed. */
  waiting(): Promise<WaitingEntry[]> {
    return this.#dirtyHours.listWaiting(this.#session);
  }

  pairsOf(ids: readonly ObjectId[], pairsMax: number): Promise<{ pairs: CustomerHour[]; entries: number }> {
    return this.#dirtyHours.pairsOf(ids, pairsMax, this.#session);
  }

  async giveUp(ids: readonly ObjectId[], at: Date): Promise<void> {
    await this.#dirtyHours.mark(ids, at, this.#session);
  }

  async delete(ids: readonly ObjectId[]): Promise<void> {
    await this.#dirtyHours.delete(ids, this.#session);
  }

  /** Writes customer-hours that could not be derived to an entry of their own, so that the rest need not wait. */
  setAside(pairs: readonly CustomerHour[], of: { since: Date; at: Date; note: SetAsideNote }): Promise<void> {
    return this.#dirtyHours.setAside(pairs, of);
  }

  useMeters(at: Date): Promise<Meter[]> {
    return this.#meters.use(at, this.#session);
  }

  customers(customerIds: readonly string[]): Promise<Map<string, BillingCustomer>> {
    return this.#customers.billingOf(customerIds, this.#session);
  }

  /** Derives and stores everything that the step's meters say of its customer-hours. */
  async derive(step: DerivationStep): Promise<void> {
    const scope = { cells: step.cells, layout: step.layout, ...(step.window && { window: step.window }) };
    const byEventType = groupBy(step.meters, (meter) => meter.eventType);
    for (const meters of byEventType.values()) {
      const inOnePass = meters.filter((meter) => meter.aggregation !== 'unique');
      await this.#aggregates.mergeRows(await this.#derivation.rows(scope, inOnePass, this.#session), this.#session);
      await boundary('aggregate.windows-merged');
      for (const meter of meters) {
        if (meter.aggregation === 'unique') {
          await this.#unique.store(scope, meter, this.#session);
          await boundary('aggregate.unique-merged');
        }
        if (meter.groupBy.length > 0) {
          await this.#groups.derive(scope, meter, this.#session);
          await boundary('aggregate.groups-merged');
        }
      }
    }
  }

  /** Empties windows that the present layout does not have, and their groups. */
  async emptyWindows(rows: readonly EmptyRow[]): Promise<void> {
    const toDueWindow = (row: EmptyRow): DerivedRow & { planDue?: true } => ({
      ...toEmptyWindow(row),
      ...(row.isPlannedByWindow && { planDue: true }),
    });
    await bySlices(rows, (slice) => this.#aggregates.mergeRows(slice.map(toDueWindow), this.#session));
    await boundary('aggregate.windows-emptied');
    const grouped = rows.filter(({ isGrouped }) => isGrouped);
    await bySlices(grouped, (slice) => this.#groups.empty(slice.map(toEmptyWindow), this.#session));
  }

  /** Empties periods that the present layout does not have. */
  async emptyPeriods(rows: readonly EmptyRow[]): Promise<void> {
    await bySlices(rows, (slice) => this.#periods.giveUp(slice.map(toEmptyPeriod), this.#session));
  }

  /** Derives period figures from their windows, which have to be stored already. */
  async derivePeriods(steps: readonly PeriodStep[]): Promise<void> {
    for (const batch of periodBatches(steps)) {
      const [first] = batch;
      if (first === undefined) continue;
      const rows = await this.#periods.derive(first.aggregation, batch, this.#session);
      await this.#periods.mergeRows(rows, this.#session);
      await boundary('aggregate.periods-merged');
    }
  }
}

function toEmptyWindow({ customerId, meter, window, layout }: EmptyRow): DerivedRow {
  return {
    _id: rowKey(customerId, meter, new Date(window.fromMs)),
    windowEnd: new Date(window.toMs),
    layout,
    eventCount: 0,
    quantity: emptyQuantity,
  };
}

function toEmptyPeriod({ customerId, meter, window, layout }: EmptyRow): Omit<DerivedPeriod, 'former'> {
  return {
    _id: periodKey(customerId, meter, new Date(window.fromMs)),
    periodEnd: new Date(window.toMs),
    layout,
    eventCount: 0,
    quantity: emptyQuantity,
  };
}

/** Batches of one aggregation in which each customer and meter occurs once. */
function periodBatches(steps: readonly PeriodStep[]): PeriodStep[][] {
  const batches: PeriodStep[][] = [];
  const rounds = new Map<string, number>();
  const open = new Map<string, PeriodStep[]>();
  for (const step of steps) {
    const key = `${step.customerId}\u001f${step.meter}`;
    const round = rounds.get(key) ?? 0;
    rounds.set(key, round + 1);
    const batchKey = `${step.aggregation} ${round}`;
    const batch = open.get(batchKey);
    if (batch !== undefined && batch.length < PERIODS_PER_STATEMENT) {
      batch.push(step);
      continue;
    }
    const fresh = [step];
    open.set(batchKey, fresh);
    batches.push(fresh);
  }
  return batches;
}

/** Runs `work` with the statements of one aggregation run. */
export function inDerivationRun<T>(
  db: Db,
  work: (run: DerivationRun) => Promise<T>,
  holdStages: Document[] = [],
): Promise<T> {
  return withCausalSession(db, (session) => work(new DerivationRun(db, session, holdStages)));
}
