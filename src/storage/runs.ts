import type { Collection, Db } from 'mongodb';
import { translated } from './errors.ts';

export type RunState = 'queued' | 'running' | 'succeeded' | 'failed';

/** The history of jobs: what ran, when, and what came of it. A queued run is found again here when Redis lost it. */
export interface RunDocument {
  _id: string;
  job: string;
  trigger: 'tick' | 'request' | 'sweep' | 'follow-up';
  state: RunState;
  input: Record<string, unknown>;
  queuedAt: Date;
  startedAt?: Date;
  endedAt?: Date;
  attempts: number;
  /** How far it has come. */
  progress?: { done: number; total: number };
  result?: Record<string, unknown>;
  error?: { code: string; message: string };
}

export const RUNS = 'runs';
/** Failures in a row are counted up to here. */
const FAILURES_COUNTED_MAX = 100;

export class Runs {
  readonly #collection: Collection<RunDocument>;

  constructor(db: Db) {
    this.#collection = db.collection<RunDocument>(RUNS);
  }

  async insert(run: RunDocument): Promise<void> {
    await translated(this.#collection.insertOne(run));
  }

  find(id: string): Promise<RunDocument | null> {
    return translated(this.#collection.findOne({ _id: id }));
  }

  async start(run: Pick<RunDocument, '_id' | 'job' | 'trigger' | 'input'>, at: Date): Promise<void> {
    await translated(
      this.#collection.updateOne(
        { _id: run._id },
        {
          $set: { state: 'running', startedAt: at },
          $inc: { attempts: 1 },
          $unset: { endedAt: 1, error: 1, progress: 1 },
          $setOnInsert: { job: run.job, trigger: run.trigger, input: run.input, queuedAt: at },
        },
        { upsert: true },
      ),
    );
  }

  async report(id: string, progress: NonNullable<RunDocument['progress']>): Promise<void> {
    await translated(this.#collection.updateOne({ _id: id, state: 'running' }, { $set: { progress } }));
  }

  async succeed(id: string, result: Record<string, unknown>, at: Date): Promise<void> {
    await translated(this.#collection.updateOne({ _id: id }, { $set: { state: 'succeeded', result, endedAt: at } }));
  }

  async fail(id: string, error: { code: string; message: string }, at: Date): Promise<void> {
    await translated(this.#collection.updateOne({ _id: id }, { $set: { state: 'failed', error, endedAt: at } }));
  }

  /** Requested runs that nobody has begun, oldest first. */
  listQueued(limit: number): Promise<RunDocument[]> {
    return translated(this.#collection.find({ state: 'queued' }).sort({ queuedAt: 1 }).limit(limit).toArray());
  }

  /** The last successful run of a job. */
  lastSuccess(job: string): Promise<RunDocument | null> {
    return translated(this.#collection.findOne({ job, state: 'succeeded' }, { sort: { startedAt: -1 } }));
  }

  /** The last run of a job that began, however it ended. */
  last(job: string): Promise<RunDocument | null> {
    return translated(this.#collection.findOne({ job, startedAt: { $exists: true } }, { sort: { startedAt: -1 } }));
  }

  /** How many runs of a job failed since one succeeded, as far as its last runs tell. */
  async failuresInARow(job: string): Promise<number> {
    const ended = this.#collection.find({ job, state: { $in: ['succeeded', 'failed'] }, startedAt: { $exists: true } });
    const last = await translated(
      ended
        .sort({ startedAt: -1 })
        .limit(FAILURES_COUNTED_MAX)
        .project<Pick<RunDocument, 'state'>>({ _id: 0, state: 1 })
        .toArray(),
    );
    const success = last.findIndex(({ state }) => state === 'succeeded');
    return success === -1 ? last.length : success;
  }

  /** Newest first. */
  list(limit: number): Promise<RunDocument[]> {
    return translated(this.#collection.find({}).sort({ startedAt: -1 }).limit(limit).toArray());
  }

  /** Removes runs that ended before an instant. */
  async prune(before: Date): Promise<number> {
    return (await translated(this.#collection.deleteMany({ endedAt: { $lt: before } }))).deletedCount;
  }
}
