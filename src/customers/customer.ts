import { IANAZone } from 'luxon';
import { DaemonError } from '../platform/errors.ts';
import { isStripeCustomerId } from './calendar/billing-customer.ts';
import {
  type CalendarChange,
  calendarsOf,
  changedFromMs,
  type MirroredCalendar,
  withMirroredCalendar,
  withStatedCalendar,
} from './calendar/customer-calendar.ts';
import { idFault, ID_BYTES_MAX } from '../platform/id-text.ts';
import { type BillingInterval, periodContaining } from './calendar/period.ts';
import { shortTextFault } from '../platform/short-text.ts';
import { parseTimestamp } from '../platform/instant.ts';

/** The intervals that a team can state; subscriptions have days and weeks, too. */
export type StatedInterval = Extract<BillingInterval, 'month' | 'year'>;

/** A customer as it is stored. */
export interface Customer {
  readonly _id: string;
  readonly stripeCustomerId?: string;
  readonly name?: string;
  readonly email?: string;
  readonly timeZone?: string;
  readonly currency?: string;
  /** What the team stated; the calendar of the customer's subscriptions wins over it. */
  readonly billingAnchor?: Date;
  readonly billingInterval?: StatedInterval;
  /** Usage before this instant is never planned. */
  readonly submitFrom?: Date;
  /** Why nothing is to bill this customer's usage: a free plan, an account of one's own. */
  readonly unbilledReason?: string;
  /** Every change of the calendar, oldest first; the last is in force. */
  readonly calendars: readonly CalendarChange[];
  /** Hours from this instant on are still to be queued after a change. */
  readonly requeueFrom?: Date;
  readonly revision: number;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

/** What a caller wants to change. A field that is absent stays as it is; null clears it. */
export interface CustomerChange {
  readonly stripeCustomerId?: string | null;
  readonly name?: string | null;
  readonly email?: string | null;
  readonly timeZone?: string | null;
  readonly currency?: string | null;
  /** RFC 3339, whole seconds. Clearing it clears the interval too. */
  readonly billingAnchor?: string | null;
  readonly billingInterval?: StatedInterval | null;
  /** RFC 3339. Cleared, it returns to the start of the open billing period. */
  readonly submitFrom?: string | null;
  readonly unbilledReason?: string | null;
}

type Settings = Omit<Customer, '_id' | 'calendars' | 'requeueFrom' | 'revision' | 'createdAt' | 'updatedAt'>;

const EMAIL_BYTES_MAX = 320;

/**
 * The customer after a change; `before` itself when the change changes nothing.
 *
 * The first mapping to a Stripe customer submits from the start of the open billing period, so that what was used
 * before the mapping is billed. A customer whose id is Stripe's own maps to itself, and always did.
 * @throws DaemonError `customer_invalid` with `context.pointer`, or `calendar_changes_too_many`.
 */
export function changeCustomer(
  before: Customer | undefined,
  input: { readonly customerId: string; readonly change: CustomerChange; readonly nowMs: number },
): Customer {
  const { customerId, change } = input;
  if (before === undefined) checkNewId(customerId);
  const settings = settingsAfter(before, customerId, change);
  return customerAfter(before, input, {
    settings,
    calendars: withStatedCalendar(before?.calendars ?? [], settings),
  });
}

/**
 * The customer after its subscriptions were mirrored; `before` itself when they change nothing. What they say of its
 * billing periods wins over what the team stated.
 * @param input.mirrored undefined when no subscription of it bills usage.
 * @throws DaemonError `calendar_changes_too_many`.
 */
export function mirrorCalendar(
  before: Customer | undefined,
  input: { readonly customerId: string; readonly mirrored: MirroredCalendar | undefined; readonly nowMs: number },
): Customer | undefined {
  if (before === undefined && input.mirrored === undefined) return undefined;
  const settings = settingsAfter(before, input.customerId, {});
  const calendars = withMirroredCalendar(before?.calendars ?? [], input.mirrored, settings);
  return customerAfter(before, { ...input, change: {} }, { settings, calendars });
}

function customerAfter(
  before: Customer | undefined,
  input: { readonly customerId: string; readonly change: CustomerChange; readonly nowMs: number },
  after: { readonly settings: Settings; readonly calendars: readonly CalendarChange[] },
): Customer {
  const { customerId, nowMs } = input;
  const { settings, calendars } = after;
  const opened = {
    before: openedMs(before?.calendars ?? [], nowMs),
    after: openedMs(calendars, nowMs),
  };
  const submitFrom = submitFromAfter(before, { ...input, settings, opened });
  const requeueFrom = requeueFromAfter(before, { settings, calendars, submitFrom, opened, nowMs });
  const next: Customer = {
    _id: customerId,
    ...settings,
    ...(submitFrom !== undefined && { submitFrom }),
    calendars,
    ...(requeueFrom !== undefined && { requeueFrom }),
    revision: (before?.revision ?? 0) + 1,
    createdAt: before?.createdAt ?? new Date(nowMs),
    updatedAt: new Date(nowMs),
  };
  return before !== undefined && contentOf(before) === contentOf(next) ? before : next;
}

function openedMs(changes: readonly CalendarChange[], nowMs: number): number {
  const inForce = calendarsOf(changes).at(-1);
  return inForce === undefined ? nowMs : periodContaining(inForce.calendar, nowMs).fromMs;
}

function settingsAfter(before: Customer | undefined, customerId: string, change: CustomerChange): Settings {
  const stripeCustomerId =
    pick(change.stripeCustomerId, before?.stripeCustomerId, readStripeCustomerId) ??
    (isStripeCustomerId(customerId) ? customerId : undefined);
  const name = pick(change.name, before?.name, (text) => checkText(text, nameRule));
  const email = pick(change.email, before?.email, readEmail);
  const timeZone = pick(change.timeZone, before?.timeZone, readTimeZone);
  const currency = pick(change.currency, before?.currency, readCurrency);
  const billingAnchor = pick(change.billingAnchor, before?.billingAnchor, readAnchor);
  const unbilledReason = pick(change.unbilledReason, before?.unbilledReason, (text) => checkText(text, reasonRule));
  const intervalBefore = change.billingAnchor === null ? undefined : before?.billingInterval;
  const billingInterval = pick(change.billingInterval, intervalBefore, (interval) => interval);
  if (billingInterval !== undefined && billingAnchor === undefined) {
    throw invalid('billingInterval needs a billingAnchor.', '/billingInterval');
  }
  return {
    ...(stripeCustomerId !== undefined && { stripeCustomerId }),
    ...(name !== undefined && { name }),
    ...(email !== undefined && { email }),
    ...(timeZone !== undefined && { timeZone }),
    ...(currency !== undefined && { currency }),
    ...(billingAnchor !== undefined && { billingAnchor }),
    ...(billingInterval !== undefined && { billingInterval }),
    ...(unbilledReason !== undefined && { unbilledReason }),
  };
}

/** The field after a change: what was there, nothing, or what was read from the new text. */
function pick<Given, Value>(
  given: Given | null | undefined,
  before: Value | undefined,
  read: (given: Given) => Value,
): Value | undefined {
  if (given === undefined) return before;
  return given === null ? undefined : read(given);
}

interface Opened {
  /** When the open billing period began, before and after the change. */
  readonly opened: { readonly before: number; readonly after: number };
}

function submitFromAfter(
  before: Customer | undefined,
  to: Opened & { customerId: string; change: CustomerChange; settings: Settings },
): Date | undefined {
  const { change, settings, opened } = to;
  if (typeof change.submitFrom === 'string') return readInstant(change.submitFrom, 'submitFrom');
  const mapsToItself = settings.stripeCustomerId === to.customerId;
  const byDefault = settings.stripeCustomerId === undefined || mapsToItself ? undefined : new Date(opened.after);
  if (change.submitFrom === null) return byDefault;
  const earlier = before?.submitFrom;
  if (earlier === undefined) return before?.stripeCustomerId === undefined ? byDefault : undefined;
  // Mapped first and given its anchor afterwards: the open period may have begun earlier than it seemed.
  return earlier.getTime() === opened.before && opened.after < opened.before ? new Date(opened.after) : earlier;
}

function requeueFromAfter(
  before: Customer | undefined,
  after: Opened & {
    settings: Settings;
    calendars: readonly CalendarChange[];
    submitFrom: Date | undefined;
    nowMs: number;
  },
): Date | undefined {
  const { settings, calendars, submitFrom, opened } = after;
  const fromMs: number[] = before?.requeueFrom === undefined ? [] : [before.requeueFrom.getTime()];
  const formerly = before?.calendars ?? [];
  if (calendars.length > formerly.length) fromMs.push(changedFromMs(formerly, calendars, after.nowMs));
  const isMapped = settings.stripeCustomerId !== undefined;
  if (isMapped && settings.stripeCustomerId !== before?.stripeCustomerId) {
    fromMs.push(submitFrom?.getTime() ?? opened.after);
  }
  const wasFromMs = before?.submitFrom?.getTime();
  if (submitFrom !== undefined && (wasFromMs === undefined || submitFrom.getTime() < wasFromMs)) {
    fromMs.push(submitFrom.getTime());
  }
  return fromMs.length === 0 ? undefined : new Date(Math.min(...fromMs));
}

/** Everything that a change can change, as one text. */
function contentOf(customer: Customer): string {
  return JSON.stringify([
    customer.stripeCustomerId,
    customer.name,
    customer.email,
    customer.timeZone,
    customer.currency,
    customer.billingAnchor,
    customer.billingInterval,
    customer.submitFrom,
    customer.unbilledReason,
    customer.calendars.length,
    customer.calendars.at(-1)?.source,
    customer.calendars.at(-1)?.subscription,
    customer.requeueFrom,
  ]);
}

/** Of a customer that is stored already the id is what it is. */
function checkNewId(customerId: string): void {
  checkText(customerId, { name: 'customerId', pointer: '', bytesMax: ID_BYTES_MAX });
  const fault = idFault(customerId);
  if (fault !== undefined) throw invalid(`customerId ${fault.phrase}.`, '');
}

const reasonRule = { name: 'unbilledReason', pointer: '/unbilledReason', bytesMax: 255 };
const nameRule = { name: 'name', pointer: '/name', bytesMax: 255 };

function checkText(text: string, rule: { name: string; pointer: string; bytesMax: number }): string {
  const fault = shortTextFault(text, rule.bytesMax);
  if (fault !== undefined) throw invalid(`${rule.name} ${fault}.`, rule.pointer);
  return text;
}

function readStripeCustomerId(text: string): string {
  if (!isStripeCustomerId(text) || text.length > ID_BYTES_MAX) {
    throw invalid(
      'stripeCustomerId must be the id of a Stripe customer, like cus_NffrFeUfNV2Hib.',
      '/stripeCustomerId',
    );
  }
  return text;
}

function readEmail(text: string): string {
  checkText(text, { name: 'email', pointer: '/email', bytesMax: EMAIL_BYTES_MAX });
  if (!/^[^@\s]+@[^@\s]+$/.test(text)) throw invalid('email must be an address.', '/email');
  return text;
}

function readTimeZone(text: string): string {
  if (!/^[A-Za-z]/.test(text) || !IANAZone.isValidZone(text)) {
    throw invalid('timeZone must be an IANA time zone, like Europe/Berlin.', '/timeZone');
  }
  return text;
}

function readCurrency(text: string): string {
  if (!/^[A-Za-z]{3}$/.test(text)) throw invalid('currency must be three letters, like eur.', '/currency');
  return text.toLowerCase();
}

/** Stripe's billing cycle anchors are whole seconds. */
function readAnchor(text: string): Date {
  const anchor = readInstant(text, 'billingAnchor');
  if (anchor.getTime() % 1000 !== 0) throw invalid('billingAnchor must be a whole second.', '/billingAnchor');
  return anchor;
}

function readInstant(text: string, name: string): Date {
  const instantMs = parseTimestamp(text);
  if (instantMs === undefined) {
    throw invalid(`${name} must be an RFC 3339 instant with an offset, like 2026-11-21T05:00:00Z.`, `/${name}`);
  }
  return new Date(instantMs);
}

function invalid(message: string, pointer: string): DaemonError {
  return new DaemonError({ kind: 'invalid', code: 'customer_invalid', message, context: { pointer } });
}
