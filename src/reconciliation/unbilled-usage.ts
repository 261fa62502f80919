import type { UnbilledReason, UnbilledSpan } from '../customers/unbilled-reason.ts';
import type { Invoice } from '../mirror/invoice.ts';
import type { Period } from '../customers/calendar/period.ts';
import { itemFromMs, type Subscription, type SubscriptionItem } from '../mirror/subscription.ts';
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../platform/durations.ts';

/** Why it cannot be said whether anything bills the usage. */
export type UnbilledUnknown = 'not_checked' | 'subscriptions_not_read' | 'stripe_not_configured';

/** Usage is looked at this far back: as far as Stripe takes any. What is older can only be billed by hand. */
export const UNBILLED_DAYS_MAX = 35;
/** The invoice of a subscription that ended is mirrored by then, also without webhooks. */
const INVOICE_WAIT_MS = 2 * HOUR_MS;
/** An invoice over usage until now is made moments after that. */
const INVOICE_MADE_MS = MINUTE_MS;

/** What is known of one customer at Stripe. */
export interface BillingAtStripe {
  readonly subscriptions: readonly Subscription[];
  /** Those of the last weeks that bill usage. */
  readonly invoices: readonly Invoice[];
  readonly nowMs: number;
}

/** From when on usage is looked at. */
export function unbilledFromMs(nowMs: number): number {
  return nowMs - UNBILLED_DAYS_MAX * DAY_MS;
}

/**
 * The parts of a range in which nothing bills usage of a Stripe meter: no item of a subscription with a price on it, and
 * no line of an invoice. An item is a promise to bill, and a line keeps it: once a subscription has ended, usage of its
 * last period counts as billed only if a line says so. A trial and a price of zero bill, too: that is what was agreed.
 * @param range half-open, UTC milliseconds.
 */
export function unbilledSpans(stripeMeterId: string, range: Period, at: BillingAtStripe): UnbilledSpan[] {
  const live = at.subscriptions.filter(({ status }) => !status.startsWith('incomplete'));
  const promises = live.flatMap((subscription) => promisesOf(subscription, stripeMeterId, at.nowMs));
  const lines = at.invoices.flatMap((invoice) => billedPeriods(invoice, stripeMeterId));
  const edges = [
    range.fromMs,
    range.toMs,
    ...promises.flatMap(({ fromMs, keptMs, toMs }) => [fromMs, keptMs, toMs]),
    ...lines.flatMap(({ fromMs, toMs }) => [fromMs, toMs]),
    ...live.flatMap((subscription) => [subscription.startAt.getTime(), endOf(subscription)]),
  ].filter((edgeMs) => edgeMs >= range.fromMs && edgeMs <= range.toMs);
  const inOrder = [...new Set(edges)].sort((a, b) => a - b);
  const spans: UnbilledSpan[] = [];
  for (const [index, fromMs] of inOrder.slice(0, -1).entries()) {
    const toMs = inOrder[index + 1] ?? range.toMs;
    const reason = reasonAt(fromMs, { promises, lines, live });
    const last = spans.at(-1);
    if (reason === undefined) continue;
    if (last?.toMs === fromMs && last.reason === reason) spans[spans.length - 1] = { ...last, toMs };
    else spans.push({ fromMs, toMs, reason });
  }
  return spans;
}

/** An item as a promise: usage in `[fromMs, toMs)` is billed; from `keptMs` on it was not kept, unless a line says so. */
interface BillingPromise extends Period {
  readonly keptMs: number;
  readonly broken: 'no_invoice' | 'subscription_paused';
}

function promisesOf(subscription: Subscription, stripeMeterId: string, nowMs: number): BillingPromise[] {
  const toMs = endOf(subscription);
  const isOver = toMs + INVOICE_WAIT_MS <= nowMs;
  const isPaused = subscription.status === 'paused';
  const keptMs = ({ currentPeriodStart, currentPeriodEnd }: SubscriptionItem): number => {
    if (isOver) return Math.min(currentPeriodStart.getTime(), toMs);
    return isPaused ? Math.min(currentPeriodEnd.getTime(), toMs) : toMs;
  };
  return subscription.items
    .filter((item) => item.stripeMeterId === stripeMeterId)
    .map((item) => ({
      fromMs: itemFromMs(subscription, item),
      keptMs: keptMs(item),
      toMs,
      broken: isPaused && !isOver ? 'subscription_paused' : 'no_invoice',
    }));
}

function endOf({ endedAt }: Subscription): number {
  return endedAt?.getTime() ?? Number.POSITIVE_INFINITY;
}

/** The periods that an invoice bills. A line over a period that had just begun says nothing of what is used in it. */
function billedPeriods({ lines, createdAt, finalizedAt }: Invoice, stripeMeterId: string): Period[] {
  const untilMs = Math.max(createdAt.getTime(), finalizedAt?.getTime() ?? 0) + INVOICE_MADE_MS;
  return lines
    .filter((line) => line.stripeMeterId === stripeMeterId && line.to.getTime() <= untilMs)
    .map(({ from, to }) => ({ fromMs: from.getTime(), toMs: to.getTime() }));
}

function reasonAt(
  atMs: number,
  of: { promises: readonly BillingPromise[]; lines: readonly Period[]; live: readonly Subscription[] },
): UnbilledReason | undefined {
  const { promises, lines, live } = of;
  if (lines.some(({ fromMs, toMs }) => fromMs <= atMs && atMs < toMs)) return undefined;
  const present = promises.filter(({ fromMs, toMs }) => fromMs <= atMs && atMs < toMs);
  if (present.some(({ keptMs }) => atMs < keptMs)) return undefined;
  const [broken] = present;
  if (broken !== undefined) return broken.broken;
  if (promises.some(({ fromMs }) => fromMs > atMs)) return 'before_item';
  if (promises.length > 0) return 'after_item';
  const hasSubscription = live.some((one) => one.startAt.getTime() <= atMs && atMs < endOf(one));
  return hasSubscription ? 'no_item_for_meter' : 'no_subscription';
}

const REASON_TEXTS: Readonly<Record<string, string>> = {
  no_subscription: 'no subscription',
  no_item_for_meter: 'no subscription item has a price on this meter',
  before_item: 'used before the subscription item began',
  after_item: 'used after the subscription item ended',
  subscription_paused: 'the subscription is paused',
  no_invoice: 'the subscription was cancelled, and no invoice bills its last period',
};

/** Why nothing bills usage, in words. */
export function explainUnbilled(reason: string): string {
  return REASON_TEXTS[reason] ?? reason;
}

/** The same, of why nothing can be said. */
export function explainUnknown(unknown: string): string {
  const texts: Readonly<Record<string, string>> = {
    not_checked: 'nobody has looked yet',
    subscriptions_not_read: "Stripe's subscriptions have not been read yet",
    stripe_not_configured: 'STRIPE_SECRET_KEY is not set',
  };
  return texts[unknown] ?? unknown;
}
