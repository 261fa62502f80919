import type { ClientSession, Db, Document, Filter } from 'mongodb';
import {
  type AuditedFigure,
  type AuditedWindow,
  compareTexts,
  type DerivedFigure,
  type PlannedFigure,
} from '../aggregation/audited-figure.ts';
import { type BillingCustomer, unknownCustomer } from '../customers/calendar/billing-customer.ts';
import type { DerivationStep } from '../aggregation/derivation-plan.ts';
import { groupBy } from '../platform/grouping.ts';
import type { Meter } from '../meters/meter.ts';
import type { Period } from '../customers/calendar/period.ts';
import { canonicalQuantity } from '../platform/quantity.ts';
import { type EpochHour, type CustomerHour } from '../customers/calendar/window.ts';
import { AuditedGroups } from './audited-groups-store.ts';
import { CUSTOMERS, type CustomerDocument, Customers } from '../customers/customers-store.ts';
import { OPERATION_MS_MAX, withCausalSession } from '../platform/mongo/database.ts';
import { DerivedUnique } from '../aggregation/derived-unique-store.ts';
import { DirtyHours } from '../usage/dirty-hours-store.ts';
import { translated } from '../platform/mongo/errors.ts';
import { Meters, toMeter } from '../meters/meters-store.ts';
import { RawFacts } from '../usage/raw-facts-store.ts';
import { findBySlices } from '../platform/mongo/slices.ts';
import { toFigure } from '../aggregation/stored-figure-store.ts';
import { USAGE_ADJUSTMENTS } from '../usage/usage-adjustments-store.ts';
import { rangeFilter, USAGE_AGGREGATES, type UsageAggregateDocument } from '../aggregation/usage-aggregates-store.ts';
import { type DerivedRow, UsageDerivation } from '../aggregation/usage-derivation-store.ts';
import { USAGE_EVENTS } from '../usage/usage-events-store.ts';
import { periodKey, USAGE_PERIODS, type UsagePeriodDocument } from '../aggregation/usage-periods-store.ts';

/** Windows or periods of customers and meters that begin in `[fromMs, toMs)`. */
export interface FigureRange extends Period {
  readonly customerIds: readonly string[];
  readonly meters: readonly string[];
}

const HOURS_PER_BATCH = 1_000;
const HOURS_PER_DAY = 24;

/**
 * Raw facts beside what is stored, read in one causally consistent session: what is read later is never older than what
 * was read before. Writes nothing.
 */
export class UsageAudit {
  readonly #db: Db;
  readonly #session: ClientSession;
  readonly #derivation: UsageDerivation;
  readonly #unique: DerivedUnique;
  readonly #groups: AuditedGroups;

  constructor(db: Db, session: ClientSession) {
    this.#db = db;
    this.#session = session;
    this.#derivation = new UsageDerivation(db);
    this.#unique = new DerivedUnique(db, this.#derivation);
    this.#groups = new AuditedGroups(db, this.#derivation, session);
  }

  /** Customers, known or not, and from when on their hours are still to be queued after a change. */
  async customers(
    customerIds: readonly string[],
  ): Promise<Map<string, { billing: BillingCustomer; requeueFromMs?: number }>> {
    const billing = await new Customers(this.#db).billingOf(customerIds, this.#session);
    const changed = this.#db.collection<CustomerDocument>(CUSTOMERS);
    const pending = await findBySlices(customerIds, (slice) => {
      const filter = { _id: { $in: slice }, requeueFrom: { $exists: true } };
      return translated(changed.find(filter, { session: this.#session }).toArray());
    });
    const pendingFrom = new Map(pending.map(({ _id, requeueFrom }) => [_id, requeueFrom?.getTime()]));
    return new Map(
      customerIds.map((customerId) => {
        const requeueFromMs = pendingFrom.get(customerId);
        const of = billing.get(customerId) ?? unknownCustomer(customerId);
        return [customerId, { billing: of, ...(requeueFromMs !== undefined && { requeueFromMs }) }];
      }),
    );
  }

  /** All meters by key, and from when on their hours are still to be queued. */
  async meters(): Promise<{ meter: Meter; requeueFromMs?: number }[]> {
    const found = await translated(new Meters(this.#db).list(this.#session));
    return found.map((document) => ({
      meter: toMeter(document),
      ...(document.requeueFrom !== undefined && { requeueFromMs: document.requeueFrom.getTime() }),
    }));
  }

  /** The hours of a customer that wait to be derived. */
  waitingHours(query: { customerId: string; fromHour: EpochHour; toHour: EpochHour }): Promise<Set<EpochHour>> {
    return translated(new DirtyHours(this.#db).waitingHoursOf(query, this.#session));
  }

  /** The hours of customers that hold raw facts, in batches, each once. */
  rawHours(query: {
    customerIds: readonly string[];
    fromHour: EpochHour;
    toHour: EpochHour;
  }): AsyncGenerator<CustomerHour[]> {
    return new RawFacts(this.#db).pairsFrom({ ...query, batchSize: HOURS_PER_BATCH }, this.#session);
  }

  /** What the facts of a step come to; windows without facts are left out. `unique` ones come with their values. */
  async derive(step: DerivationStep): Promise<DerivedFigure[]> {
    const scope = { cells: step.cells, layout: step.layout, ...(step.window && { window: step.window }) };
    const figures: DerivedFigure[] = [];
    for (const meters of groupBy(step.meters, ({ eventType }) => eventType).values()) {
      const inDatabase = meters.filter(({ aggregation }) => aggregation !== 'unique');
      figures.push(...(await this.#derivation.rows(scope, inDatabase, this.#session)).map((row) => toDerived(row)));
      for (const meter of meters.filter(({ aggregation }) => aggregation === 'unique')) {
        const { rows, values } = await this.#unique.read(scope, meter, this.#session);
        const byWindow = groupBy(values, ({ _id }) => windowText(_id));
        for (const row of rows) {
          const own = byWindow.get(windowText(row._id)) ?? [];
          figures.push(
            toDerived(
              row,
              own.map(({ _id }) => _id.value),
            ),
          );
        }
      }
    }
    return figures;
  }

  /** Stored windows that hold usage, or that something was planned of. */
  async storedWindows(range: FigureRange): Promise<PlannedFigure[]> {
    const found = await this.#stored<UsageAggregateDocument>(USAGE_AGGREGATES, range, (customerId, meter) =>
      rangeFilter({ customerId, meter, from: new Date(range.fromMs), to: new Date(range.toMs) }),
    );
    return found.map((row) => ({
      ...toStored(row, { kind: 'window', toMs: row.windowEnd.getTime() }),
      fromMs: row._id.windowStart.getTime(),
    }));
  }

  /** Stored running figures, likewise. */
  async storedPeriods(range: FigureRange): Promise<PlannedFigure[]> {
    const found = await this.#stored<UsagePeriodDocument>(USAGE_PERIODS, range, (customerId, meter) => ({
      $gte: periodKey(customerId, meter, new Date(range.fromMs)),
      $lt: periodKey(customerId, meter, new Date(range.toMs)),
    }));
    return found.map((row) => ({
      ...toStored(row, { kind: 'period', toMs: row.periodEnd.getTime() }),
      fromMs: row._id.periodStart.getTime(),
    }));
  }

  /** What the facts of a step come to, group by group. Every meter of the step has `groupBy`. */
  deriveGroups(step: DerivationStep): Promise<AuditedFigure[]> {
    return this.#groups.derive(step);
  }

  storedGroups(windows: readonly AuditedWindow[]): Promise<AuditedFigure[]> {
    return this.#groups.stored(windows);
  }

  /** The windows that begin in a range and have stored groups with facts. */
  groupedWindows(range: FigureRange): Promise<AuditedWindow[]> {
    return this.#groups.windows(range);
  }

  async #stored<T extends Document>(
    collection: string,
    range: FigureRange,
    idsOf: (customerId: string, meter: string) => object,
  ): Promise<T[]> {
    const ranges = range.customerIds.flatMap((customerId) =>
      range.meters.map((meter) => ({ _id: idsOf(customerId, meter) })),
    );
    const holdsUsage = { $or: [{ eventCount: { $gt: 0 } }, { planned: { $exists: true } }] };
    const options = { session: this.#session, maxTimeMS: OPERATION_MS_MAX };
    return findBySlices(ranges, (slice) => {
      const filter = { $and: [{ $or: slice }, holdsUsage] } as unknown as Filter<Document>;
      return translated(this.#db.collection(collection).find<T>(filter, options).toArray());
    });
  }
}

/** Runs `work` with the reads of one audit. */
export function withUsageAudit<T>(db: Db, work: (audit: UsageAudit) => Promise<T>): Promise<T> {
  return withCausalSession(db, (session) => work(new UsageAudit(db, session)));
}

/**
 * Every customer with facts in a range of hours, or with a stored figure of any time, in the order of their bytes.
 * Day by day, so that no statement takes long; the ids are held in memory.
 */
export async function auditedCustomerIds(db: Db, hours: { from: EpochHour; to: EpochHour }): Promise<string[]> {
  const ids = new Set<string>();
  for (let from = hours.from; from < hours.to; from += HOURS_PER_DAY) {
    const range = { hour: { $gte: from, $lt: Math.min(from + HOURS_PER_DAY, hours.to) } };
    for (const collection of [USAGE_EVENTS, USAGE_ADJUSTMENTS]) {
      const customers = db
        .collection(collection)
        .aggregate<{ _id: string }>([{ $match: range }, { $group: { _id: '$customerId' } }], {
          maxTimeMS: OPERATION_MS_MAX,
          allowDiskUse: true,
        });
      for (const { _id } of await translated(customers.toArray())) ids.add(_id);
    }
  }
  for await (const customerId of storedCustomerIds(db)) ids.add(customerId);
  return [...ids].sort(compareTexts);
}

/** One look at the index for each customer: as many as have figures, however many figures those are. */
async function* storedCustomerIds(db: Db): AsyncGenerator<string> {
  const rows = db.collection<UsageAggregateDocument>(USAGE_AGGREGATES);
  let filter: Filter<UsageAggregateDocument> = {};
  for (;;) {
    const found = await translated(rows.findOne(filter, { sort: { _id: 1 }, projection: { _id: 1 } }));
    if (found === null) return;
    yield found._id.customerId;
    // An array comes after every text, so this lies beyond all rows of the customer.
    filter = { _id: { $gt: { customerId: found._id.customerId, meter: [] } } } as unknown as typeof filter;
  }
}

function toDerived(row: DerivedRow, values?: string[]): DerivedFigure {
  const { customerId, meter, windowStart } = row._id;
  const figure = toFigure(row);
  return {
    customerId,
    meter,
    window: { fromMs: windowStart.getTime(), toMs: row.windowEnd.getTime() },
    figure: values === undefined ? figure : { ...figure, values },
  };
}

function toStored(
  row: UsageAggregateDocument | UsagePeriodDocument,
  of: Pick<PlannedFigure, 'kind' | 'toMs'>,
): Omit<PlannedFigure, 'fromMs'> {
  return {
    ...of,
    customerId: row._id.customerId,
    meter: row._id.meter,
    quantity: canonicalQuantity(row.quantity.toString()),
    eventCount: row.eventCount,
    planned: canonicalQuantity((row.planned?.quantity ?? 0).toString()),
  };
}

function windowText(key: DerivedRow['_id']): string {
  return `${key.customerId}\u001f${key.windowStart.getTime()}`;
}
