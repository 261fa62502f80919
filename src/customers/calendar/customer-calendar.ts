import { DAY_MS, HOUR_MS } from '../../platform/durations.ts';
import { DaemonError } from '../../platform/errors.ts';
import { CALENDAR_MONTH_REVISION, type CalendarRevision } from './billing-customer.ts';
import {
  type BillingCalendar,
  type BillingInterval,
  CALENDAR_MONTH,
  eraCalendars,
  isPeriodStart,
  isSameCalendar,
  isSameRhythm,
  type Period,
  periodContaining,
} from './period.ts';
import { type HourCuts, offsetInHour } from './window.ts';

/** A billing calendar as it is stored. */
export interface StoredCalendar {
  readonly anchor: Date;
  readonly interval: BillingInterval;
  /** Intervals in one period; 1 when absent. */
  readonly count?: number;
  /** From when on it holds; absent: always. */
  readonly since?: Date;
  readonly former?: StoredCalendar;
}

/** A change of what splits a customer's hours. Without an anchor: the UTC calendar month. */
export interface CalendarChange extends Partial<StoredCalendar> {
  readonly layout: number;
  /** Mirrored from the customer's subscriptions; absent when it is what the team stated. */
  readonly source?: 'subscription';
  /** The one that decides. */
  readonly subscription?: string;
  readonly also?: readonly StoredCalendar[];
  readonly splits?: readonly Date[];
}

/** What subscriptions say of the billing periods of their customer. */
export interface MirroredCalendar extends HourCuts {
  /** From when on `calendar` holds; what held before then stays. Absent: it always held. */
  readonly sinceMs?: number;
  /** A trial that ends where `calendar` begins to hold: one billing period, of any length. */
  readonly trial?: Period;
  /** The subscription that decides. */
  readonly subscription?: string;
  /** Where its periods are anchored: what changed of them while it was known changed there. */
  readonly anchoredAtMs?: number;
}

/** Where the calendar in force comes from; `default` is the UTC calendar month. */
export type CalendarSource = 'default' | 'stated' | 'subscription';

/** What a calendar change is made from: the anchor and interval that the team stated. */
export interface StatedCalendar {
  readonly billingAnchor?: Date;
  readonly billingInterval?: BillingInterval;
}

/** Changes a team may make of one customer's calendar: each makes every later derivation look at one calendar more. */
export const CALENDAR_CHANGES_MAX = 100;
/** The same with those that follow from its subscriptions, which nobody can hold back. */
export const MIRRORED_CHANGES_MAX = 1_000;
/** Calendars of further subscriptions, the present ones first. */
const ALSO_MAX = 20;
/** Of the instants that a customer's hours are split at besides, the latest. */
const SPLITS_MAX = 200;
/** Calendars that held one after the other and are remembered. */
const ERAS_MAX = 12;
/** Stripe lets an invoice be a draft for so long after its period (Stripe docs, Finalization grace period). */
const FINALIZATION_GRACE_MS_MAX = 72 * HOUR_MS;
/** Stripe takes no older usage (API reference, Create a billing meter event). */
const SPLIT_AGE_MS_MAX = 35 * DAY_MS;

/** The calendars a customer has had, from its changes. */
export function calendarsOf(changes: readonly CalendarChange[]): CalendarRevision[] {
  return [CALENDAR_MONTH_REVISION, ...changes.map((change) => ({ layout: change.layout, ...toCuts(change) }))];
}

/** The calendar in force, and where it comes from. */
export function calendarInForce(changes: readonly CalendarChange[]): {
  source: CalendarSource;
  calendar: BillingCalendar;
} {
  const last = changes.at(-1);
  if (last?.anchor === undefined) return { source: 'default', calendar: CALENDAR_MONTH };
  return { source: last.source ?? 'stated', calendar: toCuts(last).calendar };
}

/**
 * The changes after the team stated an anchor and interval. While the customer has subscriptions, theirs hold.
 * @throws DaemonError `calendar_changes_too_many`.
 */
export function withStatedCalendar(
  changes: readonly CalendarChange[],
  stated: StatedCalendar,
): readonly CalendarChange[] {
  if (changes.at(-1)?.source === 'subscription') return changes;
  return append(changes, toStatedChange(stated), CALENDAR_CHANGES_MAX);
}

/**
 * The changes after subscriptions were mirrored. Without any that bill usage, what the team stated holds again.
 * The same calendar from another source splits no hour anew: it keeps its layout.
 * @throws DaemonError `calendar_changes_too_many`.
 */
export function withMirroredCalendar(
  changes: readonly CalendarChange[],
  mirrored: MirroredCalendar | undefined,
  stated: StatedCalendar,
): readonly CalendarChange[] {
  if (mirrored === undefined) {
    if (changes.at(-1)?.source !== 'subscription') return changes;
    return append(changes, toStatedChange(stated), MIRRORED_CHANGES_MAX);
  }
  const { subscription, also = [] } = mirrored;
  const last = changes.at(-1) ?? {};
  const cuts = canonicalCuts({
    ...mirrored,
    calendar: following(last, mirrored),
    // What split hours goes on to: moved periods of another subscription may be on a final invoice.
    also: [...also, ...(toCuts(last).also ?? [])].slice(0, ALSO_MAX),
  });
  const next = { source: 'subscription' as const, ...(subscription !== undefined && { subscription }) };
  return append(changes, { ...next, ...fromCuts(cuts) }, MIRRORED_CHANGES_MAX);
}

/** The mirrored calendar, after its trial and after the one that held before it began to. */
function following(last: Omit<CalendarChange, 'layout'>, mirrored: MirroredCalendar): BillingCalendar {
  const { calendar, subscription, trial, anchoredAtMs = Number.NEGATIVE_INFINITY } = mirrored;
  if (mirrored.sinceMs === undefined) return calendar;
  const present = toCuts(last).calendar;
  const isKnown = subscription !== undefined && last.subscription === subscription;
  if (trial !== undefined && !(isKnown && hasTrial(present, trial))) return followingTrial(present, calendar, trial);
  if (isKnown && isSameRhythm(present, calendar)) return present;
  const sinceMs = isKnown ? Math.max(mirrored.sinceMs, anchoredAtMs) : mirrored.sinceMs;
  const former = eraBefore(present, sinceMs);
  if (former === undefined) return { ...calendar, sinceMs };
  if (isSameRhythm(former, calendar) && isPeriodStart(former, sinceMs)) return former;
  return { ...calendar, sinceMs, former: limitEras(former, ERAS_MAX - 1) };
}

/**
 * A trial is one period, which may be longer than those that follow: as an era of days, cut off where they begin. What
 * held before must not reach into it, or its usage would be divided at boundaries that Stripe does not know.
 */
function followingTrial(present: BillingCalendar, calendar: BillingCalendar, trial: Period): BillingCalendar {
  const former = eraBefore(present, trial.fromMs);
  const during = { ...eraOf(trial), ...(former && { former: limitEras(former, ERAS_MAX - 2) }) };
  return { ...calendar, sinceMs: trial.toMs, former: during };
}

/** Whether a calendar tells of the trial: another one of the same subscription may have been longer or shorter. */
function hasTrial(calendar: BillingCalendar, trial: Period): boolean {
  const during = eraOf(trial);
  return eraCalendars(calendar).some(
    ({ sinceMs, former }) =>
      former !== undefined && sinceMs === trial.toMs && former.sinceMs === trial.fromMs && isSameRhythm(former, during),
  );
}

function eraOf({ fromMs, toMs }: Period): BillingCalendar {
  return { anchorMs: fromMs, interval: 'day', count: Math.ceil((toMs - fromMs) / DAY_MS), sinceMs: fromMs };
}

function eraBefore(calendar: BillingCalendar, instantMs: number): BillingCalendar | undefined {
  return eraCalendars(calendar).find((era) => era.sinceMs === undefined || era.sinceMs < instantMs);
}

function limitEras(calendar: BillingCalendar, erasMax: number): BillingCalendar {
  const { former, ...own } = calendar;
  return former === undefined || erasMax <= 1 ? own : { ...own, former: limitEras(former, erasMax - 1) };
}

function append(
  changes: readonly CalendarChange[],
  next: Omit<CalendarChange, 'layout'>,
  changesMax: number,
): readonly CalendarChange[] {
  const last: CalendarChange = changes.at(-1) ?? { layout: 0 };
  if (isSameCuts(toCuts(last), toCuts(next))) {
    const isAlike = last.source === next.source && last.subscription === next.subscription;
    if (isAlike || changes.length === 0) return changes;
    return [...changes.slice(0, -1), { layout: last.layout, ...next }];
  }
  if (changes.length >= changesMax) {
    throw new DaemonError({
      kind: 'conflict',
      code: 'calendar_changes_too_many',
      message: `The billing calendar of a customer can change ${changesMax} times.`,
      context: { pointer: '/billingAnchor' },
    });
  }
  return [...changes, { layout: last.layout + 1, ...next }];
}

/**
 * From which instant on usage is split anew by a change of calendar: the start of the period, before and after it, whose
 * invoice may still be a draft. What lies before is billed.
 */
export function changedFromMs(
  before: readonly CalendarChange[],
  after: readonly CalendarChange[],
  nowMs: number,
): number {
  const draftMs = nowMs - FINALIZATION_GRACE_MS_MAX;
  const inForce = [before, after].map((changes) => toCuts(changes.at(-1) ?? {}));
  const starts = inForce.flatMap(({ calendar, also = [] }) =>
    [calendar, ...also].map((each) => periodContaining(each, draftMs).fromMs),
  );
  const known = new Set(inForce[0]?.splitsMs);
  const splits = inForce[1]?.splitsMs?.filter((at) => !known.has(at) && at >= nowMs - SPLIT_AGE_MS_MAX) ?? [];
  return Math.min(...starts, ...splits);
}

/** Leaves out what splits no hour: so no revision is made for it. */
function canonicalCuts({ calendar, also = [], splitsMs = [] }: HourCuts): HourCuts {
  const others = new Map<string, BillingCalendar>();
  for (const other of also) {
    const { anchorMs, interval, count = 1 } = other;
    const isImplied = calendar.sinceMs === undefined && isSameRhythm(other, calendar);
    if (isImplied || offsetInHour(anchorMs) === 0) continue;
    others.set(`${anchorMs} ${interval} ${count}`, { anchorMs, interval, count });
  }
  const calendars = [calendar, ...others.values()];
  const splits = splitsMs
    .map((splitMs) => Math.floor(splitMs / 1000) * 1000)
    .filter((splitMs) => offsetInHour(splitMs) > 0 && !calendars.some((each) => isPeriodStart(each, splitMs)));
  return {
    calendar,
    ...(others.size > 0 && { also: [...others].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, other]) => other) }),
    ...(splits.length > 0 && { splitsMs: [...new Set(splits)].sort((a, b) => a - b).slice(-SPLITS_MAX) }),
  };
}

function isSameCuts(a: HourCuts, b: HourCuts): boolean {
  const [ours, theirs] = [a.also ?? [], b.also ?? []];
  return (
    isSameCalendar(a.calendar, b.calendar) &&
    ours.length === theirs.length &&
    ours.every((calendar, index) => isSameCalendar(calendar, theirs[index] ?? a.calendar)) &&
    (a.splitsMs ?? []).join() === (b.splitsMs ?? []).join()
  );
}

function toStatedChange({ billingAnchor, billingInterval }: StatedCalendar): Omit<CalendarChange, 'layout'> {
  return billingAnchor === undefined ? {} : { anchor: billingAnchor, interval: billingInterval ?? 'month' };
}

function toCuts(change: Omit<CalendarChange, 'layout'>): HourCuts {
  const { anchor, interval = 'month', also, splits, ...calendar } = change;
  return {
    calendar: anchor === undefined ? CALENDAR_MONTH : toCalendar({ ...calendar, anchor, interval }),
    ...(also && { also: also.map(toCalendar) }),
    ...(splits && { splitsMs: splits.map((at) => at.getTime()) }),
  };
}

function fromCuts({ calendar, also, splitsMs }: HourCuts): Omit<CalendarChange, 'layout'> {
  return {
    ...fromCalendar(calendar),
    ...(also && { also: also.map(fromCalendar) }),
    ...(splitsMs && { splits: splitsMs.map((at) => new Date(at)) }),
  };
}

function toCalendar({ anchor, interval, count, since, former }: StoredCalendar): BillingCalendar {
  return {
    anchorMs: anchor.getTime(),
    interval,
    ...(count !== undefined && { count }),
    ...(since && { sinceMs: since.getTime() }),
    ...(former && { former: toCalendar(former) }),
  };
}

function fromCalendar({ anchorMs, interval, count = 1, sinceMs, former }: BillingCalendar): StoredCalendar {
  return {
    anchor: new Date(anchorMs),
    interval,
    ...(count !== 1 && { count }),
    ...(sinceMs !== undefined && { since: new Date(sinceMs) }),
    ...(former && { former: fromCalendar(former) }),
  };
}
