import type { BillingCustomer } from '../customers/calendar/billing-customer.ts';
import type { GuardRecord } from './guard-record.ts';
import { type GuardedLine, type LinesVerdict, type UsageLine, usageLines, verdictOf } from './guarded-line.ts';
import type { Invoice } from '../mirror/invoice.ts';
import { type GuardEvidence, isBilled } from './invoice-guard.ts';
import { isAdditive, type Meter } from '../meters/meter.ts';
import type { Period } from '../customers/calendar/period.ts';
import { type EpochHour, epochHourOf } from '../customers/calendar/window.ts';
import {
  compareBilledLine,
  compareDraftLine,
  type CompareLinesDeps,
  type LineContext,
} from './compare-invoice-lines.ts';
import type { Scope } from '../reconciliation/pair.ts';
import type { DestinationMeter } from '../meters/stripe-meter.ts';

/** A difference beyond the lag is reconciled at every so many looks: what was left to a person stays left. */
const LOOKS_PER_RECONCILIATION = 4;

export interface LookAtInvoiceDeps extends CompareLinesDeps {
  readonly customers: {
    /** Our customers by the Stripe customers they are mapped to; those that nobody is mapped to are left out. */
    mappedTo(stripeCustomerIds: readonly string[]): Promise<ReadonlyMap<string, string>>;
    billingOf(customerIds: readonly string[]): Promise<Map<string, BillingCustomer>>;
  };
  readonly usage: {
    /** Whether any usage was derived for a customer id. */
    hasRows(customerId: string): Promise<boolean>;
    /** Whether a change of a customer, or of a meter, has hours that are still to be queued. */
    isToRequeue(customerId: string): Promise<boolean>;
    /** Hours of a customer, from one on, that wait to be derived. */
    waitingHours(customerId: string, fromHour: EpochHour): Promise<ReadonlySet<EpochHour>>;
    /** Whether something of a range is still to be planned or sent. */
    isUnsent(scope: Scope, isAdditive: boolean): Promise<boolean>;
  };
  /** The latest trial of a subscription. */
  trialOf(subscriptionId: string): Promise<Period | undefined>;
  readonly summaryLagMaxMs: number;
}

/** A job that is wanted, besides this one. */
export interface WantedJob {
  readonly job: string;
  readonly input?: Readonly<Record<string, unknown>>;
}

/** What a look found. */
export interface Look {
  readonly customerId?: string;
  readonly lines: readonly GuardedLine[];
  readonly evidence: Pick<GuardEvidence, 'lines' | 'isWorkWaiting'>;
  /** What would bring the two sides together. */
  readonly wanted: readonly WantedJob[];
}

export interface Catalogue extends Omit<LineContext, 'customer'> {
  /** Our meters' keys by Stripe's meter ids. */
  readonly keys: ReadonlyMap<string, string>;
}

/** Lays our meters and Stripe's next to each other. */
export function catalogueOf(meters: readonly Meter[], stripeMeters: readonly DestinationMeter[]): Catalogue {
  const keys = new Map(meters.flatMap(({ key, stripe }) => (stripe === undefined ? [] : [[stripe.eventName, key]])));
  return {
    meters: new Map(meters.map((meter) => [meter.key, meter])),
    stripeMeters: new Map(stripeMeters.map((meter) => [meter.id, meter])),
    keys: new Map(stripeMeters.flatMap(({ id, eventName }) => [[id, keys.get(eventName) ?? '']])),
  };
}

/** Looks at an invoice: what is left of its period to be done, and how its lines compare. */
export async function lookAtInvoice(
  deps: LookAtInvoiceDeps,
  invoice: Invoice,
  { record, catalogue }: { record: GuardRecord; catalogue: Catalogue },
): Promise<Look> {
  const customer = await findCustomer(deps, invoice.stripeCustomerId);
  const { subscriptionId } = invoice;
  const trial = subscriptionId === undefined ? undefined : await deps.trialOf(subscriptionId);
  const lines = customer === undefined ? [] : usageLines(invoice, catalogue.keys, trial);
  if (customer === undefined || lines.length === 0) return nothingOfOurs(customer);
  const context = { ...catalogue, customer };
  const { customerId } = customer;
  if (isBilled(invoice.status)) {
    const billed = await Promise.all(lines.map((line) => compareBilledLine(deps, line, context)));
    const compared = billed.filter((line) => line !== undefined);
    return { ...nothingOfOurs(customer), lines: compared, evidence: evidenceOf(verdictOf(compared), false) };
  }
  const work = await findWork(deps, customerId, { lines, catalogue });
  const found = [];
  for (const line of lines) {
    const before = record.lines.find(({ lineId }) => lineId === line.lineId);
    const compared = await compareDraftLine(deps, line, { ...context, before });
    if (compared !== undefined) found.push(compared);
  }
  const compared = found.map(({ line }) => line);
  const verdict = verdictOf(compared);
  const isDerived = work === undefined || work.job === 'submit-meter-events';
  const settled = found.filter(({ lastAttemptAtMs }) => lastAttemptAtMs + deps.summaryLagMaxMs <= deps.clock.now());
  const isAsking = record.guard.checks % LOOKS_PER_RECONCILIATION === 0;
  const drifting = settled.map(({ line }) => line).find((line) => isAsking && verdictOf([line]) === 'different');
  return {
    customerId,
    lines: compared,
    // What is not derived yet is in neither figure.
    evidence: evidenceOf(verdict === 'equal' && !isDerived ? 'unknown' : verdict, work !== undefined),
    wanted: work !== undefined ? [work] : drifting === undefined ? [] : [reconciliationOf(customerId, drifting)],
  };
}

/** The customer behind one of Stripe's; undefined where we know of none: then its usage there is not from us. */
async function findCustomer(deps: LookAtInvoiceDeps, stripeCustomerId: string): Promise<BillingCustomer | undefined> {
  const mapped = (await deps.customers.mappedTo([stripeCustomerId])).get(stripeCustomerId);
  if (mapped === undefined && !(await deps.usage.hasRows(stripeCustomerId))) return undefined;
  const customerId = mapped ?? stripeCustomerId;
  return (await deps.customers.billingOf([customerId])).get(customerId);
}

function nothingOfOurs(customer: BillingCustomer | undefined): Look {
  const base = { lines: [], evidence: evidenceOf('equal', false), wanted: [] };
  return customer === undefined ? base : { ...base, customerId: customer.customerId };
}

function evidenceOf(lines: LinesVerdict, isWorkWaiting: boolean): Look['evidence'] {
  return { lines, isWorkWaiting };
}

/** The next step that usage of these lines waits for: its hours queued, derived, or planned and sent. */
async function findWork(
  deps: LookAtInvoiceDeps,
  customerId: string,
  { lines, catalogue }: { lines: readonly UsageLine[]; catalogue: Catalogue },
): Promise<WantedJob | undefined> {
  if (await deps.usage.isToRequeue(customerId)) return { job: 'requeue-usage' };
  const fromHour = epochHourOf(Math.min(...lines.map(({ fromMs }) => fromMs)));
  const lastHour = epochHourOf(Math.max(...lines.map(({ toMs }) => toMs)) - 1);
  const waiting = [...(await deps.usage.waitingHours(customerId, fromHour))];
  if (waiting.some((hour) => hour <= lastHour)) return { job: 'aggregate-usage' };
  for (const { meter, fromMs, toMs } of lines) {
    const aggregation = catalogue.meters.get(meter)?.aggregation;
    if (aggregation === undefined) continue;
    if (await deps.usage.isUnsent({ customerId, meter, fromMs, toMs }, isAdditive(aggregation))) {
      return { job: 'submit-meter-events', input: { flush: true, customerId } };
    }
  }
  return undefined;
}

/** What finds and mends drift of a line's period. */
function reconciliationOf(customerId: string, { fromMs, toMs }: UsageLine): WantedJob {
  const [from, to] = [new Date(fromMs).toISOString(), new Date(toMs).toISOString()];
  return { job: 'reconcile-usage', input: { customerId, from, to } };
}
