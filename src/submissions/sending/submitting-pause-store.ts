import type { Collection, Db } from 'mongodb';
import { translated } from '../../platform/mongo/errors.ts';

interface SubmittingPauseDocument {
  _id: 'submitting-pause';
  pausedAt: Date;
  reason?: string;
}

/** Since when, and why, nothing is sent to Stripe. */
export interface SubmittingPause {
  readonly pausedAt: Date;
  readonly reason?: string;
}

const INSTALLATION = 'installation';
const PAUSE = { _id: 'submitting-pause' } as const;

/** Whether a person stopped submitting. Stored with the data: it holds for every process, and over restarts. */
export class SubmittingPauses {
  readonly #collection: Collection<SubmittingPauseDocument>;

  constructor(db: Db) {
    this.#collection = db.collection<SubmittingPauseDocument>(INSTALLATION);
  }

  /** The pause in force, if there is one. */
  async find(): Promise<SubmittingPause | undefined> {
    const document = await translated(this.#collection.findOne(PAUSE));
    return document === null ? undefined : toPause(document);
  }

  /** Pauses. One that is in force stays as it is, and is what this returns. */
  async pause(reason: string | undefined, at: Date): Promise<SubmittingPause> {
    const document = await translated(
      this.#collection.findOneAndUpdate(
        PAUSE,
        { $setOnInsert: { pausedAt: at, ...(reason !== undefined && { reason }) } },
        { upsert: true, returnDocument: 'after' },
      ),
    );
    return document === null ? { pausedAt: at } : toPause(document);
  }

  /** Ends the pause; returns whether there was one. */
  async resume(): Promise<boolean> {
    return (await translated(this.#collection.deleteOne(PAUSE))).deletedCount === 1;
  }
}

function toPause({ pausedAt, reason }: SubmittingPauseDocument): SubmittingPause {
  return { pausedAt, ...(reason !== undefined && { reason }) };
}
