import { DaemonError } from '../errors.ts';

/** Events and bytes of one insert. */
const COMMIT_EVENTS_MAX = 1_000;
const COMMIT_BYTES_MAX = 4 * 1024 * 1024;
/** Inserts in flight: a second one keeps the server busy while the answer of the first is on its way. */
export const COMMITS_IN_FLIGHT_MAX = 2;
/** A further insert waits for this share of the events that are usually queued and in flight. */
const COMMIT_SHARE_MIN = 0.4;

/** Part of one request's events, waiting for a commit. */
interface Slice<Item, Outcome> {
  readonly items: readonly Item[];
  readonly bytes: number;
  readonly finish: (outcomes: Outcome[]) => void;
  readonly fail: (error: unknown) => void;
}

/**
 * Group commit: whatever arrives while an insert is in flight goes out together. There is no timer, so an idle process
 * adds no delay and a busy one fills its inserts.
 */
export class GroupCommit<Item, Outcome> {
  readonly #store: (items: readonly Item[]) => Promise<Outcome[]>;
  readonly #queueBytesMax: number;
  readonly #queue: Slice<Item, Outcome>[] = [];
  #queuedBytes = 0;
  #queuedItems = 0;
  #inFlight = 0;
  #itemsInFlight = 0;
  /** Events queued and in flight, as commits of late have found them. */
  #usualItems = 0;
  #idle: (() => void)[] = [];

  /**
   * @param store makes one commit durable and returns an outcome for each of its items.
   * @param queueBytesMax bytes that may wait for a commit.
   */
  constructor(store: (items: readonly Item[]) => Promise<Outcome[]>, queueBytesMax: number) {
    this.#store = store;
    this.#queueBytesMax = queueBytesMax;
  }

  /** Bytes of events that wait for a commit. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /**
   * Stores events and tells of each what became of it, once that is durable.
   * @param bytes the size of the input they came from, for the bounds.
   * @throws DaemonError `transient` when no durable answer can be given; sending the same again is safe.
   */
  async append(items: readonly Item[], bytes: number): Promise<Outcome[]> {
    if (items.length === 0) return [];
    if (this.#queuedBytes + bytes > this.#queueBytesMax) {
      throw new DaemonError({
        kind: 'transient',
        code: 'ingest_queue_full',
        message: 'More events wait to be stored than this process may hold.',
        context: { queuedBytes: this.#queuedBytes },
      });
    }
    const slices: Promise<Outcome[]>[] = [];
    for (let from = 0; from < items.length; from += COMMIT_EVENTS_MAX) {
      const part = items.slice(from, from + COMMIT_EVENTS_MAX);
      slices.push(this.#enqueue(part, Math.ceil((bytes * part.length) / items.length)));
    }
    return (await Promise.all(slices)).flat();
  }

  /** Waits until everything queued is answered. */
  async whenIdle(): Promise<void> {
    while (this.#inFlight > 0 || this.#queue.length > 0) {
      await new Promise<void>((resolve) => this.#idle.push(resolve));
    }
  }

  #enqueue(items: readonly Item[], bytes: number): Promise<Outcome[]> {
    return new Promise((finish, fail) => {
      this.#queue.push({ items, bytes, finish, fail });
      this.#queuedBytes += bytes;
      this.#queuedItems += items.length;
      this.#pump();
    });
  }

  #pump(): void {
    while (this.#queue.length > 0 && this.#mayCommit()) {
      const slices = this.#takeSlices();
      const count = slices.reduce((sum, { items }) => sum + items.length, 0);
      this.#inFlight += 1;
      this.#queuedItems -= count;
      this.#itemsInFlight += count;
      void this.#commit(slices).finally(() => {
        this.#usualItems = this.#usualItems * 0.8 + (this.#queuedItems + this.#itemsInFlight) * 0.2;
        this.#inFlight -= 1;
        this.#itemsInFlight -= count;
        for (const slice of slices) this.#queuedBytes -= slice.bytes;
        this.#pump();
        if (this.#inFlight === 0) for (const wake of this.#idle.splice(0)) wake();
      });
    }
  }

  /**
   * The first commit goes out at once. One more while it is in flight waits for its share of what usually comes, so
   * that the commits in flight are alike: else every second one would carry a single request.
   */
  #mayCommit(): boolean {
    if (this.#inFlight === 0) return true;
    return this.#inFlight < COMMITS_IN_FLIGHT_MAX && this.#queuedItems >= this.#usualItems * COMMIT_SHARE_MIN;
  }

  #takeSlices(): Slice<Item, Outcome>[] {
    let events = 0;
    let bytes = 0;
    let count = 0;
    for (const slice of this.#queue) {
      events += slice.items.length;
      bytes += slice.bytes;
      if (count > 0 && (events > COMMIT_EVENTS_MAX || bytes > COMMIT_BYTES_MAX)) break;
      count += 1;
    }
    return this.#queue.splice(0, count);
  }

  /** Answers every slice, one way or the other; never throws. */
  async #commit(slices: readonly Slice<Item, Outcome>[]): Promise<void> {
    try {
      const items = slices.flatMap((slice) => slice.items);
      const outcomes = await this.#store(items);
      let from = 0;
      for (const slice of slices) {
        slice.finish(outcomes.slice(from, from + slice.items.length));
        from += slice.items.length;
      }
    } catch (error) {
      for (const slice of slices) slice.fail(error);
    }
  }
}
