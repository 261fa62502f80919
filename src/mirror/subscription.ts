import { DateTime } from 'luxon';
import type { MirroredCalendar } from '../customers/calendar/customer-calendar.ts';
import {
  type BillingCalendar,
  type BillingInterval,
  type Period,
  periodContaining,
} from '../customers/calendar/period.ts';
import { MINUTE_MS } from '../platform/durations.ts';

/** One price of a subscription. */
export interface SubscriptionItem {
  readonly id: string;
  readonly priceId: string;
  /** The Stripe meter whose usage the price bills; absent for prices without usage. */
  readonly stripeMeterId?: string;
  /** `day`, `week`, `month` or `year`; Stripe may invent more. */
  readonly interval: string;
  readonly intervalCount: number;
  readonly currentPeriodStart: Date;
  readonly currentPeriodEnd: Date;
  /** When it was added; absent in what was mirrored before this was kept. */
  readonly createdAt?: Date;
}

/** A subscription at Stripe, as it was when it was last fetched. */
export interface Subscription {
  /** Stripe's id. */
  readonly _id: string;
  readonly stripeCustomerId: string;
  readonly status: string;
  readonly items: readonly SubscriptionItem[];
  readonly billingCycleAnchor: Date;
  /** The day of the month that periods begin on, where it was chosen: the anchor may be a shorter month's last day. */
  readonly anchorDay?: number;
  readonly startAt: Date;
  /** Its latest trial, which is one billing period of its own, however long; absent when it never had one. */
  readonly trialStart?: Date;
  readonly trialEnd?: Date;
  /** When it was made: later than its start where that was put into the past. */
  readonly createdAt?: Date;
  /** When it ended; absent while it has not. */
  readonly endedAt?: Date;
  /** When it is to end. */
  readonly cancelAt?: Date;
}

/** From short to long. */
const INTERVALS: readonly BillingInterval[] = ['day', 'week', 'month', 'year'];
/** An item made this soon after its subscription was made with it. */
const MADE_TOGETHER_MS = MINUTE_MS;
/** How many periods are looked through for a month that has the anchor's day. */
const ANCHOR_STEPS_MAX = 12;

/**
 * The billing calendar of a customer from all of its subscriptions that bill usage: of those that have not ended, the one
 * that started first decides; if all have ended, the one that ended last. It depends on nothing but the subscriptions, so
 * that no order of news about them matters. Hours are split where a line of an invoice begins or ends, too: that is
 * where usage was divided, also by a boundary that no subscription tells of any more.
 * @param boundaries of lines that bill usage.
 * @returns undefined when no subscription bills usage.
 */
export function mirroredCalendar(
  subscriptions: readonly Subscription[],
  boundaries: readonly Date[] = [],
): MirroredCalendar | undefined {
  const billing = subscriptions.filter(billsUsage).sort(bySeniority);
  const calendars = new Map(
    billing
      .flatMap(calendarsOf)
      .map((calendar) => [`${calendar.anchorMs} ${calendar.count} ${calendar.interval}`, calendar]),
  );
  const [deciding] = billing;
  const [calendar, ...others] = calendars.values();
  if (deciding === undefined || calendar === undefined) return undefined;
  const trial = decidingTrial(deciding, billing);
  const sinceMs = decidesFromMs(deciding, calendar, { billing, trial });
  // Its own hours were split before it came to decide, too.
  const also = (trial?.fromMs ?? sinceMs) > deciding.startAt.getTime() ? [calendar, ...others] : others;
  const splits = billing.flatMap((subscription) => {
    const { startAt, trialStart, endedAt } = subscription;
    return [startAt, trialStart, endedAt, ...laterItems(subscription)].filter((instant) => instant !== undefined);
  });
  const splitsMs = new Set([...splits, ...boundaries].map((instant) => instant.getTime()));
  return {
    calendar,
    also,
    splitsMs: [...splitsMs].sort((a, b) => a - b),
    sinceMs,
    ...(trial?.toMs === sinceMs && { trial }),
    subscription: deciding._id,
    anchoredAtMs: deciding.billingCycleAnchor.getTime(),
  };
}

/**
 * From when on an item bills usage: from the start of its subscription, or from when it was added to it (Stripe docs,
 * Manage billing setup: items added in mid-period bill from then on).
 * @returns UTC milliseconds.
 */
export function itemFromMs(subscription: Subscription, item: SubscriptionItem): number {
  const startMs = subscription.startAt.getTime();
  const addedMs = item.createdAt?.getTime() ?? startMs;
  const madeMs = subscription.createdAt?.getTime() ?? startMs;
  return addedMs <= madeMs + MADE_TOGETHER_MS ? startMs : Math.max(startMs, addedMs);
}

/** Where items that bill usage were added to a subscription: usage before is not on its invoices. */
function laterItems(subscription: Subscription): Date[] {
  return subscription.items
    .filter(({ stripeMeterId }) => stripeMeterId !== undefined)
    .map((item) => itemFromMs(subscription, item))
    .filter((fromMs) => fromMs > subscription.startAt.getTime())
    .map((fromMs) => new Date(fromMs));
}

/**
 * From when on the regular periods of a subscription are the billing periods: from its start or the end of its trial, from
 * the end of those that decided before it, or from where its periods were anchored anew long after all that.
 */
function decidesFromMs(
  deciding: Subscription,
  calendar: BillingCalendar,
  { billing, trial }: { billing: readonly Subscription[]; trial: Period | undefined },
): number {
  // The periods of a trial are anchored where it ends: that is no anchor set anew.
  const fromMs = trial?.toMs ?? deciding.startAt.getTime();
  const anchorMs = deciding.billingCycleAnchor.getTime();
  const isReset = periodContaining(calendar, fromMs).toMs < anchorMs;
  return Math.max(fromMs, ...endsBefore(deciding, billing), ...(isReset ? [anchorMs] : []));
}

/** The latest trial of a subscription; undefined when it never had one. */
export function trialPeriod({
  trialStart,
  trialEnd,
}: Pick<Subscription, 'trialStart' | 'trialEnd'>): Period | undefined {
  if (trialStart === undefined || trialEnd === undefined || trialStart >= trialEnd) return undefined;
  return { fromMs: trialStart.getTime(), toMs: trialEnd.getTime() };
}

/** The trial of a subscription, as far as it decides the billing periods then. */
function decidingTrial(deciding: Subscription, billing: readonly Subscription[]): Period | undefined {
  const trial = trialPeriod(deciding);
  if (trial === undefined) return undefined;
  const fromMs = Math.max(deciding.startAt.getTime(), trial.fromMs, ...endsBefore(deciding, billing));
  return fromMs < trial.toMs ? { fromMs, toMs: trial.toMs } : undefined;
}

/** When those ended that decided before. */
function endsBefore(deciding: Subscription, billing: readonly Subscription[]): number[] {
  return billing.flatMap(({ startAt, endedAt }) =>
    endedAt !== undefined && startAt < deciding.startAt ? [endedAt.getTime()] : [],
  );
}

/** Whether any usage is on its invoices. One that never became complete has none. */
function billsUsage(subscription: Subscription): boolean {
  return !subscription.status.startsWith('incomplete') && calendarsOf(subscription).length > 0;
}

function bySeniority(a: Subscription, b: Subscription): number {
  if ((a.endedAt === undefined) !== (b.endedAt === undefined)) return a.endedAt === undefined ? -1 : 1;
  const byTime =
    a.endedAt !== undefined && b.endedAt !== undefined
      ? b.endedAt.getTime() - a.endedAt.getTime()
      : a.startAt.getTime() - b.startAt.getTime();
  return byTime === 0 ? compareTexts(a._id, b._id) : byTime;
}

/** The calendars of a subscription's usage, the shortest period first. */
function calendarsOf(subscription: Subscription): (BillingCalendar & { readonly count: number })[] {
  const calendars = subscription.items.flatMap(({ stripeMeterId, interval: name, intervalCount: count }) => {
    const interval = INTERVALS.find((known) => known === name);
    if (stripeMeterId === undefined || interval === undefined) return [];
    return [{ anchorMs: anchorOf(subscription, interval, count), interval, count }];
  });
  return calendars.sort(
    (a, b) =>
      INTERVALS.indexOf(a.interval) - INTERVALS.indexOf(b.interval) || a.count - b.count || a.anchorMs - b.anchorMs,
  );
}

/**
 * Where the subscription's periods are counted from. With a chosen day of the month (31, say) and a first period that
 * begins in a shorter month, the anchor is that month's last day, while later periods begin on the 31st: so the first
 * period that begins on the chosen day is the anchor.
 */
function anchorOf(subscription: Subscription, interval: BillingInterval, count: number): number {
  const { billingCycleAnchor, anchorDay } = subscription;
  const anchor = DateTime.fromJSDate(billingCycleAnchor, { zone: 'utc' });
  if (anchorDay === undefined || anchorDay <= anchor.day || (interval !== 'month' && interval !== 'year')) {
    return anchor.toMillis();
  }
  for (let step = 1; step <= ANCHOR_STEPS_MAX; step += 1) {
    const start = anchor.plus(interval === 'year' ? { years: step * count } : { months: step * count });
    if ((start.daysInMonth ?? 0) >= anchorDay) return start.set({ day: anchorDay }).toMillis();
  }
  return anchor.toMillis();
}

function compareTexts(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
