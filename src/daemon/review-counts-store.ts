import type { Collection, Db } from 'mongodb';
import { isWholeRun } from '../platform/mongo/run-scope.ts';
import { translated } from '../platform/mongo/errors.ts';
import { installedAtMs } from '../platform/mongo/installation.ts';
import { METER_SUBMISSIONS, type MeterSubmissionDocument } from '../submissions/meter-submissions-store.ts';
import { RUNS, type RunDocument } from '../platform/mongo/runs.ts';

/** Runs of the history that are looked at for failures in a row. */
const RUNS_READ_MAX = 500;

/** A customer whose usage waits for a mapping. */
export interface UnmappedCustomer {
  readonly customerId: string;
  /** Submissions that wait. */
  readonly blocked: number;
  /** When the oldest of them was planned. */
  readonly since: Date;
}

/** What the list of things that wait for a human asks beyond what the stores of their nouns tell. */
export class ReviewCounts {
  readonly #db: Db;
  readonly #submissions: Collection<MeterSubmissionDocument>;
  readonly #runs: Collection<RunDocument>;

  constructor(db: Db) {
    this.#db = db;
    this.#submissions = db.collection<MeterSubmissionDocument>(METER_SUBMISSIONS);
    this.#runs = db.collection<RunDocument>(RUNS);
  }

  /** Rejected submissions that nothing has replaced, by Stripe's reason. */
  async rejectedReasons(): Promise<{ reason: string; count: number; sinceMs: number; customers: string[] }[]> {
    const found = this.#submissions.aggregate<{ _id: string | null; count: number; since: Date; first: string }>([
      { $match: { state: 'rejected' } },
      {
        $group: {
          _id: '$reason',
          count: { $sum: 1 },
          since: { $min: '$plannedAt' },
          first: { $min: '$customerId' },
        },
      },
      { $sort: { _id: 1 } },
    ]);
    return (await translated(found.toArray())).map(({ _id, count, since, first }) => ({
      reason: _id ?? 'unknown',
      count,
      sinceMs: since.getTime(),
      customers: [first],
    }));
  }

  /** The first customers, in order of id, whose submissions are blocked for a reason. */
  async blockedCustomers({ reason, limit }: { reason: string; limit: number }): Promise<string[]> {
    const found = this.#submissions.aggregate<{ _id: string }>([
      { $match: { state: 'blocked', reason } },
      { $group: { _id: '$customerId' } },
      { $sort: { _id: 1 } },
      { $limit: limit },
    ]);
    return (await translated(found.toArray())).map(({ _id }) => _id);
  }

  /**
   * Customers with usage that has nowhere to go because no Stripe customer is mapped, in order of id, after one: also
   * those that nobody told us about, whose usage simply came.
   */
  async unmappedCustomers(query: { after?: string; limit: number }): Promise<UnmappedCustomer[]> {
    const { after, limit } = query;
    const scope = after === undefined ? {} : { customerId: { $gt: after } };
    const found = this.#submissions.aggregate<{ _id: string; blocked: number; since: Date }>([
      { $match: { state: 'blocked', reason: 'customer_not_mapped', ...scope } },
      { $group: { _id: '$customerId', blocked: { $sum: 1 }, since: { $min: '$plannedAt' } } },
      { $sort: { _id: 1 } },
      { $limit: limit },
    ]);
    return (await translated(found.toArray())).map(({ _id, ...rest }) => ({ customerId: _id, ...rest }));
  }

  /** The newest runs over everything that began, newest first: one over a single customer says nothing of a job. */
  async latestRuns(): Promise<
    { job: string; state: string; endedAtMs?: number; error?: NonNullable<RunDocument['error']> }[]
  > {
    const found = this.#runs
      .find({ startedAt: { $exists: true } }, { projection: { job: 1, state: 1, endedAt: 1, error: 1, input: 1 } })
      .sort({ startedAt: -1 })
      .limit(RUNS_READ_MAX);
    const whole = (await translated(found.toArray())).filter(({ job, input }) => isWholeRun(job, input));
    return whole.map(({ job, state, endedAt, error }) => ({
      job,
      state,
      ...(endedAt && { endedAtMs: endedAt.getTime() }),
      ...(error && { error }),
    }));
  }

  /** When this installation was made, UTC milliseconds; undefined before a daemon was started on it. */
  beganMs(): Promise<number | undefined> {
    return installedAtMs(this.#db);
  }
}
