import type { QueuedEntry } from './lane-queue.ts';
import type { Destination } from './destination.ts';
import type { EntryMove, OutboxEntry, RowName } from '../outbox-entry.ts';
import { ATTEMPT_SPAN_MS_MAX, type SendOutcome } from '../submission.ts';
import { MINUTE_MS } from '../../platform/durations.ts';
import { Destinations, type DestinationsDeps, type Target } from './resolve-destinations.ts';
import { LaneSender, type SendLanesDeps } from './send-lanes.ts';

/** What a run is limited to. */
export interface SubmitScope {
  /** Only this customer's submissions. */
  readonly customerId?: string;
  /** At once: windows need not settle, and what is spread over the minutes after the hour does not wait. */
  readonly flush?: boolean;
}

export interface SubmitMeterEventsDeps extends SendLanesDeps, DestinationsDeps {
  readonly entries: SendLanesDeps['entries'] & {
    listDue(query: SubmitScope & { nowMs: number; firstAttemptMinMs: number; limit: number }): Promise<OutboxEntry[]>;
    /** Those of these that can be tried now. */
    findDue(
      identifiers: readonly string[],
      query: SubmitScope & { nowMs: number; firstAttemptMinMs: number },
    ): Promise<OutboxEntry[]>;
    nextDueAtMs(firstAttemptMinMs: number, customerId?: string): Promise<number | undefined>;
    listSendingSince(beforeMs: number, limit: number): Promise<OutboxEntry[]>;
    blocked(batchSize: number, customerId?: string): AsyncGenerator<OutboxEntry[]>;
    moveAll(moves: readonly EntryMove[]): Promise<number>;
  };
  /** Leases on lanes, so that two processes do not both call Stripe for one customer and meter. */
  readonly lanes: SendLanesDeps['lanes'] & { take(): Promise<void>; release(): Promise<void> };
  /** Plans what is due; `onStored` is called as submissions are stored. Returns how many there were. */
  plan(scope: SubmitScope & { onStored: () => void }): Promise<number>;
  /** Plans the next steps of these running figures; returns the identifiers of their submissions. */
  planRows(rows: readonly RowName[], scope: SubmitScope): Promise<string[]>;
  /** Turns those that Stripe would never bill into late usage; returns their identifiers. */
  moveLate(entries: readonly OutboxEntry[]): Promise<ReadonlySet<string>>;
  readonly log: { warn(fields: object, phrase: string): void };
}

export interface SubmitMeterEventsInput extends SubmitScope {
  readonly signal?: AbortSignal;
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

/** Entries read at once; more are read when fewer than a quarter of them wait. */
const ENTRIES_MAX = 2_000;
const ENTRIES_LOW = 500;
/** An attempt that was not settled in this time has lost its process; longer than a call can take. */
const SENDING_MS_MAX = 30_000;
/** A run waits for what comes due this soon rather than leave it to the next run. */
const WAIT_MS_MAX = 10_000;
const BATCH = 500;
/** How long an attempt in doubt that has no destination now waits. */
const POSTPONE_MS = 15 * MINUTE_MS;

/**
 * Plans, sends and settles until nothing is due, all at the same time: lanes work while more is planned, and the next
 * step of a running figure is planned as soon as the one before is answered. Every attempt is recorded before its call
 * and its outcome after, each by compare-and-set, so that a stop at any point leaves a submission that is tried again
 * under the same identifier.
 */
export async function submitMeterEvents(
  deps: SubmitMeterEventsDeps,
  input: SubmitMeterEventsInput = {},
): Promise<SubmitMeterEventsResult> {
  const run = new SubmitRun(deps, input);
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
  readonly #scope: SubmitScope;
  readonly #signal: AbortSignal | undefined;
  readonly #destinations: Destinations;
  readonly #sender: LaneSender;
  readonly #tally: Tally = { planned: 0, calls: 0, accepted: 0, duplicates: 0, blocked: 0, rejected: 0, inDoubt: 0 };
  /** Running figures of which no step is left to be answered: the next may be planned. */
  #answeredRows: RowName[] = [];
  /** How many steps of each running figure are left. */
  readonly #steps = new Map<string, number>();
  /** Something was answered since the last pass of planning began. */
  #isPassStale = false;
  #isPlanning = false;
  #mayHaveMore = true;
  #listedAtMs = 0;

  constructor(deps: SubmitMeterEventsDeps, { signal, ...scope }: SubmitMeterEventsInput) {
    this.#deps = deps;
    this.#scope = scope;
    this.#signal = signal;
    this.#destinations = new Destinations(deps);
    this.#sender = new LaneSender(deps, {
      signal,
      onSettled: (entry, outcome) => this.#takeNote(entry, outcome),
    });
  }

  async toTheEnd(): Promise<SubmitMeterEventsResult> {
    await this.#destinations.refresh();
    await this.#recoverLostAttempts();
    await this.#unblock();
    const planning: Promise<void>[] = [this.#plan()];
    while (!this.#sender.isStopped) {
      if (this.#answeredRows.length > 0) await this.#planAnsweredRows();
      else if (this.#mayHaveMore && this.#sender.waiting < ENTRIES_LOW) await this.#refill();
      else if (this.#isPlanning || !this.#sender.isIdle) await this.#sender.changed();
      else if (this.#isPassStale) planning.push(this.#plan());
      else if (!(await this.#waitForRetry())) break;
    }
    await Promise.all(planning);
    await this.#sender.drain();
    return this.#tally;
  }

  /** One pass over everything that is due, while lanes work. Never throws. */
  async #plan(): Promise<void> {
    this.#isPassStale = false;
    this.#isPlanning = true;
    try {
      const onStored = (): void => this.#expectMore();
      this.#tally.planned += await this.#deps.plan({ ...this.#scope, onStored });
    } catch (error) {
      this.#sender.fail(error);
    }
    this.#isPlanning = false;
    this.#expectMore();
  }

  #expectMore(): void {
    this.#mayHaveMore = true;
    this.#sender.tell();
  }

  /** Goes on with running figures at once: the step after the next pass would come a whole pass later. */
  async #planAnsweredRows(): Promise<void> {
    const rows = this.#answeredRows;
    this.#answeredRows = [];
    const identifiers = await this.#deps.planRows(rows, this.#scope);
    if (identifiers.length === 0) return;
    this.#tally.planned += identifiers.length;
    await this.#enqueue(await this.#deps.entries.findDue(identifiers, this.#dueNow()));
  }

  async #refill(): Promise<void> {
    const limit = ENTRIES_MAX + this.#sender.waiting;
    const query = this.#dueNow();
    this.#listedAtMs = query.nowMs;
    this.#mayHaveMore = false;
    const due = await this.#deps.entries.listDue({ ...query, limit });
    await this.#destinations.refresh();
    const taken = await this.#enqueue(due);
    // Where none is ours to send, the next look would find the same: another process works on them.
    if (due.length >= limit && taken > 0) this.#mayHaveMore = true;
  }

  #dueNow(): SubmitScope & { nowMs: number; firstAttemptMinMs: number } {
    const nowMs = this.#deps.clock.now();
    return { ...this.#scope, nowMs, firstAttemptMinMs: nowMs - ATTEMPT_SPAN_MS_MAX };
  }

  /** Returns how many of them are not due any more, or wait here now. */
  async #enqueue(due: readonly OutboxEntry[]): Promise<number> {
    const unknown = due.filter(({ identifier }) => !this.#sender.has(identifier));
    // An invoice may have become final since they were planned.
    const late = await this.#deps.moveLate(unknown);
    if (late.size > 0) this.#isPassStale = true;
    const fresh = unknown.filter(({ identifier }) => !late.has(identifier));
    const targets = await this.#destinations.resolve(fresh);
    const queued: QueuedEntry<Destination>[] = [];
    const moves: EntryMove[] = [];
    for (const entry of fresh) {
      const target = targets.get(entry.identifier);
      if (target === undefined) continue;
      if ('blocked' in target) {
        moves.push(this.#withoutDestination(entry, target));
        continue;
      }
      const lane = laneOf(target.destination);
      if (!this.#sender.isForeign(lane)) queued.push({ lane, entry, target: target.destination });
    }
    for (const { entry } of queued) this.#countSteps(entry.row, 1);
    this.#sender.add(queued);
    if (moves.length > 0) await this.#deps.entries.moveAll(moves);
    return late.size + queued.length + moves.length;
  }

  #withoutDestination(entry: OutboxEntry, target: Extract<Target, { blocked: string }>): EntryMove {
    const atMs = this.#deps.clock.now();
    const reason = target.blocked;
    if (entry.state === 'in_doubt') return { entry, change: 'postpone', atMs, reason, dueAtMs: atMs + POSTPONE_MS };
    this.#tally.blocked += 1;
    return { entry, change: 'block', atMs, reason };
  }

  /** Returns how many steps of a running figure are left; a window has but one. */
  #countSteps({ subject, customerId, meter, startMs }: RowName, change: 1 | -1): number {
    if (subject !== 'period') return 0;
    const key = [customerId, meter, startMs].join('\u001f');
    const left = (this.#steps.get(key) ?? 0) + change;
    if (left > 0) this.#steps.set(key, left);
    else this.#steps.delete(key);
    return left;
  }

  #takeNote(entry: OutboxEntry, outcome: SendOutcome): void {
    this.#tally.calls += 1;
    const stepsLeft = this.#countSteps(entry.row, -1);
    switch (outcome.kind) {
      case 'accepted':
      case 'duplicate':
        this.#tally[outcome.kind === 'accepted' ? 'accepted' : 'duplicates'] += 1;
        this.#isPassStale = true;
        if (entry.row.subject === 'period' && stepsLeft === 0) this.#answeredRows.push(entry.row);
        return;
      case 'declined':
        return;
      case 'blocked':
        this.#tally.blocked += 1;
        return;
      case 'rejected':
        this.#tally.rejected += 1;
        this.#isPassStale = true;
        this.#deps.log.warn({ reason: outcome.reason }, 'stripe rejected a meter event');
        return;
      case 'server-error':
      case 'unanswered':
        this.#tally.inDoubt += 1;
    }
  }

  /** An attempt that nobody settled may have reached Stripe: it is in doubt. */
  async #recoverLostAttempts(): Promise<void> {
    const nowMs = this.#deps.clock.now();
    const lost = await this.#deps.entries.listSendingSince(nowMs - SENDING_MS_MAX, ENTRIES_MAX);
    await this.#deps.entries.moveAll(
      lost.map((entry) => ({ entry, change: 'lose-answer', atMs: nowMs, reason: 'process_lost', dueAtMs: nowMs })),
    );
  }

  /** What was blocked may have a destination by now. */
  async #unblock(): Promise<void> {
    for await (const batch of this.#deps.entries.blocked(BATCH, this.#scope.customerId)) {
      const targets = await this.#destinations.resolve(batch);
      const atMs = this.#deps.clock.now();
      await this.#deps.entries.moveAll(
        batch.flatMap((entry) => {
          const target = targets.get(entry.identifier);
          return target === undefined ? [] : unblocking(entry, target, atMs);
        }),
      );
    }
  }

  /** Returns whether something comes due soon; it then is due. */
  async #waitForRetry(): Promise<boolean> {
    const nowMs = this.#deps.clock.now();
    const dueAtMs = await this.#deps.entries.nextDueAtMs(nowMs - ATTEMPT_SPAN_MS_MAX, this.#scope.customerId);
    // What was due when the list was read and is due still is not ours to send.
    if (dueAtMs === undefined || dueAtMs <= this.#listedAtMs || dueAtMs - nowMs > WAIT_MS_MAX) return false;
    await this.#deps.clock.sleep(Math.max(dueAtMs - nowMs, 0), this.#signal);
    this.#mayHaveMore = true;
    return true;
  }
}

function unblocking(entry: OutboxEntry, target: Target, atMs: number): EntryMove[] {
  if ('blocked' in target) {
    return target.blocked === entry.reason ? [] : [{ entry, change: 'block', atMs, reason: target.blocked }];
  }
  const { stripeCustomerId, meter } = target.destination;
  const isUnchanged = entry.stripeCustomerId === stripeCustomerId && entry.stripeMeterId === meter.id;
  // Stripe itself refused this destination: it is asked again now and then.
  if (isUnchanged && (entry.dueAtMs ?? 0) > atMs) return [];
  return [{ entry, change: 'unblock', atMs, dueAtMs: atMs }];
}

function laneOf({ stripeCustomerId, meter }: Destination): string {
  return `${stripeCustomerId} ${meter.id}`;
}
