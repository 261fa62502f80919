import type { Clock } from '../../platform/clock.ts';
import { CallPause } from './call-pause.ts';
import type { Destination } from './destination.ts';
import { LaneQueue, type QueuedEntry } from './lane-queue.ts';
import type { OutboxEntry } from '../outbox-entry.ts';
import type { SendOutcome } from '../submission.ts';
import { sendMeterEvent, type SendMeterEventDeps } from './send-meter-event.ts';

export interface SendLanesDeps extends SendMeterEventDeps {
  readonly lanes: {
    /** Whether this process holds the lane for at least the time of one call. */
    holds(lane: string): Promise<boolean>;
  };
  /** Waits for this call's share of the account's rate. */
  takeCallToken(signal: AbortSignal | undefined): Promise<void>;
  /** How long a call has to wait while Stripe is away; 0 admits one, which is to be made now. */
  admit(): number;
  readonly clock: Clock;
}

/** Calls in flight over all lanes: 900 a second, if a call takes 140 ms. When Stripe goes away, so many are in doubt. */
const CALLS_IN_FLIGHT_MAX = 128;
/** When Stripe is away for longer than this, a run leaves the rest to a later one. */
const AWAY_MS_MAX = 10_000;

/** Sends what it is given, in the background: one call in flight in each lane, oldest first. */
export class LaneSender {
  readonly #deps: SendLanesDeps;
  readonly #signal: AbortSignal | undefined;
  readonly #onSettled: (entry: OutboxEntry, outcome: SendOutcome) => void;
  readonly #queue = new LaneQueue<Destination>();
  /** Lanes that another process holds: not ours in this run. */
  readonly #foreign = new Set<string>();
  #inFlight = 0;
  /** After a 429 all lanes pause, not only the one that met it: more calls would only add to it. */
  readonly #pauses = new CallPause();
  #isStripeAway = false;
  #failure: { readonly error: unknown } | undefined;
  #change: { readonly promise: Promise<void>; readonly tell: () => void } | undefined;

  constructor(
    deps: SendLanesDeps,
    options: {
      signal: AbortSignal | undefined;
      onSettled: (entry: OutboxEntry, outcome: SendOutcome) => void;
    },
  ) {
    this.#deps = deps;
    this.#signal = options.signal;
    this.#onSettled = options.onSettled;
  }

  /** How many wait for their turn. */
  get waiting(): number {
    return this.#queue.size;
  }

  /** Whether nothing waits and nothing is being sent. */
  get isIdle(): boolean {
    return this.#queue.size === 0 && this.#inFlight === 0;
  }

  /** Whether nothing more is sent: it was asked to stop, Stripe is away, or something failed. */
  get isStopped(): boolean {
    return this.#signal?.aborted === true || this.#isStripeAway || this.#failure !== undefined;
  }

  /** Whether a submission waits here or is being sent. */
  has(identifier: string): boolean {
    return this.#queue.has(identifier);
  }

  /** Whether a lane was seen to be another process's. */
  isForeign(lane: string): boolean {
    return this.#foreign.has(lane);
  }

  add(entries: readonly QueuedEntry<Destination>[]): void {
    this.#queue.add(entries);
    this.#pump();
  }

  /** Resolves when something happened since it was called: a call was settled, or `tell` was called. */
  changed(): Promise<void> {
    if (this.#change === undefined) {
      let tell = (): void => {};
      const promise = new Promise<void>((resolve) => {
        tell = resolve;
      });
      this.#change = { promise, tell };
    }
    return this.#change.promise;
  }

  /** Wakes whoever waits for a change. */
  tell(): void {
    this.#change?.tell();
    this.#change = undefined;
  }

  /** Stops because of an error elsewhere. */
  fail(error: unknown): void {
    this.#failure ??= { error };
    this.tell();
  }

  /** Waits for the calls in flight. @throws what went wrong with one of them. */
  async drain(): Promise<void> {
    while (this.#inFlight > 0) await this.changed();
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  /** While there is a pause, one waits for its end and the others are not begun. */
  #pump(): void {
    while (this.#inFlight < (this.#isPaused() ? 1 : CALLS_IN_FLIGHT_MAX) && !this.isStopped) {
      const queued = this.#queue.next();
      if (queued === undefined) return;
      this.#inFlight += 1;
      void this.#work(queued);
    }
  }

  /** Never throws. */
  async #work(queued: QueuedEntry<Destination>): Promise<void> {
    let again = false;
    try {
      again = (await this.#send(queued)) === 'again';
    } catch (error) {
      this.#failure ??= { error };
    }
    this.#inFlight -= 1;
    this.#queue.finish(queued, again);
    this.#pump();
    this.tell();
  }

  async #send(queued: QueuedEntry<Destination>): Promise<'done' | 'again'> {
    await this.#pause();
    await this.#deps.takeCallToken(this.#signal);
    if (this.isStopped) return 'again';
    if (!(await this.#deps.lanes.holds(queued.lane))) {
      this.#foreign.add(queued.lane);
      this.#queue.drop(queued.lane);
      return 'done';
    }
    const waitMs = this.#deps.admit();
    if (waitMs > 0) {
      this.#isStripeAway ||= waitMs > AWAY_MS_MAX;
      this.#pauses.extend(this.#deps.clock.now(), waitMs);
      return 'again';
    }
    const outcome = await sendMeterEvent(this.#deps, queued.entry, queued.target);
    if (outcome === undefined) return 'done';
    this.#onSettled(queued.entry, outcome);
    if (outcome.kind !== 'declined') this.#pauses.take();
    else if (outcome.isBusy !== true) this.#pauses.decline(this.#deps.clock.now(), this.#deps.random());
    return 'done';
  }

  #isPaused(): boolean {
    return this.#pauses.leftMs(this.#deps.clock.now()) > 0;
  }

  async #pause(): Promise<void> {
    const delayMs = this.#pauses.leftMs(this.#deps.clock.now());
    if (delayMs > 0) await this.#deps.clock.sleep(delayMs * (1 + this.#deps.random()), this.#signal);
  }
}
