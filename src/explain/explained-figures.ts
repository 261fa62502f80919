import type { DerivedFigure, PlannedFigure } from '../aggregation/audited-figure.ts';
import { type BillingCustomer, billingPeriodOf, currentCalendar } from '../customers/calendar/billing-customer.ts';
import { type Aggregation, isAdditive, type Meter } from '../meters/meter.ts';
import { isWithin, type Period } from '../customers/calendar/period.ts';
import { compareQuantities, equalQuantities, type Quantity } from '../platform/quantity.ts';
import { combineFigures } from '../aggregation/usage-figure.ts';
import { epochHourOf, windowsOfHour } from '../customers/calendar/window.ts';

/** A window: stored, and from raw facts. */
export interface ExplainedWindow {
  readonly from: string;
  readonly to: string;
  readonly quantity: Quantity;
  readonly eventCount: number;
  readonly raw: { readonly quantity: Quantity; readonly eventCount: number };
  /** Where windows do not add up: the running figure of its billing period after this window. */
  readonly figure?: Quantity;
  /** The window moved that figure. */
  readonly setsFigure?: true;
}

/** The running figure of a billing period, where windows do not add up. */
export interface ExplainedPeriod {
  readonly from: string;
  readonly to: string;
  readonly quantity: Quantity;
  readonly eventCount: number;
  readonly raw: { readonly quantity: Quantity; readonly eventCount: number };
  /** The window that made the figure what it is; absent without usage. */
  readonly setBy?: { readonly from: string; readonly to: string };
}

/** Whole windows; whole billing periods where windows do not add up. */
export function widenRange(range: Period, customer: BillingCustomer, aggregation: Aggregation): Period {
  if (!isAdditive(aggregation)) {
    return {
      fromMs: billingPeriodOf(customer, range.fromMs).fromMs,
      toMs: billingPeriodOf(customer, range.toMs - 1).toMs,
    };
  }
  const windowAt = (instantMs: number): Period => {
    const windows = windowsOfHour(currentCalendar(customer), epochHourOf(instantMs));
    return windows.find((window) => isWithin(window, instantMs)) ?? range;
  };
  return { fromMs: windowAt(range.fromMs).fromMs, toMs: windowAt(range.toMs - 1).toMs };
}

/** The billing periods of a range that is made of whole ones. */
export function periodsOf(customer: BillingCustomer, range: Period): Period[] {
  const periods: Period[] = [];
  for (let atMs = range.fromMs; atMs < range.toMs; atMs = periods.at(-1)?.toMs ?? range.toMs) {
    periods.push(billingPeriodOf(customer, atMs));
  }
  return periods;
}

export function within<T extends Period | DerivedFigure>(figures: readonly T[], period: Period): T[] {
  return figures.filter((figure) => isWithin(period, 'window' in figure ? figure.window.fromMs : figure.fromMs));
}

/** Stored windows beside derived ones; those without facts on either side are left out. */
export function joinWindows(stored: readonly PlannedFigure[], derived: readonly DerivedFigure[]): ExplainedWindow[] {
  const rawByStart = new Map(derived.map((figure) => [figure.window.fromMs, figure]));
  const storedByStart = new Map(stored.filter(({ eventCount }) => eventCount > 0).map((row) => [row.fromMs, row]));
  const starts = [...new Set([...storedByStart.keys(), ...rawByStart.keys()])].sort((a, b) => a - b);
  return starts.map((startMs) => {
    const row = storedByStart.get(startMs);
    const raw = rawByStart.get(startMs);
    const toMs = row?.toMs ?? raw?.window.toMs ?? startMs;
    return {
      from: toText(startMs),
      to: toText(toMs),
      quantity: row?.quantity ?? '0',
      eventCount: row?.eventCount ?? 0,
      raw: { quantity: raw?.figure.quantity ?? '0', eventCount: raw?.figure.eventCount ?? 0 },
    };
  });
}

export function joinRunning(
  meter: Meter,
  windows: ExplainedWindow[],
  derived: readonly DerivedFigure[],
): ExplainedWindow[] {
  const steps = new Map(
    followFigure(meter.aggregation, derived).map((step, index) => [toText(derived[index]?.window.fromMs ?? 0), step]),
  );
  return windows.map((window) => {
    const step = steps.get(window.from);
    return { ...window, ...(step && { figure: step.figure, ...(step.sets && { setsFigure: true as const }) }) };
  });
}

/** Nothing for a billing period without usage. */
export function explainPeriod(
  meter: Meter,
  of: { period: Period; windows: readonly DerivedFigure[]; rows: readonly PlannedFigure[] },
): ExplainedPeriod[] {
  const { period, windows } = of;
  const row = of.rows.find(({ fromMs }) => fromMs === period.fromMs);
  const raw = combineFigures(
    meter.aggregation,
    windows.map(({ figure }) => figure),
  );
  if ((row?.eventCount ?? 0) + raw.eventCount === 0) return [];
  const last = followFigure(meter.aggregation, windows).findLastIndex(({ sets }) => sets);
  const setBy = windows[last]?.window;
  return [
    {
      from: toText(period.fromMs),
      to: toText(period.toMs),
      quantity: row?.quantity ?? '0',
      eventCount: row?.eventCount ?? 0,
      raw: { quantity: raw.quantity, eventCount: raw.eventCount },
      ...(setBy && { setBy: { from: toText(setBy.fromMs), to: toText(setBy.toMs) } }),
    },
  ];
}

/**
 * How a billing period's running figure came about, window by window, and which of them moved it.
 * @param windows of one billing period, in time order.
 */
export function followFigure(
  aggregation: Aggregation,
  windows: readonly DerivedFigure[],
): { figure: Quantity; sets: boolean }[] {
  if (isAdditive(aggregation)) return [];
  const seen = new Set<string>();
  let figure = '0';
  let counted = 0;
  return windows.map((window) => {
    const { quantity, eventCount, values = [] } = window.figure;
    const before = figure;
    for (const value of values) seen.add(value);
    if (eventCount > 0) {
      const isGreater = counted === 0 || compareQuantities(quantity, before) > 0;
      if (aggregation === 'unique') figure = String(seen.size);
      else if (aggregation === 'last' || isGreater) figure = quantity;
    }
    const isFirst = counted === 0 && eventCount > 0;
    counted += eventCount;
    // The latest value is set by the window that holds it, also when it is the same as before.
    const isSet = eventCount > 0 && (isFirst || aggregation === 'last' || !equalQuantities(before, figure));
    return { figure, sets: isSet };
  });
}

function toText(instantMs: number): string {
  return new Date(instantMs).toISOString();
}
