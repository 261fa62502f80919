import type { Account } from '../route.ts';
import type { SeededRandom } from '../random.ts';
import type { Destination, Destinations, EventKind } from './destinations.ts';
import { post } from './post.ts';
import type { PostResult } from './post.ts';
import { signatureHeader } from './signature.ts';

/** An event as it is handed over for delivery. */
export interface OutgoingEvent {
  id: string;
  type: string;
  kind: EventKind;
  /** The body of every attempt, as the event was when it happened. */
  body: string;
}

/** One attempt to deliver one event to one destination. */
export interface DeliveryAttempt {
  eventId: string;
  type: string;
  kind: EventKind;
  destinationId: string;
  url: string;
  /** 1 for the first attempt. */
  attempt: number;
  /** Sent once more although it had been taken. */
  duplicate: boolean;
  /** UTC milliseconds of the simulator's clock. */
  at: number;
  signature: string;
  body: string;
  /** What came back; absent where no answer came. */
  status: number | undefined;
  error: string | undefined;
  outcome: 'delivered' | 'retried' | 'given-up';
}

interface Delivery {
  event: OutgoingEvent;
  destination: Destination;
  attempt: number;
  duplicate: boolean;
  dueAt: number;
  /** An attempt by hand: it is not followed by retries. */
  byHand: boolean;
}

export interface DeliveriesDeps {
  account: Account;
  destinations: Destinations;
  /** Of its own, so that disorder does not change ids. */
  random: SeededRandom;
  stopping: AbortSignal;
}

/**
 * Sends events to the destinations that listen: signed anew for every attempt, retried with a growing pause unless the
 * answer is a 2xx, out of order and twice where the switches say so. Nothing is sent by itself: `deliverDue` sends.
 */
export class Deliveries {
  readonly #deps: DeliveriesDeps;
  readonly #log: DeliveryAttempt[] = [];
  #queue: Delivery[] = [];
  /** Event → destinations that have not taken it yet. */
  readonly #awaited = new Map<string, Set<string>>();
  #sending: Promise<unknown> = Promise.resolve();
  #onTaken: (eventId: string, atMs: number) => void = () => {};

  constructor(deps: DeliveriesDeps) {
    this.#deps = deps;
  }

  /** `listener` hears when every destination that listens has answered an event with a 2xx. */
  onTaken(listener: (eventId: string, atMs: number) => void): void {
    this.#onTaken = listener;
  }

  isListened(kind: EventKind, type: string): boolean {
    return this.#deps.destinations.listening(kind, type).length > 0;
  }

  /** Queues an event for every destination that listens, at `atMs` and later by `webhookDelayMs`. */
  queue(event: OutgoingEvent, atMs: number): void {
    const destinations = this.#deps.destinations.listening(event.kind, event.type);
    if (destinations.length === 0) return;
    this.#awaited.set(event.id, new Set(destinations.map(({ id }) => id)));
    const { webhookDelayMs } = this.#deps.account.switches;
    const dueAt = atMs + (typeof webhookDelayMs === 'number' ? webhookDelayMs : webhookDelayMs(event));
    for (const destination of destinations) {
      this.#queue.push({ event, destination, attempt: 1, duplicate: false, dueAt, byHand: false });
    }
  }

  /** Sends an event again as a person does from the Dashboard: now, and whether or not it was taken before. */
  resend(event: OutgoingEvent): void {
    const dueAt = this.#deps.account.clock.now();
    for (const destination of this.#deps.destinations.listening(event.kind, event.type)) {
      this.#queue.push({ event, destination, attempt: 1, duplicate: true, dueAt, byHand: true });
    }
  }

  /** How many destinations have not taken this event yet. */
  awaited(eventId: string): number {
    return this.#awaited.get(eventId)?.size ?? 0;
  }

  /** When the next attempt is due; `undefined` where nothing is under way. */
  nextAt(): number | undefined {
    let next: number | undefined;
    for (const { dueAt } of this.#queue) next = Math.min(next ?? dueAt, dueAt);
    return next;
  }

  /** Every attempt so far. */
  log(): readonly DeliveryAttempt[] {
    return this.#log;
  }

  /** Makes every attempt that is due by the clock, one after another; what they make due at once included. */
  deliverDue(): Promise<DeliveryAttempt[]> {
    return this.#send(() => {
      const now = this.#deps.account.clock.now();
      return ({ dueAt }) => dueAt <= now;
    });
  }

  /** Makes every attempt without waiting for its time, until each event is taken or given up. */
  settle(): Promise<DeliveryAttempt[]> {
    return this.#send(() => () => true);
  }

  /** One caller sends at a time, so that the order is the queue's whoever asks. */
  #send(chooser: () => (delivery: Delivery) => boolean): Promise<DeliveryAttempt[]> {
    const run = (): Promise<DeliveryAttempt[]> => this.#sendRounds(chooser);
    const sent = this.#sending.then(run, run);
    this.#sending = sent;
    return sent;
  }

  async #sendRounds(chooser: () => (delivery: Delivery) => boolean): Promise<DeliveryAttempt[]> {
    const attempts: DeliveryAttempt[] = [];
    while (!this.#deps.stopping.aborted) {
      const isChosen = chooser();
      const round = this.#inOrder(this.#queue.filter(isChosen));
      if (round.length === 0) break;
      this.#queue = this.#queue.filter((delivery) => !isChosen(delivery));
      for (const delivery of round) attempts.push(await this.#attempt(delivery));
    }
    return attempts;
  }

  #inOrder(deliveries: Delivery[]): Delivery[] {
    const sorted = deliveries.sort((a, b) => a.dueAt - b.dueAt);
    if (this.#deps.account.switches.webhookOrder === 'created') return sorted;
    for (let last = sorted.length - 1; last > 0; last -= 1) {
      const other = Math.floor(this.#deps.random.next() * (last + 1));
      const [a, b] = [sorted[last], sorted[other]];
      if (a !== undefined && b !== undefined) [sorted[last], sorted[other]] = [b, a];
    }
    return sorted;
  }

  async #attempt(delivery: Delivery): Promise<DeliveryAttempt> {
    const { account, stopping } = this.#deps;
    const { event, destination, attempt, duplicate } = delivery;
    const at = account.clock.now();
    const { webhookV0: withV0, webhookSecondV1: withSecondV1 } = account.switches;
    const timestamp = Math.floor(at / 1000);
    const { secret, url } = destination;
    const signature = signatureHeader({ body: event.body, secret, timestamp, withV0, withSecondV1 });
    const result = await post({ url, body: event.body, signature, signal: stopping });
    const made: DeliveryAttempt = {
      eventId: event.id,
      type: event.type,
      kind: event.kind,
      destinationId: destination.id,
      url,
      attempt,
      duplicate,
      at,
      signature,
      body: event.body,
      status: 'status' in result ? result.status : undefined,
      error: 'error' in result ? result.error : undefined,
      outcome: this.#followUp(delivery, result),
    };
    this.#log.push(made);
    return made;
  }

  /** "Any non-2xx is a failure"; retries follow with a growing pause (Stripe docs, Webhooks). */
  #followUp(delivery: Delivery, result: PostResult): DeliveryAttempt['outcome'] {
    const { account, random } = this.#deps;
    const now = account.clock.now();
    const isTaken = 'status' in result && result.status >= 200 && result.status < 300;
    if (isTaken) {
      if (!delivery.duplicate && random.next() < account.switches.webhookDuplicates) {
        this.#queue.push({ ...delivery, duplicate: true, dueAt: now });
      }
      this.#take(delivery, now);
      return 'delivered';
    }
    const pause = account.switches.webhookBackoffMs[delivery.attempt - 1];
    if (delivery.byHand || pause === undefined) return 'given-up';
    this.#queue.push({ ...delivery, attempt: delivery.attempt + 1, dueAt: now + pause });
    return 'retried';
  }

  #take({ event, destination }: Delivery, now: number): void {
    const awaited = this.#awaited.get(event.id);
    if (awaited?.delete(destination.id) !== true || awaited.size > 0) return;
    this.#awaited.delete(event.id);
    this.#onTaken(event.id, now);
  }
}
