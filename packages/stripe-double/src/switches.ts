import type { MeterErrorCode } from './events/error-reports.ts';
import type { OutgoingEvent } from './webhooks/deliveries.ts';

/**
 * Where Stripe's behaviour is a setting, a plan's limit, or is not established by its documentation, the simulator does
 * it either way. Every such choice is a switch here, and may be changed while the simulator runs.
 */

/** What is known of a meter event when its way into the event summaries is decided. */
export interface ReceivedUsage {
  identifier: string;
  customer: string;
  meterId: string;
  /** Unix seconds. */
  timestamp: number;
  /** UTC milliseconds. */
  receivedAt: number;
}

/** Which meter event may be refused later; `undefined` in the place of a meter that does not exist. */
export interface ReceivedMeterEventFacts extends Omit<ReceivedUsage, 'meterId'> {
  meterId: string | undefined;
  eventName: string;
}

/** How meter events are taken in, cancelled and shown. */
export interface UsageSwitches {
  /** How long an `identifier` is remembered. Stripe promises "a rolling period of at least 24 hours", no more. */
  identifierHorizonMs: number;
  /** Not established: whether an identifier is unique in the account or per meter. */
  identifierScope: 'account' | 'meter';
  /** Not established: whether the identifier of a cancelled event may be used again inside the horizon. */
  identifierReuseAfterCancel: boolean;
  /** Not established: what a second cancellation of the same event answers. */
  secondCancel: 'refuse' | 'accept';
  /** Not established: whether the identifier of an event that was rejected later may be used again inside the horizon. */
  identifierReuseAfterRejection: boolean;
  /** Not established for v1: an unknown customer is refused at once, or answered 200 and never counted. */
  unknownCustomer: 'async' | 'sync';
  /** Faults that are answered 200 and reported later, as on v2's stream; v1 was seen to refuse them at once. */
  rejectedLater: readonly MeterErrorCode[];
  /** Rejects later what has no fault: the code of the report, or `undefined` for an event that counts. */
  rejectLater: ((event: ReceivedMeterEventFacts) => MeterErrorCode | undefined) | undefined;
  /** Not established for v1: the shape of "one call in flight per customer and meter" (429 `lock_timeout` or 409). */
  concurrency: 'lock-timeout' | 'conflict' | 'off';
  /** Not established: v1 refusals of meter events and adjustments were seen without `code`; `coded` adds v2's codes. */
  refusalCodes: 'bare' | 'coded';
  /** Whether a 400 of an endpoint that had begun is stored under the idempotency key, as Stripe's documentation says. */
  refusalsReplayed: boolean;
  /** Not established: whether an ungrouped summary of a range without events is an empty list or one row of zero. */
  emptySummary: 'none' | 'zero';
  /** Stripe's schema says both: `end_time` of a summary is exclusive (twice) and inclusive (once). */
  summaryEnd: 'exclusive' | 'inclusive';
  /** Not established: the longest range of one summaries request. Nothing is documented. */
  summaryRangeMaxMs: number;
  /** How long after its receipt an event shows in the summaries. No figure is documented. `Infinity`: never. */
  summaryLagMs: number | ((usage: ReceivedUsage) => number);
  /** Not established: whether the 15 digits of a value are counted without its trailing zeros, or as written. */
  countedDigits: 'significant' | 'written';
  /** Most decimal places of a value; others met a refusal beyond 12, which is also what an invoice line holds. */
  valueDecimalsMax: number;
  /** Calls a second over all routes; a sandbox allows 25. `0` or `Infinity`: no limit. */
  rateLimitPerSecond: number;
  /** How long a call takes, by the simulator's clock, while it holds its idempotency key and its lock. */
  latencyMs: number;
  /** How much longer a call takes that the fault `slow` hits. */
  slowMs: number;
}

/** How rejected meter events are reported. */
export interface ReportSwitches {
  /** The validation window of a report: 10 s in both examples of Stripe's documentation. */
  errorReportWindowMs: number;
  /** How long after the window's end the event is created: about 2 s in the examples. */
  errorReportDelayMs: number;
  /** How many rejections of each code are named. Stripe names samples and tells no number. */
  errorReportSamples: number;
  /**
   * Not established: what names the event in a sample. `request.identifier` with the event's identifier, the same with
   * the request's idempotency key (as the SDK's types say), or `request.{id: '', idempotency_key}` (as one example).
   */
  errorReportSampleForm: 'identifier' | 'key-as-identifier' | 'idempotency-key';
  /** Whether an event about no object lacks `related_object`, or has an empty one as in Stripe's example. */
  noRelatedObject: 'absent' | 'empty';
}

/** How events are made and delivered. */
export interface WebhookSwitches {
  /** The version that shapes snapshot events: the endpoint's or account's at the time, not the SDK's. */
  eventApiVersion: string;
  /** Probability that two Event objects describe one change. */
  eventTwins: number;
  /** How long after the event the first attempt is due. */
  webhookDelayMs: number | ((event: OutgoingEvent) => number);
  /** Pauses before the retries, as many as there are: a sandbox retries three times over a few hours, live for 3 days. */
  webhookBackoffMs: readonly number[];
  /** Probability that an event which was taken is sent once more. */
  webhookDuplicates: number;
  /** Whether what is due at once is sent in the order of its events, or in any. */
  webhookOrder: 'created' | 'shuffled';
  /** Adds a second `v1` signature in front, as while a secret is rolled. */
  webhookSecondV1: boolean;
  /** Adds the fake `v0` signature of test events. */
  webhookV0: boolean;
}

/** A payment that is about to be attempted. */
export interface PaymentAttempt {
  invoice: string;
  customer: string;
  /** 1 for the first attempt. */
  attempt: number;
}

/** How subscriptions are invoiced and paid. */
export interface BillingSwitches {
  /** From a cycle invoice's creation (or the 2xx to its `invoice.created`) to its finalisation: 1 h, at most 72 h. */
  invoiceGraceMs: number;
  /** Whether an invoice counts what was received, or only what the event summaries show at that moment. */
  invoiceUsage: 'received' | 'visible';
  /**
   * Not established: whether the first invoice, which is final at once, has a line of quantity 0 for a metered price
   * over the period that has just begun, or none. Such a line does not make that period final.
   */
  firstInvoiceMeteredLine: 'current-period' | 'none';
  /** Not established: whether the line of a trial's usage, which is free, shows what was used or nothing. */
  trialUsageLine: 'zero' | 'counted';
  /** Not established: when an invoice that was held beyond its time finalises once `auto_advance` is true again. */
  releasedInvoice: 'at-once' | 'after-grace';
  /** What becomes of a metered item's unfinished period when its subscription is cancelled at once, or it is removed. */
  usageOfEndedItem: 'dropped' | 'invoiced';
  /** What a payment attempt meets. */
  payments: 'succeed' | 'fail' | ((attempt: PaymentAttempt) => 'succeed' | 'fail');
  /** Pauses before the payment is tried again, as many as there are. */
  paymentRetriesMs: readonly number[];
  /** What becomes of a subscription whose last retry failed: a setting of the account. */
  afterLastRetry: 'cancel' | 'unpaid' | 'past_due';
  /** With billing automations `next_payment_attempt` comes with `invoice.updated` instead of `invoice.payment_failed`. */
  nextAttemptIn: 'payment-failed' | 'updated';
}

export interface Switches extends UsageSwitches, ReportSwitches, WebhookSwitches, BillingSwitches {}

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const dayMs = 24 * hourMs;

/** Three retries over a few hours, as in a sandbox (Stripe docs, Webhooks; the pauses are not documented). */
const sandboxBackoffMs: readonly number[] = [5 * minuteMs, hourMs, 3 * hourMs];
export const defaultSwitches: Readonly<Switches> = Object.freeze({
  identifierHorizonMs: dayMs,
  identifierScope: 'account',
  identifierReuseAfterCancel: false,
  secondCancel: 'refuse',
  identifierReuseAfterRejection: false,
  unknownCustomer: 'async',
  rejectedLater: [],
  rejectLater: undefined,
  concurrency: 'lock-timeout',
  refusalCodes: 'bare',
  refusalsReplayed: true,
  emptySummary: 'none',
  summaryEnd: 'exclusive',
  summaryRangeMaxMs: Number.POSITIVE_INFINITY,
  summaryLagMs: 0,
  countedDigits: 'significant',
  valueDecimalsMax: 12,
  rateLimitPerSecond: 25,
  latencyMs: 0,
  slowMs: 1_000,
  errorReportWindowMs: 10_000,
  errorReportDelayMs: 2_000,
  errorReportSamples: 5,
  errorReportSampleForm: 'identifier',
  noRelatedObject: 'absent',
  eventApiVersion: '2026-10-28.endive',
  eventTwins: 0,
  webhookDelayMs: 0,
  webhookBackoffMs: sandboxBackoffMs,
  webhookDuplicates: 0,
  webhookOrder: 'created',
  webhookSecondV1: false,
  webhookV0: false,
  invoiceGraceMs: hourMs,
  invoiceUsage: 'received',
  firstInvoiceMeteredLine: 'current-period',
  trialUsageLine: 'zero',
  releasedInvoice: 'at-once',
  usageOfEndedItem: 'dropped',
  payments: 'succeed',
  paymentRetriesMs: [3 * dayMs, 5 * dayMs, 7 * dayMs],
  afterLastRetry: 'cancel',
  nextAttemptIn: 'payment-failed',
});

/** Changes switches that JSON can express. @throws RangeError for an unknown switch, or a value of another type. */
export function changeSwitches(switches: Switches, changes: Readonly<Record<string, unknown>>): void {
  for (const [name, value] of Object.entries(changes)) {
    if (!Object.hasOwn(defaultSwitches, name)) throw new RangeError(`there is no switch ${name}`);
    const standard: unknown = defaultSwitches[name as keyof Switches];
    if (typeof value !== typeof standard || Array.isArray(value) !== Array.isArray(standard)) {
      throw new RangeError(`${name} is a ${Array.isArray(standard) ? 'list' : typeof standard}`);
    }
  }
  Object.assign(switches, changes);
}
