import type { OutboxEntry } from '../outbox-entry.ts';

/** A submission on its way to a destination. */
export interface QueuedEntry<Target> {
  readonly lane: string;
  readonly entry: OutboxEntry;
  readonly target: Target;
}

interface Lane<Target> {
  readonly waiting: QueuedEntry<Target>[];
  isBusy: boolean;
}

/**
 * What waits to be sent, by lane: one Stripe customer and meter each. A lane gives out one submission at a time, oldest
 * first, and lanes take turns, so that neither a long one nor a late one holds up the others.
 */
export class LaneQueue<Target> {
  readonly #lanes = new Map<string, Lane<Target>>();
  /** Lanes that wait and are not busy, in the order of their turns. */
  readonly #ready = new Set<string>();
  /** Identifiers that wait or were given out. */
  readonly #known = new Set<string>();
  #size = 0;

  /** How many wait. */
  get size(): number {
    return this.#size;
  }

  /** Whether a submission waits here or was given out and is not done. */
  has(identifier: string): boolean {
    return this.#known.has(identifier);
  }

  /** Adds those that are not here yet; returns how many. */
  add(entries: readonly QueuedEntry<Target>[]): number {
    const touched = new Set<Lane<Target>>();
    let added = 0;
    for (const queued of entries) {
      if (this.#known.has(queued.entry.identifier)) continue;
      this.#known.add(queued.entry.identifier);
      const lane = this.#laneOf(queued.lane);
      lane.waiting.push(queued);
      touched.add(lane);
      if (!lane.isBusy) this.#ready.add(queued.lane);
      added += 1;
    }
    for (const { waiting } of touched) waiting.sort((a, b) => a.entry.timestampMs - b.entry.timestampMs);
    this.#size += added;
    return added;
  }

  /** Gives out the oldest of the lane whose turn it is; the lane is busy until `finish`. */
  next(): QueuedEntry<Target> | undefined {
    const [name] = this.#ready;
    if (name === undefined) return undefined;
    this.#ready.delete(name);
    const lane = this.#laneOf(name);
    lane.isBusy = true;
    this.#size -= 1;
    return lane.waiting.shift();
  }

  /** Takes note that one that was given out is done, or, with `again`, that it has to be given out once more. */
  finish(queued: QueuedEntry<Target>, again = false): void {
    const lane = this.#laneOf(queued.lane);
    lane.isBusy = false;
    if (again) {
      lane.waiting.unshift(queued);
      this.#size += 1;
    } else {
      this.#known.delete(queued.entry.identifier);
    }
    if (lane.waiting.length > 0) this.#ready.add(queued.lane);
    else this.#lanes.delete(queued.lane);
  }

  /** Forgets what waits in a lane. */
  drop(name: string): void {
    const lane = this.#lanes.get(name);
    if (lane === undefined) return;
    for (const { entry } of lane.waiting) this.#known.delete(entry.identifier);
    this.#size -= lane.waiting.length;
    lane.waiting.length = 0;
    this.#ready.delete(name);
  }

  #laneOf(name: string): Lane<Target> {
    const found = this.#lanes.get(name);
    if (found !== undefined) return found;
    const lane: Lane<Target> = { waiting: [], isBusy: false };
    this.#lanes.set(name, lane);
    return lane;
  }
}
