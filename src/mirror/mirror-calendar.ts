import { boundary } from '../platform/boundary.ts';
import { isStripeCustomerId } from '../customers/calendar/billing-customer.ts';
import { mirroredCalendar, type Subscription } from './subscription.ts';
import type { Refusals } from '../stripe/stripe-refusal.ts';
import type { MirroredCalendar } from '../customers/calendar/customer-calendar.ts';
import type { Clock } from '../platform/clock.ts';

/** A subscription as the mirror holds it. */
type Mirrored = Subscription & { readonly mirrorRevision: number; readonly calendarDue?: true };

export interface MirrorCalendarDeps {
  readonly customers: {
    find(customerId: string): Promise<{ readonly _id: string; readonly stripeCustomerId?: string } | null>;
    /** Our customers by the Stripe customers they are mapped to; those that nobody is mapped to are left out. */
    mappedTo(stripeCustomerIds: readonly string[]): Promise<ReadonlyMap<string, string>>;
    /** Changes the calendar that follows from subscriptions and queues the hours concerned, in one write. */
    setMirroredCalendar(customerId: string, mirrored: MirroredCalendar | undefined, at: Date): Promise<boolean>;
  };
  readonly subscriptions: {
    ofCustomer(stripeCustomerId: string): Promise<readonly Mirrored[]>;
    finishCalendar(read: readonly Mirrored[]): Promise<void>;
    waiting(after: string, limit: number): Promise<readonly string[]>;
  };
  readonly invoices: {
    /** Where lines that bill a customer's usage begin and end. */
    usageBoundaries(stripeCustomerId: string): Promise<readonly Date[]>;
  };
  readonly usage: {
    /** Whether any usage was derived for a customer id. */
    hasRows(customerId: string): Promise<boolean>;
  };
  readonly clock: Pick<Clock, 'now'>;
}

/** Customers whose calendars are looked at together. */
const BATCH = 500;

/**
 * Makes the calendar of one customer follow from its subscriptions and invoices. Whoever read them before another one
 * changed may set an older calendar last; but every calendar that is set queues the customer's hours in the same write,
 * and the job that does so looks here again first. So what was set last is always looked at once more.
 * @returns whether the calendar changed.
 */
export async function mirrorCalendar(deps: MirrorCalendarDeps, customerId: string): Promise<boolean> {
  const customer = await deps.customers.find(customerId);
  const itself = customer === null && isStripeCustomerId(customerId) ? customerId : undefined;
  const stripeCustomerId = customer?.stripeCustomerId ?? itself;
  const read = stripeCustomerId === undefined ? [] : await deps.subscriptions.ofCustomer(stripeCustomerId);
  const boundaries = read.length === 0 ? [] : await deps.invoices.usageBoundaries(stripeCustomerId ?? '');
  const at = new Date(deps.clock.now());
  const isChanged = await deps.customers.setMirroredCalendar(customerId, mirroredCalendar(read, boundaries), at);
  await boundary('mirror.calendar-set');
  await deps.subscriptions.finishCalendar(read);
  return isChanged;
}

/**
 * The same for whoever is mapped to these Stripe customers, or sends usage under Stripe's own id. Where nobody does, the
 * mirror waits: a document would keep the team from mapping a customer of its own. Mapping one queues its hours, and
 * that looks here.
 * @param refusals takes note of customers whose calendar cannot follow; without it, the first of them is thrown.
 * @returns how many of them are mapped.
 */
export async function mirrorCalendarsOf(
  deps: MirrorCalendarDeps,
  stripeCustomerIds: readonly string[],
  refusals?: Refusals,
): Promise<number> {
  const mapped = await deps.customers.mappedTo(stripeCustomerIds);
  let count = 0;
  for (const stripeCustomerId of stripeCustomerIds) {
    const customerId = mapped.get(stripeCustomerId) ?? stripeCustomerId;
    if (!mapped.has(stripeCustomerId) && !(await deps.usage.hasRows(stripeCustomerId))) continue;
    await mirrorCalendar(deps, customerId).catch((error: unknown) => {
      if (refusals === undefined) throw error;
      refusals.note(`calendar of customer ${customerId}`, error);
    });
    count += 1;
  }
  return count;
}

/**
 * The same for all whose subscriptions changed and whose calendar is not known to have followed: what a stop left, and
 * Stripe customers for whom usage came only later, under Stripe's own id.
 */
export async function mirrorWaitingCalendars(deps: MirrorCalendarDeps, refusals: Refusals): Promise<number> {
  let count = 0;
  let after = '';
  for (;;) {
    const ids = await deps.subscriptions.waiting(after, BATCH);
    const last = ids.at(-1);
    if (last === undefined) return count;
    count += await mirrorCalendarsOf(deps, ids, refusals);
    after = last;
  }
}
