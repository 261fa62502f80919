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

export interface Switches {
  /** How long an `identifier` is remembered. Stripe promises "a rolling period of at least 24 hours", no more. */
  identifierHorizonMs: number;
  /** Not established: whether an identifier is unique in the account or per meter. */
  identifierScope: 'account' | 'meter';
  /** Not established: whether the identifier of a cancelled event may be used again inside the horizon. */
  identifierReuseAfterCancel: boolean;
  /** Not established: what a second cancellation of the same event answers. */
  secondCancel: 'refuse' | 'accept';
  /** Not established for v1: an unknown customer is refused at once, or answered 200 and never counted. */
  unknownCustomer: 'async' | 'sync';
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

const dayMs = 24 * 60 * 60 * 1000;

export const defaultSwitches: Readonly<Switches> = Object.freeze({
  identifierHorizonMs: dayMs,
  identifierScope: 'account',
  identifierReuseAfterCancel: false,
  secondCancel: 'refuse',
  unknownCustomer: 'async',
  concurrency: 'lock-timeout',
  refusalCodes: 'bare',
  refusalsReplayed: true,
  emptySummary: 'none',
  summaryEnd: 'exclusive',
  summaryLagMs: 0,
  countedDigits: 'significant',
  valueDecimalsMax: 12,
  rateLimitPerSecond: 25,
  latencyMs: 0,
  slowMs: 1_000,
});
