import {
  type AuditedFigure,
  byPlace,
  compareFigures,
  type DerivedFigure,
  type FigureDifference,
} from './audited-figure.ts';
import { type BillingCustomer, billingPeriodOf } from '../customers/calendar/billing-customer.ts';
import { type DerivationStep, planDerivation } from './derivation-plan.ts';
import { groupBy } from '../platform/grouping.ts';
import { isAdditive, type Meter } from '../meters/meter.ts';
import { isWithin, type Period } from '../customers/calendar/period.ts';
import { combineFigures, type UsageFigure } from './usage-figure.ts';
import { type EpochHour, epochHourOf } from '../customers/calendar/window.ts';
import { HOUR_MS } from '../platform/durations.ts';
import { auditGroups, type GroupReads } from './audit-groups.ts';

interface FigureRange extends Period {
  readonly customerIds: readonly string[];
  readonly meters: readonly string[];
}

/** The reads of one audit, none older than the one before: see explain/usage-audit-store. */
export interface AuditReads extends GroupReads {
  customers(
    customerIds: readonly string[],
  ): Promise<Map<string, { readonly billing: BillingCustomer; readonly requeueFromMs?: number }>>;
  meters(): Promise<{ readonly meter: Meter; readonly requeueFromMs?: number }[]>;
  waitingHours(query: { customerId: string; fromHour: EpochHour; toHour: EpochHour }): Promise<Set<EpochHour>>;
  derive(step: DerivationStep): Promise<DerivedFigure[]>;
  storedWindows(range: FigureRange): Promise<AuditedFigure[]>;
  storedPeriods(range: FigureRange): Promise<AuditedFigure[]>;
}

export interface AuditInput extends Period {
  readonly customerIds: readonly string[];
  /** Told each customer's figures from raw facts, in their order; each figure once. */
  readonly onFigures?: (figures: readonly AuditedFigure[]) => void;
}

export interface CustomersAudit {
  readonly customers: number;
  readonly windows: number;
  readonly groups: number;
  readonly periods: number;
  readonly facts: number;
  /** Figures that differ because their hours wait to be derived. */
  readonly waiting: number;
  readonly differences: readonly FigureDifference[];
}

/** What is derived at a time. */
const SLICE_HOURS = 744;

/**
 * Lays the figures of some customers from raw facts beside the stored ones. A run of aggregation that stores between the
 * two reads makes them differ, so customers with differences are looked at again; what differs then, and whose hours
 * waited in the journal neither before nor after, is drift.
 */
export async function auditCustomers(reads: AuditReads, input: AuditInput): Promise<CustomersAudit> {
  const first = await auditOnce(reads, input);
  if (first.differences.length === 0) return { ...first, waiting: 0 };
  const customerIds = [...new Set(first.differences.map(({ customerId }) => customerId))];
  const { fromMs, toMs } = input;
  const before = await pendingOf(reads, customerIds, first.reach);
  const { differences } = await auditOnce(reads, { customerIds, fromMs, toMs });
  const after = await pendingOf(reads, customerIds, first.reach);
  const drift = differences.filter((of) => !isPending(of, before) && !isPending(of, after));
  return { ...first, waiting: differences.length - drift.length, differences: drift };
}

interface OneAudit extends Omit<CustomersAudit, 'waiting'> {
  /** The hours that were looked at. */
  readonly reach: { readonly fromHour: EpochHour; readonly toHour: EpochHour };
}

async function auditOnce(reads: AuditReads, input: AuditInput): Promise<OneAudit> {
  const { customerIds, fromMs, toMs } = input;
  const meters = (await reads.meters()).map(({ meter }) => meter);
  const customers = new Map([...(await reads.customers(customerIds))].map(([id, { billing }]) => [id, billing]));
  const running = meters.filter(({ aggregation }) => !isAdditive(aggregation));
  const figures = new RunningFigures(customers, running, { fromMs, toMs });
  const reach = { fromHour: epochHourOf(fromMs), toHour: Math.ceil(Math.max(toMs, figures.endMs) / HOUR_MS) };
  const found = { windows: 0, groups: 0, facts: 0, customers: new Set<string>() };
  const differences: FigureDifference[] = [];
  for (let fromHour = reach.fromHour; fromHour < reach.toHour; fromHour += SLICE_HOURS) {
    const hours = { fromHour, toHour: Math.min(fromHour + SLICE_HOURS, reach.toHour) };
    const slice = { fromMs: Math.max(fromMs, fromHour * HOUR_MS), toMs: Math.min(toMs, hours.toHour * HOUR_MS) };
    // Beyond the period only running figures that began in it are of interest.
    const counted = slice.fromMs < slice.toMs ? meters : running;
    const derived = await deriveHours(reads, { ...hours, customers, meters: counted });
    figures.add(derived);
    if (slice.fromMs >= slice.toMs) continue;
    const raw = derived.filter(({ window }) => isWithin(slice, window.fromMs)).map(toWindowFigure);
    raw.sort(byPlace);
    input.onFigures?.(raw);
    for (const { customerId, eventCount } of raw) {
      if (eventCount === 0) continue;
      found.windows += 1;
      found.facts += eventCount;
      found.customers.add(customerId);
    }
    const keys = meters.map(({ key }) => key);
    differences.push(...compareFigures(raw, await reads.storedWindows({ customerIds, meters: keys, ...slice })));
    const grouped = await auditGroups(reads, { ...hours, customers, meters, period: slice });
    found.groups += grouped.groups;
    for (const difference of grouped.differences) differences.push(difference);
  }
  const raw = figures.all();
  input.onFigures?.(raw);
  const keys = running.map(({ key }) => key);
  differences.push(...compareFigures(raw, await reads.storedPeriods({ customerIds, meters: keys, fromMs, toMs })));
  differences.sort(byPlace);
  return { ...found, customers: found.customers.size, periods: raw.length, differences, reach };
}

/** What the facts of customers in some hours come to, window by window. */
export async function deriveHours(
  reads: Pick<AuditReads, 'rawHours' | 'derive'>,
  of: {
    customers: ReadonlyMap<string, BillingCustomer>;
    meters: readonly Meter[];
    fromHour: EpochHour;
    toHour: EpochHour;
  },
): Promise<DerivedFigure[]> {
  const { customers, meters, fromHour, toHour } = of;
  const figures: DerivedFigure[] = [];
  if (meters.length === 0) return figures;
  for await (const pairs of reads.rawHours({ customerIds: [...customers.keys()], fromHour, toHour })) {
    for (const step of planDerivation(pairs, customers, meters).steps) figures.push(...(await reads.derive(step)));
  }
  return figures;
}

function toWindowFigure({ customerId, meter, window, figure }: DerivedFigure): AuditedFigure {
  const { quantity, eventCount } = figure;
  return { kind: 'window', customerId, meter, ...window, quantity, eventCount };
}

/** The running figures of billing periods that begin in a range, put together from windows as they come. */
class RunningFigures {
  readonly #customers: ReadonlyMap<string, BillingCustomer>;
  readonly #meters: ReadonlyMap<string, Meter>;
  readonly #range: Period;
  readonly #figures = new Map<string, { key: Omit<AuditedFigure, 'quantity' | 'eventCount'>; figure: UsageFigure }>();
  readonly #lastPeriods = new Map<string, Period>();
  /** The end of the last of those periods. */
  readonly endMs: number;

  constructor(customers: ReadonlyMap<string, BillingCustomer>, meters: readonly Meter[], range: Period) {
    this.#customers = customers;
    this.#meters = new Map(meters.map((meter) => [meter.key, meter]));
    this.#range = range;
    const ends = meters.length === 0 ? [] : [...customers.values()].map((customer) => this.#endFor(customer));
    this.endMs = ends.reduce((last, end) => Math.max(last, end), range.fromMs);
  }

  /** Where the last billing period that begins in the range ends. */
  #endFor(customer: BillingCustomer): number {
    const last = billingPeriodOf(customer, this.#range.toMs - 1);
    return last.fromMs >= this.#range.fromMs ? last.toMs : this.#range.fromMs;
  }

  add(derived: readonly DerivedFigure[]): void {
    const counted = derived.filter(({ meter, figure }) => this.#meters.has(meter) && figure.eventCount > 0);
    for (const [text, members] of groupBy(counted, (of) => this.#textOf(of))) {
      const [first] = members;
      const meter = this.#meters.get(first?.meter ?? '');
      if (text === undefined || first === undefined || meter === undefined) continue;
      const { customerId } = first;
      const period = this.#periodOf(first);
      const known = this.#figures.get(text);
      const figures = [...(known === undefined ? [] : [known.figure]), ...members.map(({ figure }) => figure)];
      const key = { kind: 'period' as const, customerId, meter: meter.key, ...period };
      this.#figures.set(text, { key, figure: combineFigures(meter.aggregation, figures) });
    }
  }

  /** In their order. */
  all(): AuditedFigure[] {
    return [...this.#figures.values()]
      .map(({ key, figure: { quantity, eventCount } }) => ({ ...key, quantity, eventCount }))
      .sort(byPlace);
  }

  /** Remembers the last period of each customer: most windows lie in it. */
  #periodOf({ customerId, window }: DerivedFigure): Period {
    const known = this.#lastPeriods.get(customerId);
    if (known !== undefined && isWithin(known, window.fromMs)) return known;
    const customer = this.#customers.get(customerId);
    const period = customer === undefined ? window : billingPeriodOf(customer, window.fromMs);
    this.#lastPeriods.set(customerId, period);
    return period;
  }

  /** Undefined for a window whose billing period began before the range, or begins after it. */
  #textOf(derived: DerivedFigure): string | undefined {
    const { fromMs } = this.#periodOf(derived);
    return isWithin(this.#range, fromMs) ? `${derived.customerId}\u001f${derived.meter}\u001f${fromMs}` : undefined;
  }
}

/** What is known not to be derived yet: hours in the journal, and those that a change has still to queue. */
interface Pending {
  readonly hours: ReadonlyMap<string, ReadonlySet<EpochHour>>;
  readonly customersFromMs: ReadonlyMap<string, number>;
  readonly metersFromMs: ReadonlyMap<string, number>;
}

async function pendingOf(
  reads: AuditReads,
  customerIds: readonly string[],
  reach: OneAudit['reach'],
): Promise<Pending> {
  const customers = await reads.customers(customerIds);
  const meters = await reads.meters();
  const hours = new Map<string, Set<EpochHour>>();
  for (const customerId of customerIds) hours.set(customerId, await reads.waitingHours({ customerId, ...reach }));
  return {
    hours,
    customersFromMs: new Map([...customers].flatMap(([id, { requeueFromMs }]) => pendingFrom(id, requeueFromMs))),
    metersFromMs: new Map(meters.flatMap(({ meter, requeueFromMs }) => pendingFrom(meter.key, requeueFromMs))),
  };
}

function pendingFrom(key: string, fromMs: number | undefined): [string, number][] {
  return fromMs === undefined ? [] : [[key, fromMs]];
}

function isPending(of: FigureDifference, pending: Pending): boolean {
  const fromMs = Math.min(
    pending.customersFromMs.get(of.customerId) ?? Number.POSITIVE_INFINITY,
    pending.metersFromMs.get(of.meter) ?? Number.POSITIVE_INFINITY,
  );
  if (of.toMs > fromMs) return true;
  const hours = pending.hours.get(of.customerId);
  if (hours === undefined) return false;
  const [first, end] = [epochHourOf(of.fromMs), Math.ceil(of.toMs / HOUR_MS)];
  return [...hours].some((hour) => hour >= first && hour < end);
}
