import { ContentHash, type FigureDifference } from '../aggregation/audited-figure.ts';
import type { Meter } from '../meters/meter.ts';
import type { Period } from '../customers/calendar/period.ts';
import { type EpochHour, epochHourOf } from '../customers/calendar/window.ts';
import { HOUR_MS } from '../platform/durations.ts';
import { DaemonError } from '../platform/errors.ts';
import { auditCustomers, type AuditReads } from '../aggregation/audit-customers.ts';

export interface VerifyUsageDeps {
  /** Customers with facts in these hours, or with stored figures; sorted by their bytes. */
  customerIds(hours: { from: EpochHour; to: EpochHour }): Promise<string[]>;
  withAudit<T>(work: (audit: AuditReads) => Promise<T>): Promise<T>;
  /** Told how many customers are done, and of how many. */
  report?(progress: { done: number; total: number }): Promise<void>;
}

export interface VerifyUsageInput extends Period {
  /** One customer; all of them without it. */
  readonly customerId?: string;
  readonly signal?: AbortSignal;
}

/** What was derived again from raw facts, and where what is stored differs. */
export interface Verification {
  readonly from: string;
  readonly to: string;
  readonly customerId?: string;
  /** Customers with figures. */
  readonly customers: number;
  /** Windows that begin in the period. */
  readonly windows: number;
  /** Groups of those windows, of meters with `groupBy`. */
  readonly groups: number;
  /** Running figures of billing periods that begin in the period. */
  readonly periods: number;
  /** Facts counted in those windows, once for each meter. */
  readonly facts: number;
  /** Figures that differ because their hours wait to be derived: no drift. */
  readonly waiting: number;
  /** Figures that differ for no such reason. */
  readonly differing: number;
  /** The first of them. */
  readonly differences: readonly StatedDifference[];
  /** Over windows and running figures from raw facts, not over groups: the same facts give the same hash. */
  readonly hash: string;
}

/** A difference with its instants in RFC 3339. */
export interface StatedDifference extends Omit<FigureDifference, 'fromMs' | 'toMs'> {
  readonly from: string;
  readonly to: string;
}

/** Differences that are told; all are counted. */
const DIFFERENCES_MAX = 100;
/** Windows that may be in memory at once, as long as one customer's month has no more. */
const WINDOWS_MAX = 40_000;
/** One whose groups are compared counts as so many: where they differ, all of them are held. */
const GROUPED_WINDOW_WEIGHT = 10;
const CUSTOMERS_PER_BATCH_MAX = 200;
const HOURS_PER_MONTH = 744;

/**
 * Derives every figure of a period again from raw facts, and holds what is stored against it: windows that begin in the
 * period, their groups, and the running figures of billing periods that begin in it (each from all facts of its billing
 * period). Reads only; a figure whose hours still wait to be derived is not drift.
 *
 * Goes customer by customer, a month at a time. What is in memory are the windows of a batch of customers, the distinct
 * values of their `unique` meters, those of their groups that differ, and the ids of all customers.
 * @throws DaemonError `stopping` when it is told to stop: half a verification says nothing.
 */
export async function verifyUsage(deps: VerifyUsageDeps, input: VerifyUsageInput): Promise<Verification> {
  const { fromMs, toMs, customerId, signal } = input;
  const meters = await deps.withAudit(async (audit) => (await audit.meters()).map(({ meter }) => meter));
  const hours = { from: epochHourOf(fromMs), to: Math.ceil(toMs / HOUR_MS) };
  const ids = customerId === undefined ? await deps.customerIds(hours) : [customerId];
  const hash = new ContentHash();
  const total = { customers: 0, windows: 0, groups: 0, periods: 0, facts: 0, waiting: 0, differing: 0 };
  const differences: StatedDifference[] = [];
  const batchSize = batchSizeFor(meters, hours);
  for (let from = 0; from < ids.length; from += batchSize) {
    if (signal?.aborted === true) throw stopping();
    const batch = ids.slice(from, from + batchSize);
    const audited = await deps.withAudit((audit) =>
      auditCustomers(audit, { customerIds: batch, fromMs, toMs, onFigures: (figures) => hash.add(figures) }),
    );
    hash.finish(batch);
    for (const name of Object.keys(total) as (keyof typeof total)[]) {
      total[name] += name === 'differing' ? audited.differences.length : audited[name];
    }
    differences.push(...audited.differences.slice(0, DIFFERENCES_MAX - differences.length).map(toStated));
    await deps.report?.({ done: from + batch.length, total: ids.length });
  }
  return {
    from: toText(fromMs),
    to: toText(toMs),
    ...(customerId !== undefined && { customerId }),
    ...total,
    differences,
    hash: hash.digest(),
  };
}

function batchSizeFor(meters: readonly Meter[], hours: { from: EpochHour; to: EpochHour }): number {
  const weights = meters.map(({ groupBy }) => (groupBy.length > 0 ? GROUPED_WINDOW_WEIGHT : 1));
  const weight = weights.reduce((sum, one) => sum + one, 0);
  const windows = Math.min(hours.to - hours.from, HOURS_PER_MONTH) * Math.max(1, weight);
  return Math.min(CUSTOMERS_PER_BATCH_MAX, Math.max(1, Math.floor(WINDOWS_MAX / Math.max(1, windows))));
}

function stopping(): DaemonError {
  return new DaemonError({ kind: 'transient', code: 'stopping', message: 'This process is being stopped.' });
}

function toStated({ fromMs, toMs, ...rest }: FigureDifference): StatedDifference {
  return { ...rest, from: toText(fromMs), to: toText(toMs) };
}

function toText(instantMs: number): string {
  return new Date(instantMs).toISOString();
}
