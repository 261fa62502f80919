import { boundary } from '../src/boundary.ts';
import type { Clock } from '../src/clock.ts';
import type { BillingCustomer } from '../src/domain/billing-customer.ts';
import { type Destination, type DestinationMeter, resolveDestination } from '../src/domain/destination.ts';
import { groupBy } from '../src/domain/grouping.ts';
import type { Meter } from '../src/domain/meter.ts';
import type { EntryMove, OutboxEntry } from '../src/domain/outbox-entry.ts';
import {
  ATTEMPT_SPAN_MS_MAX,
  changeFor,
  idempotencyKeyFor,
  retryDelayMs,
  type SendOutcome,
} from '../src/domain/submission.ts';

export interface SubmitMeterEventsDeps {
  readonly entries: {
    listDue(query: { nowMs: number; firstAttemptMinMs: number; limit: number }): Promise<OutboxEntry[]>;
    nextDueAtMs(firstAttemptMinMs: number): Promise<number | undefined>;
    listSendingSince(beforeMs: number, limit: number): Promise<OutboxEntry[]>;
    blocked(batchSize: number): AsyncGenerator<OutboxEntry[]>;
    move(move: EntryMove): Promise<OutboxEntry | undefined>;
    moveAll(moves: readonly EntryMove[]): Promise<number>;
  };
  /** Leases on lanes, so that two processes do not both call Stripe for one customer and meter. */
  readonly lanes: {
    take(): Promise<void>;
    /** Whether this process holds the lane for at least the time of one call. */
    holds(lane: string): Promise<boolean>;
    release(): Promise<void>;
  };
  /** Plans what is due; returns how many submissions it made. */
  plan(): Promise<number>;
  meters(): Promise<Meter[]>;
  stripeMeters(): Promise<DestinationMeter[]>;
  billingOf(customerIds: readonly string[]): Promise<Map<string, BillingCustomer>>;
  /** Waits for this call's share of the account's rate. */
  takeCallToken(signal: AbortSignal | undefined): Promise<void>;
  send(call: {
    identifier: string;
    idempotencyKey: string;
    eventName: string;
    stripeCustomerId: string;
    value: string;
    timestampMs: number;
    customerKey: string;
    valueKey: string;
  }): Promise<SendOutcome>;
  random(): number;
  readonly clock: Clock;
  readonly log: { info(fields: object, phrase: string): void; warn(fields: object, phrase: string): void };
}

export interface SubmitMeterEventsResult {
  readonly planned: number;
  readonly calls: number;
  readonly accepted: number;
  readonly duplicates: number;
  readonly blocked: number;
  readonly rejected: number;
  readonly inDoubt: number;
}

/** Entries read at once, and calls in flight over all lanes. */
const ENTRIES_PER_ROUND = 2_000;
const CALLS_IN_FLIGHT_MAX = 48;
/** An attempt that was not settled in this time has lost its process; longer than a call can take. */
const SENDING_MS_MAX = 30_000;
/** A run waits for retries that come due this soon rather than leave them to the next run. */
const RETRY_WAIT_MS_MAX = 10_000;
const BATCH = 500;
/** After a 429 or an open breaker all lanes pause, not only the one that met it: more calls would only add to it. */
const PAUSE_MS = 1_000;

/**
 * Plans, sends and settles until nothing is due: every meter event's attempt is recorded before the call and its
 * outcome after, each by compare-and-set, so that a stop at any point leaves a submission that is tried again under the
 * same identifier.
 */
export async function submitMeterEvents(
  deps: SubmitMeterEventsDeps,
  input: { signal?: AbortSignal } = {},
): Promise<SubmitMeterEventsResult> {
  const run = new SubmitRun(deps, input.signal);
  await deps.lanes.take();
  try {
    return await run.toTheEnd();
  } finally {
    await deps.lanes.release();
  }
}

type Tally = { -readonly [K in keyof SubmitMeterEventsResult]: number };

class SubmitRun {
  readonly #deps: SubmitMeterEventsDeps;
  readonly #signal: AbortSignal | undefined;
  readonly #tally: Tally = { planned: 0, calls: 0, accepted: 0, duplicates: 0, blocked: 0, rejected: 0, inDoubt: 0 };
  #pausedUntilMs = 0;
  #meters = new Map<string, Meter>();
  #stripeMeters = new Map<string, DestinationMeter>();

  constructor(deps: SubmitMeterEventsDeps, signal: AbortSignal | undefined) {
    this.#deps = deps;
    this.#signal = signal;
  }

  async toTheEnd(): Promise<SubmitMeterEventsResult> {
    const deps = this.#deps;
    this.#meters = new Map((await deps.meters()).map((meter) => [meter.key, meter]));
    this.#stripeMeters = new Map((await deps.stripeMeters()).map((meter) => [meter.eventName, meter]));
    await this.#recoverLostAttempts();
    await this.#unblock();
    while (this.#signal?.aborted !== true) {
      const planned = await deps.plan();
      this.#tally.planned += planned;
      const handled = await this.#sendDue();
      if (planned === 0 && handled === 0 && !(await this.#waitForRetry())) break;
    }
    return this.#tally;
  }

  /** An attempt that nobody settled may have reached Stripe: it is in doubt. */
  async #recoverLostAttempts(): Promise<void> {
    const nowMs = this.#deps.clock.now();
    const lost = await this.#deps.entries.listSendingSince(nowMs - SENDING_MS_MAX, ENTRIES_PER_ROUND);
    await this.#deps.entries.moveAll(
      lost.map((entry) => ({ entry, change: 'lose-answer', atMs: nowMs, reason: 'process_lost', dueAtMs: nowMs })),
    );
  }

  /** What was blocked may have a destination by now. */
  async #unblock(): Promise<void> {
    const nowMs = this.#deps.clock.now();
    for await (const batch of this.#deps.entries.blocked(BATCH)) {
      const resolved = await this.#resolve(batch);
      const free = batch.filter((entry) => 'destination' in (resolved.get(entry.identifier) ?? {}));
      await this.#deps.entries.moveAll(
        free.map((entry) => ({ entry, change: 'unblock', atMs: nowMs, dueAtMs: nowMs })),
      );
    }
  }

  async #resolve(entries: readonly OutboxEntry[]): Promise<Map<string, ReturnType<typeof resolveDestination>>> {
    const customers = await this.#deps.billingOf([...new Set(entries.map(({ customerId }) => customerId))]);
    const resolved = new Map<string, ReturnType<typeof resolveDestination>>();
    for (const entry of entries) {
      const customer = customers.get(entry.customerId);
      if (customer === undefined) continue;
      const { timestampMs } = entry;
      const target = resolveDestination({
        customer,
        meter: this.#meters.get(entry.meter),
        stripeMeters: this.#stripeMeters,
        timestampMs,
        nowMs: this.#deps.clock.now(),
      });
      resolved.set(entry.identifier, withFrozen(target, entry));
    }
    return resolved;
  }

  /** Returns how many entries were moved. */
  async #sendDue(): Promise<number> {
    const nowMs = this.#deps.clock.now();
    const due = await this.#deps.entries.listDue({
      nowMs,
      firstAttemptMinMs: nowMs - ATTEMPT_SPAN_MS_MAX,
      limit: ENTRIES_PER_ROUND,
    });
    const resolved = await this.#resolve(due);
    const lanes = groupBy(due, (entry) => laneOf(resolved.get(entry.identifier)));
    const queue = [...lanes];
    let handled = 0;
    const workers = Array.from({ length: Math.min(CALLS_IN_FLIGHT_MAX, queue.length) }, async () => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        handled += await this.#workLane(next[0], next[1], resolved);
      }
    });
    await Promise.all(workers);
    return handled;
  }

  /** One lane is one Stripe customer and meter: one call in flight, oldest first. */
  async #workLane(
    lane: string,
    entries: readonly OutboxEntry[],
    resolved: ReadonlyMap<string, ReturnType<typeof resolveDestination>>,
  ): Promise<number> {
    let handled = 0;
    for (const entry of [...entries].sort((a, b) => a.timestampMs - b.timestampMs)) {
      if (this.#signal?.aborted === true) return handled;
      const target = resolved.get(entry.identifier);
      if (target === undefined) continue;
      if ('blocked' in target) {
        const change = entry.state === 'planned' ? 'block' : undefined;
        if (change === undefined) continue;
        const atMs = this.#deps.clock.now();
        await this.#deps.entries.move({ entry, change, atMs, reason: target.blocked });
        this.#tally.blocked += 1;
        handled += 1;
        continue;
      }
      await this.#pause();
      await this.#deps.takeCallToken(this.#signal);
      if (!(await this.#deps.lanes.holds(lane))) return handled;
      handled += 1;
      const outcome = await this.#attempt(entry, target.destination);
      if (outcome?.kind !== 'declined') continue;
      this.#pausedUntilMs = this.#deps.clock.now() + PAUSE_MS * (0.5 + this.#deps.random());
      return handled;
    }
    return handled;
  }

  async #pause(): Promise<void> {
    const delayMs = this.#pausedUntilMs - this.#deps.clock.now();
    if (delayMs > 0) await this.#deps.clock.sleep(delayMs * (1 + this.#deps.random()), this.#signal);
  }

  async #attempt(entry: OutboxEntry, destination: Destination): Promise<SendOutcome | undefined> {
    const { clock, entries } = this.#deps;
    const idempotencyKey = idempotencyKeyFor(entry.identifier, entry.storedAnswers);
    const attempt = { destination, idempotencyKey };
    const claimed = await entries.move({ entry, change: 'attempt', atMs: clock.now(), attempt });
    if (claimed === undefined) return undefined;
    await boundary('submit.attempt-recorded');
    const { stripeCustomerId, meter } = destination;
    this.#tally.calls += 1;
    const outcome = await this.#deps.send({
      identifier: entry.identifier,
      idempotencyKey,
      eventName: meter.eventName,
      stripeCustomerId,
      value: entry.value,
      timestampMs: entry.timestampMs,
      customerKey: meter.customerKey,
      valueKey: meter.valueKey,
    });
    await boundary('submit.answered');
    await this.#settle(claimed, outcome);
    await boundary('submit.settled');
    return outcome;
  }

  async #settle(entry: OutboxEntry, outcome: SendOutcome): Promise<void> {
    const atMs = this.#deps.clock.now();
    const change = changeFor(outcome, entry.isDoubtful);
    const tries = outcome.kind === 'declined' ? entry.declines + 1 : entry.attempts;
    const isRetried = outcome.kind === 'declined' || change === 'lose-answer';
    await this.#deps.entries.move({
      entry,
      change,
      atMs,
      ...('reason' in outcome && { reason: outcome.reason }),
      ...('message' in outcome && { message: outcome.message }),
      ...(isRetried && { dueAtMs: atMs + retryDelayMs(outcome, tries, this.#deps.random()) }),
    });
    this.#count(outcome);
  }

  #count(outcome: SendOutcome): void {
    if (outcome.kind === 'accepted') this.#tally.accepted += 1;
    else if (outcome.kind === 'duplicate') this.#tally.duplicates += 1;
    else if (outcome.kind === 'blocked') this.#tally.blocked += 1;
    else if (outcome.kind === 'rejected') this.#tally.rejected += 1;
    else if (outcome.kind !== 'declined') this.#tally.inDoubt += 1;
    if (outcome.kind === 'rejected') this.#deps.log.warn({ reason: outcome.reason }, 'stripe rejected a meter event');
  }

  /** Returns whether a retry comes due soon; it then is due. */
  async #waitForRetry(): Promise<boolean> {
    const nowMs = this.#deps.clock.now();
    const dueAtMs = await this.#deps.entries.nextDueAtMs(nowMs - ATTEMPT_SPAN_MS_MAX);
    if (dueAtMs === undefined || dueAtMs - nowMs > RETRY_WAIT_MS_MAX) return false;
    await this.#deps.clock.sleep(Math.max(dueAtMs - nowMs, 50), this.#signal);
    return true;
  }
}

/** After the first attempt the destination is frozen: another mapping must not send the same usage to two customers. */
function withFrozen(
  target: ReturnType<typeof resolveDestination>,
  entry: OutboxEntry,
): ReturnType<typeof resolveDestination> {
  if (entry.stripeCustomerId === undefined || 'blocked' in target) return target;
  return { destination: { ...target.destination, stripeCustomerId: entry.stripeCustomerId } };
}

function laneOf(target: ReturnType<typeof resolveDestination> | undefined): string {
  return target !== undefined && 'destination' in target
    ? `${target.destination.stripeCustomerId} ${target.destination.meter.id}`
    : '';
}
