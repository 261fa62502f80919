import type { Collection, Db } from 'mongodb';
import { translated } from './errors.ts';

/** Who beats: a worker that took the heartbeat from the queue, and the sweep that lists what is due. */
export type Heart = 'worker' | 'sweep';

interface HeartbeatDocument {
  _id: Heart;
  at: Date;
}

const HEARTBEATS = 'heartbeats';

/** When the parts that nobody waits for were last at work, over all processes. */
export class Heartbeats {
  readonly #collection: Collection<HeartbeatDocument>;

  constructor(db: Db) {
    this.#collection = db.collection<HeartbeatDocument>(HEARTBEATS);
  }

  async beat(heart: Heart, at: Date): Promise<void> {
    await translated(this.#collection.updateOne({ _id: heart }, { $max: { at } }, { upsert: true }));
  }

  /** The last beat of each; one that never beat is left out. */
  async last(): Promise<Partial<Record<Heart, Date>>> {
    const beats = await translated(this.#collection.find({}).toArray());
    return Object.fromEntries(beats.map(({ _id, at }) => [_id, at]));
  }

  /**
   * Has a majority acknowledge a write that changes nothing: a server that answers a ping may have lost it.
   * @throws DaemonError `store_unavailable`.
   */
  async proveMajority(): Promise<void> {
    await translated(
      this.#collection.updateOne({ _id: 'worker', at: { $exists: false } }, { $set: { at: new Date(0) } }),
    );
  }
}
