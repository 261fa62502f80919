import {
  type BillingCustomer,
  countsFromMs,
  countsToMs,
  currentCalendar,
  earlierPeriodsOfHour,
  formerWindowsOfHour,
  reshapedHours,
} from '../customers/calendar/billing-customer.ts';
import { type Aggregation, isAdditive, type Meter } from '../meters/meter.ts';
import { type Period, periodContaining } from '../customers/calendar/period.ts';
import { type CustomerHour, type EpochHour, windowsOfHour } from '../customers/calendar/window.ts';

/** Customer-hours that share a layout and the meters that count them: one pass over the facts. */
export interface DerivationStep {
  readonly layout: number;
  readonly meters: readonly Meter[];
  readonly cells: readonly { readonly hour: EpochHour; readonly customerIds: readonly string[] }[];
  /** A part of the hour, where something splits it; then there is one cell with one customer. */
  readonly window?: Period;
}

/** A row that has to be empty under the present layout: a window or period that no longer exists. */
export interface EmptyRow {
  readonly customerId: string;
  readonly meter: string;
  readonly window: Period;
  readonly layout: number;
  /** Whether the meter's windows are planned one by one. */
  readonly isPlannedByWindow: boolean;
  /** Whether the meter keeps groups of its windows. */
  readonly isGrouped: boolean;
}

/** The running figure of a period that has to be derived again. */
export interface PeriodStep {
  readonly customerId: string;
  readonly meter: string;
  readonly aggregation: Aggregation;
  readonly period: Period;
  readonly layout: number;
  /** Hours of the period that were cut differently under an earlier layout. */
  readonly reshapedHours: readonly Period[];
}

export interface DerivationPlan {
  readonly steps: readonly DerivationStep[];
  readonly emptyWindows: readonly EmptyRow[];
  readonly periods: readonly PeriodStep[];
  readonly emptyPeriods: readonly EmptyRow[];
}

/** Customer-hours of one step: bounds a pipeline's size and what is done again when it fails. */
export const STEP_PAIRS_MAX = 1_000;
/** Rows that a step may come to, one for each customer-hour and meter: bounds an answer and what is made of it at once. */
const STEP_ROWS_MAX = 10_000;

/**
 * Plans the derivation of customer-hours: which pass over the facts covers which of them, which rows have to be
 * emptied, and which period figures follow. Pure; the same input gives the same plan.
 * @param pairs without repetition.
 * @param customers every customer among the pairs.
 */
export function planDerivation(
  pairs: readonly CustomerHour[],
  customers: ReadonlyMap<string, BillingCustomer>,
  meters: readonly Meter[],
): DerivationPlan {
  const planner = new DerivationPlanner(customers, meters);
  // By hour, so that a step spans few of them: each is a branch of its query.
  for (const pair of [...pairs].sort((a, b) => a.hour - b.hour)) planner.add(pair);
  return planner.finish();
}

interface OpenStep {
  readonly layout: number;
  readonly meters: readonly Meter[];
  cells: Map<EpochHour, string[]>;
  size: number;
}

/**
 * Plans pair by pair, so that whoever plans many can let others run in between. Feed it in the order of hours: a step
 * then spans few of them.
 */
export class DerivationPlanner {
  readonly #customers: ReadonlyMap<string, BillingCustomer>;
  readonly #meters: readonly Meter[];
  /** Until when all of the meters count. */
  #allCountToMs: number | undefined;
  /** By customer: from when on every meter counts. */
  readonly #allCountFrom = new Map<string, number>();
  readonly #stepPairsMax: number;
  #allKeys: string | undefined;
  readonly #open = new Map<string, OpenStep>();
  readonly #steps: DerivationStep[] = [];
  readonly #emptyWindows: EmptyRow[] = [];
  readonly #periods = new Map<string, PeriodStep>();
  readonly #emptyPeriods = new Map<string, EmptyRow>();

  constructor(customers: ReadonlyMap<string, BillingCustomer>, meters: readonly Meter[]) {
    this.#customers = customers;
    this.#meters = meters;
    this.#stepPairsMax = Math.max(1, Math.min(STEP_PAIRS_MAX, Math.floor(STEP_ROWS_MAX / Math.max(1, meters.length))));
  }

  add(pair: CustomerHour): void {
    const customer = this.#customers.get(pair.customerId);
    if (customer === undefined) throw new RangeError(`customer ${pair.customerId} is missing from the plan's input`);
    this.#addPair(customer, pair.hour);
  }

  finish(): DerivationPlan {
    for (const step of this.#open.values()) this.#finish(step);
    return {
      steps: this.#steps,
      emptyWindows: this.#emptyWindows,
      periods: [...this.#periods.values()],
      emptyPeriods: [...this.#emptyPeriods.values()],
    };
  }

  #addPair(customer: BillingCustomer, hour: EpochHour): void {
    const { layout, ...cuts } = currentCalendar(customer);
    const windows = windowsOfHour(cuts, hour);
    for (const window of windows) {
      const meters = this.#metersFor(customer, window.fromMs);
      const period = periodContaining(cuts.calendar, window.fromMs);
      if (windows.length === 1) {
        this.#addCell({ layout, meters }, customer.customerId, hour);
      } else if (meters.length > 0) {
        this.#steps.push({ layout, meters, cells: [{ hour, customerIds: [customer.customerId] }], window });
      }
      this.#addPeriods(customer, { meters, period, layout });
    }
    if (customer.calendars.length > 1) this.#addEmptyRows(customer, { hour, layout });
  }

  #addCell(key: { layout: number; meters: readonly Meter[] }, customerId: string, hour: EpochHour): void {
    if (key.meters.length === 0) return;
    const text = `${key.layout} ${this.#keysOf(key.meters)}`;
    let step = this.#open.get(text);
    if (step === undefined || step.size >= this.#stepPairsMax) {
      if (step !== undefined) this.#finish(step);
      step = { ...key, cells: new Map(), size: 0 };
      this.#open.set(text, step);
    }
    const cell = step.cells.get(hour);
    if (cell === undefined) step.cells.set(hour, [customerId]);
    else cell.push(customerId);
    step.size += 1;
  }

  #finish(step: OpenStep): void {
    const cells = [...step.cells].map(([hour, customerIds]) => ({ hour, customerIds }));
    this.#steps.push({ layout: step.layout, meters: step.meters, cells });
  }

  #addPeriods(customer: BillingCustomer, of: { meters: readonly Meter[]; period: Period; layout: number }): void {
    for (const meter of of.meters) {
      if (isAdditive(meter.aggregation)) continue;
      const key = `${customer.customerId}\u001f${meter.key}\u001f${of.period.fromMs}`;
      if (this.#periods.has(key)) continue;
      this.#periods.set(key, {
        customerId: customer.customerId,
        meter: meter.key,
        aggregation: meter.aggregation,
        period: of.period,
        layout: of.layout,
        reshapedHours: reshapedHours(customer, of.period),
      });
    }
  }

  #addEmptyRows(customer: BillingCustomer, at: { hour: EpochHour; layout: number }): void {
    const { customerId } = customer;
    for (const window of formerWindowsOfHour(customer, at.hour)) {
      for (const meter of this.#metersFor(customer, window.fromMs)) {
        this.#emptyWindows.push(toEmptyRow(customerId, meter, { window, layout: at.layout }));
      }
    }
    const { former, relaid } = earlierPeriodsOfHour(customer, at.hour);
    for (const period of relaid) this.#addPeriods(customer, { meters: this.#meters, period, layout: at.layout });
    for (const period of former) {
      for (const meter of this.#meters) {
        if (isAdditive(meter.aggregation)) continue;
        const row = toEmptyRow(customerId, meter, { window: period, layout: at.layout });
        this.#emptyPeriods.set(`${customerId}\u001f${meter.key}\u001f${period.fromMs}`, row);
      }
    }
  }

  #metersFor(customer: BillingCustomer, windowFromMs: number): readonly Meter[] {
    let allFrom = this.#allCountFrom.get(customer.customerId);
    if (allFrom === undefined) {
      allFrom = this.#meters.reduce(
        (latest, meter) => Math.max(latest, countsFromMs(meter, customer)),
        Number.NEGATIVE_INFINITY,
      );
      this.#allCountFrom.set(customer.customerId, allFrom);
    }
    this.#allCountToMs ??= Math.min(...this.#meters.map(countsToMs));
    if (windowFromMs >= allFrom && windowFromMs < this.#allCountToMs) return this.#meters;
    return this.#meters.filter(
      (meter) => windowFromMs >= countsFromMs(meter, customer) && windowFromMs < countsToMs(meter),
    );
  }

  #keysOf(meters: readonly Meter[]): string {
    if (meters !== this.#meters) return meters.map(({ key }) => key).join(' ');
    this.#allKeys ??= meters.map(({ key }) => key).join(' ');
    return this.#allKeys;
  }
}

function toEmptyRow(customerId: string, meter: Meter, at: { window: Period; layout: number }): EmptyRow {
  const isPlannedByWindow = isAdditive(meter.aggregation);
  return { customerId, meter: meter.key, ...at, isPlannedByWindow, isGrouped: meter.groupBy.length > 0 };
}
