import type { Clock } from '../platform/clock.ts';
import { type MeterChange, type MeterDefinition, changeMeter } from '../meters/meter-definition.ts';
import type { Meter } from '../meters/meter.ts';
import type { Quantity } from '../platform/quantity.ts';
import { combineFigures } from './usage-figure.ts';
import { groupBy } from '../platform/grouping.ts';
import { DAY_MS, HOUR_MS } from '../platform/durations.ts';
import { DaemonError } from '../platform/errors.ts';
import { type AuditReads, deriveHours } from './audit-customers.ts';
import { parseTimestamp } from '../platform/instant.ts';

export interface PreviewMeterDeps {
  readonly clock: Pick<Clock, 'now'>;
  toMeter(definition: MeterDefinition): Meter;
  /** Customers with usage in some hours, in order. */
  customerIds(hours: { from: number; to: number }): Promise<string[]>;
  withAudit<T>(work: (reads: Pick<AuditReads, 'customers' | 'rawHours' | 'derive'>) => Promise<T>): Promise<T>;
}

export interface PreviewMeterInput {
  readonly definition: MeterChange;
  /** RFC 3339, whole hours. */
  readonly from: string;
  readonly to: string;
  readonly customerId?: string;
}

/** What a definition would have counted of one customer. */
export interface PreviewedCustomer {
  readonly customerId: string;
  readonly quantity: Quantity;
  readonly eventCount: number;
  /** Events whose value it could not count. */
  readonly uncountable: number;
}

export interface MeterPreview {
  readonly from: string;
  readonly to: string;
  /** Those with usage that it counts, in order of id. */
  readonly customers: readonly PreviewedCustomer[];
  /** There are more customers than were looked at. */
  readonly hasMore: boolean;
}

/** As far back as Stripe takes usage. */
const PREVIEW_DAYS_MAX = 35;
const PREVIEW_CUSTOMERS_MAX = 100;
/** No meter can have this key: adjustments of a meter are not those of a definition that is tried. */
const PREVIEW_KEY = ' preview';

/**
 * What a meter's definition would have counted of past events, by the derivation that counts them for real. Nothing is
 * stored. The range stands for one billing period.
 * @throws DaemonError `meter_invalid` for a definition that could not be put, `range_invalid`, `range_too_long`.
 */
export async function previewMeter(deps: PreviewMeterDeps, input: PreviewMeterInput): Promise<MeterPreview> {
  const nowMs = deps.clock.now();
  const { effectiveFrom: _from, stripe: _stripe, ...counted } = input.definition;
  const definition = changeMeter(undefined, { key: 'preview', change: counted, nowMs });
  const meter: Meter = { ...deps.toMeter(definition), key: PREVIEW_KEY, effectiveFromMs: 0 };
  const { fromMs, toMs } = readRange(input);
  const hours = { fromHour: fromMs / HOUR_MS, toHour: toMs / HOUR_MS };
  const all =
    input.customerId === undefined
      ? await deps.customerIds({ from: hours.fromHour, to: hours.toHour })
      : [input.customerId];
  const ids = all.sort().slice(0, PREVIEW_CUSTOMERS_MAX);
  const derived = await deps.withAudit(async (reads) => {
    const known = await reads.customers(ids);
    const customers = new Map([...known].map(([id, { billing }]) => [id, billing]));
    return deriveHours(reads, { customers, meters: [meter], ...hours });
  });
  const byCustomer = groupBy(derived, ({ customerId }) => customerId);
  const customers = ids.flatMap((customerId): PreviewedCustomer[] => {
    const windows = (byCustomer.get(customerId) ?? []).sort((a, b) => a.window.fromMs - b.window.fromMs);
    const figures = windows.map(({ figure }) => figure);
    if (figures.every(({ eventCount, uncountable = 0 }) => eventCount + uncountable === 0)) return [];
    const { quantity, eventCount, uncountable = 0 } = combineFigures(meter.aggregation, figures);
    return [{ customerId, quantity, eventCount, uncountable }];
  });
  const told = { from: new Date(fromMs).toISOString(), to: new Date(toMs).toISOString() };
  return { ...told, customers, hasMore: all.length > ids.length };
}

function readRange({ from, to }: PreviewMeterInput): { fromMs: number; toMs: number } {
  const [fromMs, toMs] = [parseTimestamp(from), parseTimestamp(to)];
  const refuse = (code: 'range_invalid' | 'range_too_long', message: string): DaemonError =>
    new DaemonError({ kind: 'invalid', code, message, context: { pointer: '/from' } });
  if (fromMs === undefined || toMs === undefined || fromMs % HOUR_MS !== 0 || toMs % HOUR_MS !== 0 || fromMs >= toMs) {
    throw refuse('range_invalid', 'from and to are whole UTC hours like 2026-11-01T00:00:00Z, from before to.');
  }
  if (toMs - fromMs > PREVIEW_DAYS_MAX * DAY_MS) {
    throw refuse('range_too_long', `A definition can be tried on at most ${PREVIEW_DAYS_MAX} days at a time.`);
  }
  return { fromMs, toMs };
}
