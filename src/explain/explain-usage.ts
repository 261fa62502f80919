import type { Clock } from '../platform/clock.ts';
import type { DerivedFigure, PlannedFigure } from '../aggregation/audited-figure.ts';
import { type BillingCustomer, countsFromMs, countsToMs } from '../customers/calendar/billing-customer.ts';
import {
  explainPeriod,
  type ExplainedPeriod,
  type ExplainedWindow,
  joinRunning,
  joinWindows,
  periodsOf,
  widenRange,
  within,
} from './explained-figures.ts';
import {
  type Between,
  bySequence,
  type ExplainedBilling,
  type ExplainedLateUsage,
  type ExplainedSubmission,
  holdAgainst,
  type Totals,
} from './explanation.ts';
import { isAdditive, type Meter, type MeterCondition } from '../meters/meter.ts';
import { isWithin, type Period } from '../customers/calendar/period.ts';
import { addQuantities, type Quantity } from '../platform/quantity.ts';
import { combineFigures, EMPTY_FIGURE } from '../aggregation/usage-figure.ts';
import { epochHourOf } from '../customers/calendar/window.ts';
import { HOUR_MS } from '../platform/durations.ts';
import { DaemonError } from '../platform/errors.ts';
import { type AuditReads, deriveHours } from '../aggregation/audit-customers.ts';
import type { FactPosition } from '../usage/read-events.ts';
import { parseTimestamp } from '../platform/instant.ts';
import { rangeOf } from '../customers/calendar/asked-range.ts';

interface FigureQuery extends Period {
  readonly customerIds: readonly string[];
  readonly meters: readonly string[];
}

interface OfMeter extends Period {
  readonly customerId: string;
  readonly meter: string;
}

/** Where submissions went. */
interface AtStripe {
  readonly stripeCustomerIds: readonly string[];
  readonly stripeMeterIds: readonly string[];
}

/** The reads of one explanation, none older than the one before: see explain/usage-audit-store. */
export interface ExplanationReads extends Pick<AuditReads, 'customers' | 'meters' | 'rawHours' | 'derive'> {
  storedWindows(range: FigureQuery): Promise<PlannedFigure[]>;
  storedPeriods(range: FigureQuery): Promise<PlannedFigure[]>;
}

export interface ExplainUsageDeps<Fact> {
  readonly clock: Pick<Clock, 'now'>;
  withAudit<T>(work: (audit: ExplanationReads) => Promise<T>): Promise<T>;
  /** Submissions about rows that begin in a range, and those that are stamped in it. */
  submissions(of: OfMeter): Promise<ExplainedSubmission[]>;
  /** Likewise, late usage. */
  lateUsage(of: OfMeter): Promise<ExplainedLateUsage[]>;
  /** What became of the usage at Stripe, of these customers and meters there. */
  billing(of: OfMeter & AtStripe): Promise<ExplainedBilling>;
  readonly rawFacts: {
    page(query: {
      customerId: string;
      fromMs: number;
      toMs: number;
      eventType: string;
      where: readonly MeterCondition[];
      meter: string;
      after?: FactPosition;
      limit: number;
    }): Promise<{ facts: Fact[]; next?: FactPosition }>;
  };
}

export interface ExplainUsageInput {
  readonly customerId: string;
  readonly meter: string;
  /** RFC 3339; with `to`. The current billing period without them. */
  readonly from?: string;
  readonly to?: string;
  readonly period?: 'current' | 'previous';
  /** Only facts of the hour that holds this instant. */
  readonly hour?: string;
  readonly after?: FactPosition;
  /** Facts in a page. */
  readonly limit: number;
}

/** From a billed quantity down to the facts behind it. */
export interface UsageExplanation<Fact> {
  readonly customerId: string;
  readonly meter: Meter;
  readonly from: string;
  readonly to: string;
  readonly asOf: string;
  readonly billing: ExplainedBilling;
  readonly totals: Totals;
  readonly between: Between;
  /** Whether every level comes to the same. */
  readonly equal: boolean;
  readonly submissions: readonly ExplainedSubmission[];
  readonly lateUsage: readonly ExplainedLateUsage[];
  /** Where windows do not add up. */
  readonly periods?: readonly ExplainedPeriod[];
  /** Those with usage, in time order. */
  readonly windows: readonly ExplainedWindow[];
  readonly facts: {
    readonly from: string;
    readonly to: string;
    /** Of all facts from `from` to `to`, not only of this page. */
    readonly quantity: Quantity;
    readonly eventCount: number;
    readonly page: readonly Fact[];
    readonly next?: FactPosition;
  };
}

/**
 * Explains a customer's figure of one meter, level by level: what is billed, the meter events that it is made of and
 * what Stripe said to them, the windows behind those, and the facts behind the windows. The range is widened to whole
 * windows, and where windows do not add up to whole billing periods: less than that is not what was submitted.
 * @throws DaemonError `range_invalid`, `range_too_long`, `meter_not_found`.
 */
export async function explainUsage<Fact>(
  deps: ExplainUsageDeps<Fact>,
  input: ExplainUsageInput,
): Promise<UsageExplanation<Fact>> {
  const { customerId } = input;
  const asOfMs = deps.clock.now();
  const found = await deps.withAudit((reads) => readFigures(reads, input, asOfMs));
  const { meter, customer, range } = found;
  const of = { customerId, meter: meter.key, ...range };
  const submissions = [...(await deps.submissions(of))].sort(bySequence);
  const late = await deps.lateUsage(of);
  const counted = {
    fromMs: Math.max(range.fromMs, countsFromMs(meter, customer)),
    toMs: Math.min(range.toMs, countsToMs(meter)),
  };
  const facts = await readFacts(deps, input, { meter, counted, derived: found.derived, range });
  const periods = isAdditive(meter.aggregation) ? undefined : found.periods;
  const raw = addQuantities('0', ...(periods ?? found.windows).map((figure) => figure.raw.quantity));
  return {
    customerId,
    meter,
    from: toText(range.fromMs),
    to: toText(range.toMs),
    asOf: toText(asOfMs),
    ...holdAgainst({ range, rows: found.rows, submissions, late, raw }),
    billing: await deps.billing({ ...of, ...destinationsOf(submissions) }),
    submissions,
    lateUsage: late,
    ...(periods && { periods }),
    windows: found.windows,
    facts,
  };
}

function destinationsOf(submissions: readonly ExplainedSubmission[]): AtStripe {
  const distinct = (ids: readonly (string | undefined)[]): string[] => [
    ...new Set(ids.filter((id): id is string => id !== undefined)),
  ];
  return {
    stripeCustomerIds: distinct(submissions.map(({ stripeCustomerId }) => stripeCustomerId)),
    stripeMeterIds: distinct(submissions.map(({ stripeMeterId }) => stripeMeterId)),
  };
}

interface FoundFigures {
  readonly meter: Meter;
  readonly customer: BillingCustomer;
  readonly range: Period;
  readonly derived: readonly DerivedFigure[];
  readonly windows: readonly ExplainedWindow[];
  readonly periods: readonly ExplainedPeriod[];
  /** What is submitted by itself: windows, or running figures. */
  readonly rows: readonly PlannedFigure[];
}

async function readFigures(reads: ExplanationReads, input: ExplainUsageInput, nowMs: number): Promise<FoundFigures> {
  const { customerId } = input;
  const customer = (await reads.customers([customerId])).get(customerId)?.billing;
  const meter = (await reads.meters()).find((live) => live.meter.key === input.meter)?.meter;
  if (meter === undefined || customer === undefined) throw meterNotFound(input.meter);
  // An hour alone is explained with the billing period that it lies in.
  const isHourAlone = [input.from, input.to, input.period].every((given) => given === undefined);
  const atMs = (isHourAlone && input.hour !== undefined ? parseTimestamp(input.hour) : undefined) ?? nowMs;
  const range = widenRange(rangeOf(customer, input, atMs), customer, meter.aggregation);
  const hours = { fromHour: epochHourOf(range.fromMs), toHour: Math.ceil(range.toMs / HOUR_MS) };
  const all = await deriveHours(reads, { customers: new Map([[customerId, customer]]), meters: [meter], ...hours });
  const derived = all
    .filter(({ window, figure }) => isWithin(range, window.fromMs) && figure.eventCount > 0)
    .sort((a, b) => a.window.fromMs - b.window.fromMs);
  const query = { customerIds: [customerId], meters: [meter.key], ...range };
  const stored = await reads.storedWindows(query);
  const figures = { meter, customer, range, derived };
  if (isAdditive(meter.aggregation)) {
    return { ...figures, windows: joinWindows(stored, derived), periods: [], rows: stored };
  }
  const rows = await reads.storedPeriods(query);
  const periods = periodsOf(customer, range).map((period) => ({ period, windows: within(derived, period) }));
  return {
    ...figures,
    windows: periods.flatMap(({ period, windows }) =>
      joinRunning(meter, joinWindows(within(stored, period), windows), windows),
    ),
    periods: periods.flatMap(({ period, windows }) => explainPeriod(meter, { period, windows, rows })),
    rows,
  };
}

async function readFacts<Fact>(
  deps: ExplainUsageDeps<Fact>,
  input: ExplainUsageInput,
  of: { meter: Meter; range: Period; counted: Period; derived: readonly DerivedFigure[] },
): Promise<UsageExplanation<Fact>['facts']> {
  const { meter } = of;
  const hour = input.hour === undefined ? of.range : hourOf(input.hour, of.range);
  const figures = within(of.derived, hour).map(({ figure }) => figure);
  const { quantity, eventCount } = figures.length === 0 ? EMPTY_FIGURE : combineFigures(meter.aggregation, figures);
  const told = { from: toText(hour.fromMs), to: toText(hour.toMs), quantity, eventCount };
  const fromMs = Math.max(hour.fromMs, of.counted.fromMs);
  const toMs = Math.min(hour.toMs, of.counted.toMs);
  if (fromMs >= toMs) return { ...told, page: [] };
  const { facts, next } = await deps.rawFacts.page({
    customerId: input.customerId,
    fromMs,
    toMs,
    eventType: meter.eventType,
    where: meter.where,
    meter: meter.key,
    limit: input.limit,
    ...(input.after !== undefined && { after: input.after }),
  });
  return { ...told, page: facts, ...(next && { next }) };
}

/** The part of an hour that lies in the range. */
function hourOf(text: string, range: Period): Period {
  const instantMs = parseTimestamp(text);
  if (instantMs !== undefined) {
    const hour = epochHourOf(instantMs);
    const fromMs = Math.max(hour * HOUR_MS, range.fromMs);
    const toMs = Math.min((hour + 1) * HOUR_MS, range.toMs);
    if (fromMs < toMs) return { fromMs, toMs };
  }
  throw new DaemonError({
    kind: 'invalid',
    code: 'range_invalid',
    message:
      `hour is an instant, RFC 3339 with an offset, in the range that is explained: from ${new Date(range.fromMs).toISOString()} ` +
      `to ${new Date(range.toMs).toISOString()}. Another range is given by from and to, or by period, which can be previous.`,
    context: { pointer: '/hour' },
  });
}

function meterNotFound(key: string): DaemonError {
  return new DaemonError({
    kind: 'not-found',
    code: 'meter_not_found',
    message: 'There is no meter with this key.',
    context: { meter: key },
  });
}

function toText(instantMs: number): string {
  return new Date(instantMs).toISOString();
}
