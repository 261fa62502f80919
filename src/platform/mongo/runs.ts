import type { Collection, Db, Filter } from 'mongodb';
import { narrowingInputs } from './run-scope.ts';
import { translated } from './errors.ts';

export type RunState = 'queued' | 'running' | 'succeeded' | 'failed';

/** What began a run: its schedule, the sweep that found work, what went before, or somebody who asked for it. */
export type RunTrigger = 'tick' | 'sweep' | 'follow-up' | 'request';

/** The history of jobs: what ran, when, and what came of it. A queued run is found again here when Redis lost it. */
export interface RunDocument {
  _id: string;
  job: string;
  trigger: RunTrigger;
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

  /** Has a run that began wait to be begun again. */
  async requeue(id: string): Promise<void> {
    await translated(this.#collection.updateOne({ _id: id, state: 'running' }, { $set: { state: 'queued' } }));
  }

  async fail(id: string, error: { code: string; message: string }, at: Date): Promise<void> {
    await translated(this.#collection.updateOne({ _id: id }, { $set: { state: 'failed', error, endedAt: at } }));
  }

  /** Requested runs that nobody has begun, oldest first. */
  listQueued(limit: number): Promise<RunDocument[]> {
    return translated(this.#collection.find({ state: 'queued' }).sort({ queuedAt: 1 }).limit(limit).toArray());
  }

  /** The last successful run of a job over everything. */
  lastSuccess(job: string): Promise<RunDocument | null> {
    return this.#lastWhole(job, { state: 'succeeded' });
  }

  /**
   * The last run of a job over everything that came to an end, well or not; where there is none yet, the one that is under
   * way. A run over one customer, or a dry run, does not stand for it.
   */
  async lastOutcome(job: string): Promise<RunDocument | null> {
    const ended = await this.#lastWhole(job, { state: { $in: ['succeeded', 'failed'] } });
    return ended ?? this.#lastWhole(job, { state: 'running' });
  }

  #lastWhole(job: string, filter: Filter<RunDocument>): Promise<RunDocument | null> {
    return translated(this.#collection.findOne({ job, ...filter, ...wholeRuns(job) }, { sort: { startedAt: -1 } }));
  }

  /** Every job that has a run. */
  jobs(): Promise<string[]> {
    return translated(this.#collection.distinct('job'));
  }

  /** The last run of a job that began, however it ended. */
  last(job: string): Promise<RunDocument | null> {
    return translated(this.#collection.findOne({ job, startedAt: { $exists: true } }, { sort: { startedAt: -1 } }));
  }

  /** How many runs of a job over everything failed since one succeeded, as far as its last runs tell. */
  async failuresInARow(job: string): Promise<number> {
    const isEnded = { state: { $in: ['succeeded' as const, 'failed' as const] }, startedAt: { $exists: true } };
    const ended = this.#collection.find({ job, ...isEnded, ...wholeRuns(job) });
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

/** Runs of a job over everything: one over a single customer, or a dry run, says nothing of the rest. */
function wholeRuns(job: string): Filter<RunDocument> {
  const whole = Object.fromEntries(narrowingInputs(job).map((name) => [`input.${name}`, { $exists: false }]));
  return { ...whole, 'input.dryRun': { $ne: true }, 'input.apply': { $ne: false } };
}
