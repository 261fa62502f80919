import type { Clock } from '../platform/clock.ts';
import {
  type BillingCustomer,
  countsFromMs,
  countsToMs,
  currentCalendar,
} from '../customers/calendar/billing-customer.ts';
import {
  bucketOf,
  type LiveGroup,
  type LiveSources,
  type LiveUnit,
  type LiveWindow,
  splitLiveRange,
} from './live-usage.ts';
import { combineLiveGroups, type GroupedFigure } from './live-groups.ts';
import type { Meter } from '../meters/meter.ts';
import type { Period } from '../customers/calendar/period.ts';
import type { MeterUsage, UsageReport } from './usage-report.ts';
import { groupPositions, type UsageQuery } from './usage-query.ts';
import { combineFigures, EMPTY_FIGURE, type UsageFigure } from './usage-figure.ts';
import { type EpochHour, epochHourOf } from '../customers/calendar/window.ts';
import { DAY_MS } from '../platform/durations.ts';
import { DaemonError } from '../platform/errors.ts';
import { Turns } from '../platform/event-loop.ts';
import { rangeOf } from '../customers/calendar/asked-range.ts';

/** The reads of one answer, in an order that they keep: see `LiveUsage`. */
export interface LiveReads {
  customer(
    customerId: string,
  ): Promise<{ billing: BillingCustomer; revision: number; requeueFromMs?: number | undefined }>;
  meters(): Promise<LiveMeter[]>;
  waitingHours(query: { customerId: string; fromHour: EpochHour; toHour: EpochHour }): Promise<Set<EpochHour>>;
  /** Of several meters, by meter. */
  storedWindows(ranges: readonly StoredRange[]): Promise<ReadonlyMap<string, LiveWindow[]>>;
  storedGroups(range: StoredRange): Promise<LiveGroup[]>;
  storedValues(range: StoredRange, unit: LiveUnit): AsyncIterable<{ fromMs: number; value: string }>;
  rawWindows(raws: readonly RawRange[]): Promise<ReadonlyMap<string, LiveWindow[]>>;
  rawGroups(raw: RawRange): Promise<LiveGroup[]>;
}

interface LiveMeter {
  readonly meter: Meter;
  readonly requeueFromMs?: number | undefined;
}
interface StoredRange {
  readonly customerId: string;
  readonly meter: Meter;
  readonly period: Period;
}
interface RawRange extends Pick<LiveSources, 'rawHours' | 'rawWindows'> {
  readonly customerId: string;
  readonly meter: Meter;
  readonly layout: number;
}

export interface ReadUsageDeps {
  readonly clock: Pick<Clock, 'now'>;
  withLiveUsage<T>(work: (reads: LiveReads) => Promise<T>): Promise<T>;
}

/** Windows that are read, and held, at once: of so many meters as that makes in the range. */
const WINDOWS_READ_MAX = 20_000;
/** Windows of an answer; an answer is written in one piece. */
const WINDOWS_ANSWERED_MAX = 30_000;
/** How often an answer is read again because the customer's calendar changed meanwhile. */
const ATTEMPTS_MAX = 5;

/**
 * A customer's usage, exact at this moment: whatever is not derived yet is derived from raw facts instead.
 *
 * The customer and the meters are read first, then the journal, then the rows. What changed before the journal was read
 * is either in it, or marked as pending on the customer or meter, or in the rows already.
 * @throws DaemonError `range_invalid`, `range_too_long`, `meter_not_found`, `group_by_not_kept`, `usage_changing`.
 */
export async function readUsage(deps: ReadUsageDeps, input: UsageQuery): Promise<UsageReport> {
  const asOfMs = deps.clock.now();
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
    const report = await deps.withLiveUsage((reads) => readOnce(reads, input, asOfMs));
    if (report !== undefined) return report;
  }
  throw new DaemonError({
    kind: 'transient',
    code: 'usage_changing',
    message: 'The customer was changed while its usage was read. Try again.',
    context: { customerId: input.customerId },
  });
}

async function readOnce(reads: LiveReads, input: UsageQuery, asOfMs: number): Promise<UsageReport | undefined> {
  const { customerId } = input;
  const customer = await reads.customer(customerId);
  const meters = chooseMeters(await reads.meters(), input);
  const range = rangeOf(customer.billing, input, asOfMs);
  const fromHour = epochHourOf(range.fromMs);
  const toHour = epochHourOf(range.toMs - 1) + 1;
  const waiting = await reads.waitingHours({ customerId, fromHour, toHour });
  const reader = new MeterReader(reads, { customer, range, waiting, unit: input.window ?? 'total' });
  const usage: MeterUsage[] = [];
  let windows = 0;
  const atOnce = Math.max(1, Math.floor(WINDOWS_READ_MAX / Math.max(1, toHour - fromHour)));
  for (let from = 0; from < meters.length; from += atOnce) {
    for (const read of await reader.read(meters.slice(from, from + atOnce), input.groupBy)) {
      windows += read.windows.length;
      if (windows > WINDOWS_ANSWERED_MAX) throw answerTooLong();
      usage.push(read);
    }
  }
  // A calendar that changed meanwhile may have cut hours anew between two reads.
  if ((await reads.customer(customerId)).revision !== customer.revision) return undefined;
  return {
    customerId,
    from: toText(range.fromMs),
    to: toText(range.toMs),
    asOf: toText(asOfMs),
    meters: usage,
  };
}

interface ReadContext {
  readonly customer: { readonly billing: BillingCustomer; readonly requeueFromMs?: number | undefined };
  readonly range: Period;
  readonly waiting: ReadonlySet<EpochHour>;
  readonly unit: LiveUnit;
}

/** Reads the meters of one answer. */
class MeterReader {
  readonly #reads: LiveReads;
  readonly #context: ReadContext;
  /** By from when on a meter counts, and is pending: the same for most of them. */
  readonly #sources = new Map<string, LiveSources>();

  constructor(reads: LiveReads, context: ReadContext) {
    this.#reads = reads;
    this.#context = context;
  }

  /** The usage of several meters, by one statement for what they have in common. */
  async read(meters: readonly LiveMeter[], groupBy: readonly string[] | undefined): Promise<MeterUsage[]> {
    const turns = new Turns();
    const all = meters.map((live) => ({ live, sources: this.#sourcesOf(live) }));
    const stored = await this.#reads.storedWindows(
      all.flatMap(({ live: { meter }, sources: { wholeHours } }) =>
        wholeHours === undefined ? [] : [this.#stored(meter, wholeHours)],
      ),
    );
    const raw = await this.#reads.rawWindows(
      all.filter(({ sources }) => hasRaw(sources)).map(({ live: { meter }, sources }) => this.#raw(meter, sources)),
    );
    const usage: MeterUsage[] = [];
    for (const { live, sources } of all) {
      const { meter } = live;
      const current = (stored.get(meter.key) ?? []).filter(
        ({ period }) => !sources.isBehind(epochHourOf(period.fromMs)),
      );
      const windows = [...current, ...(raw.get(meter.key) ?? [])];
      usage.push(await this.#readOne(meter, { sources, windows, groupBy: groupPositions(meter, groupBy) }));
      await turns.next();
    }
    return usage;
  }

  async #readOne(
    meter: Meter,
    of: { sources: LiveSources; windows: readonly LiveWindow[]; groupBy: readonly number[] | undefined },
  ): Promise<MeterUsage> {
    const { range, unit } = this.#context;
    const { sources, windows, groupBy } = of;
    const parts = windows.map((window) => ({ ...window, period: bucketOf(unit, range, window.period) }));
    const mayHaveValues = meter.aggregation === 'unique' && windows.some(({ figure }) => figure.eventCount > 0);
    if (mayHaveValues) for (const part of await this.#valuesOf(meter, sources)) parts.push(part);
    const total = combineFigures(
      meter.aggregation,
      parts.map(({ figure }) => figure),
    );
    const groups = groupBy && (await this.#groupsOf(meter, { sources, windows, groupBy }));
    return {
      meter: meter.key,
      unit: meter.unit,
      quantity: total.quantity,
      eventCount: total.eventCount,
      ...(total.uncountable !== undefined && { uncountable: total.uncountable }),
      windows: this.#cut(meter, parts),
      ...(groups && { groups }),
    };
  }

  /** Usage before the meter counts is not its own. */
  #sourcesOf({ meter, requeueFromMs }: LiveMeter): LiveSources {
    const { customer, range, waiting } = this.#context;
    const pending = [customer.requeueFromMs, requeueFromMs].filter((fromMs) => fromMs !== undefined);
    const fromMs = Math.max(range.fromMs, countsFromMs(meter, customer.billing));
    const toMs = Math.min(range.toMs, countsToMs(meter));
    const key = `${fromMs} ${toMs} ${Math.min(...pending)}`;
    const known = this.#sources.get(key);
    if (known !== undefined) return known;
    const sources = splitLiveRange({
      range: { fromMs, toMs },
      cuts: currentCalendar(customer.billing),
      waiting,
      ...(pending.length > 0 && { pendingFromMs: Math.min(...pending) }),
    });
    this.#sources.set(key, sources);
    return sources;
  }

  /** The stored distinct values, as figures that count no events: those are in the windows. */
  async #valuesOf(meter: Meter, sources: LiveSources): Promise<LiveWindow[]> {
    if (sources.wholeHours === undefined) return [];
    const { unit, range } = this.#context;
    const values = new Map<number, string[]>();
    for await (const found of this.#reads.storedValues(this.#stored(meter, sources.wholeHours), unit)) {
      const own = values.get(found.fromMs);
      if (own === undefined) values.set(found.fromMs, [found.value]);
      else own.push(found.value);
    }
    return [...values].map(([fromMs, own]) => ({
      period: unit === 'day' ? bucketOf(unit, range, { fromMs, toMs: fromMs + DAY_MS }) : range,
      figure: { ...EMPTY_FIGURE, values: own },
    }));
  }

  async #groupsOf(
    meter: Meter,
    of: { sources: LiveSources; windows: readonly LiveWindow[]; groupBy: readonly number[] },
  ): Promise<GroupedFigure[]> {
    const { sources } = of;
    const stored =
      sources.wholeHours === undefined ? [] : await this.#reads.storedGroups(this.#stored(meter, sources.wholeHours));
    // Groups of a window that no longer exists stay stored; its row is empty.
    const counted = new Set(
      of.windows.filter(({ figure }) => figure.eventCount > 0).map(({ period }) => period.fromMs),
    );
    const current = stored.filter(
      ({ periodFromMs }) => counted.has(periodFromMs) && !sources.isBehind(epochHourOf(periodFromMs)),
    );
    const raw = await this.#reads.rawGroups(this.#raw(meter, sources));
    return combineLiveGroups(meter, [...current, ...raw], of.groupBy);
  }

  #cut(meter: Meter, parts: readonly LiveWindow[]): MeterUsage['windows'] {
    const { unit, range } = this.#context;
    const buckets = new Map<number, { period: Period; figures: UsageFigure[] }>();
    if (unit === 'total') buckets.set(range.fromMs, { period: range, figures: [] });
    for (const { period, figure } of parts) {
      // Distinct values of windows are in their rows' quantity already, once for each window.
      if (unit === 'hour' && figure.eventCount === 0) continue;
      const bucket = buckets.get(period.fromMs) ?? { period, figures: [] };
      buckets.set(period.fromMs, bucket);
      bucket.figures.push(figure);
    }
    return [...buckets.values()]
      .sort((a, b) => a.period.fromMs - b.period.fromMs)
      .map(({ period, figures }) => ({ period, figure: combineFigures(meter.aggregation, figures) }))
      .filter(({ figure }) => unit === 'total' || figure.eventCount > 0)
      .map(({ period, figure }) => ({
        from: toText(period.fromMs),
        to: toText(period.toMs),
        quantity: figure.quantity,
        eventCount: figure.eventCount,
      }));
  }

  #stored(meter: Meter, period: Period): StoredRange {
    return { customerId: this.#context.customer.billing.customerId, meter, period };
  }

  #raw(meter: Meter, { rawHours, rawWindows }: LiveSources): RawRange {
    const { billing } = this.#context.customer;
    return { customerId: billing.customerId, meter, layout: currentCalendar(billing).layout, rawHours, rawWindows };
  }
}

function hasRaw({ rawHours, rawWindows }: LiveSources): boolean {
  return rawHours.length + rawWindows.length > 0;
}

function answerTooLong(): DaemonError {
  return new DaemonError({
    kind: 'invalid',
    code: 'range_too_long',
    message: `An answer may hold ${WINDOWS_ANSWERED_MAX} windows. Ask for one meter, a shorter range, or larger windows.`,
    context: { pointer: '/window' },
  });
}

function chooseMeters(meters: readonly LiveMeter[], input: UsageQuery): readonly LiveMeter[] {
  if (input.meter === undefined) return meters;
  const chosen = meters.filter(({ meter }) => meter.key === input.meter);
  if (chosen.length > 0) return chosen;
  throw new DaemonError({
    kind: 'not-found',
    code: 'meter_not_found',
    message: 'There is no meter with this key.',
    context: { meter: input.meter },
  });
}

function toText(instantMs: number): string {
  return new Date(instantMs).toISOString();
}
