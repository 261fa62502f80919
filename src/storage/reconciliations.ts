import type { Collection, Db } from 'mongodb';
import type { HealAction, HourDifference, Verdict } from '../domain/reconciliation.ts';

/** One reconciliation run: its counts, and what was done about drift. */
export interface ReconciliationDocument {
  _id: string;
  startedAt: Date;
  endedAt?: Date;
  mode: 'heal' | 'report';
  input: Record<string, unknown>;
  reads: number;
  verdicts: Partial<Record<Verdict, number>>;
  /** Customer-hours whose aggregates differed from raw facts. */
  aggregates: { checked: number; requeued: number; person: AggregateDifference[] };
  healed: number;
  waiting: number;
}

export interface AggregateDifference {
  customerId: string;
  meter: string;
  windowStart?: Date;
  stored: { quantity: string; eventCount: number };
  raw: { quantity: string; eventCount: number };
}

/** One comparison of a run: both numbers, always. Quantities as text. */
export interface ReconciliationRow {
  _id: { run: string; customerId: string; meter: string; periodStart: Date };
  from: Date;
  to: Date;
  verdict: Verdict;
  local: string;
  delivered: string;
  inFlight: string;
  blocked: string;
  rejected: string;
  stripe?: string;
  hours: HourDifference[];
  note?: string;
  plan: HealAction[];
  applied: boolean;
}

/** What is remembered of a pair between runs. */
export interface ReconciliationPair {
  _id: { customerId: string; meter: string; periodStart: Date };
  readAt: Date;
  verdict: Verdict;
  /** The ledger's fingerprint at the last match: while it stands, nothing has to be read again. */
  matchedFingerprint?: string;
  /** Stripe's total at the last match. */
  matchedTotal?: string;
  /** The first of two reads that have to agree. */
  firstRead?: { at: Date; fingerprint: string; hours: { hourMs: number; stripe: string; delivered: string }[] };
  /** When the second read may be made. */
  rereadAt?: Date;
}

export const RECONCILIATIONS = 'reconciliations';
export const RECONCILIATION_ROWS = 'reconciliation_rows';
export const RECONCILIATION_PAIRS = 'reconciliation_pairs';

export class Reconciliations {
  readonly #runs: Collection<ReconciliationDocument>;
  readonly #rows: Collection<ReconciliationRow>;
  readonly #pairs: Collection<ReconciliationPair>;

  constructor(db: Db) {
    this.#runs = db.collection<ReconciliationDocument>(RECONCILIATIONS);
    this.#rows = db.collection<ReconciliationRow>(RECONCILIATION_ROWS);
    this.#pairs = db.collection<ReconciliationPair>(RECONCILIATION_PAIRS);
  }

  async saveRun(run: ReconciliationDocument): Promise<void> {
    await this.#runs.replaceOne({ _id: run._id }, run, { upsert: true });
  }

  async saveRow(row: ReconciliationRow): Promise<void> {
    await this.#rows.replaceOne({ _id: row._id }, row, { upsert: true });
  }

  findRun(id: string): Promise<ReconciliationDocument | null> {
    return this.#runs.findOne({ _id: id });
  }

  /** Newest first. */
  listRuns(query: { before?: Date; limit: number }): Promise<ReconciliationDocument[]> {
    return this.#runs
      .find(query.before === undefined ? {} : { startedAt: { $lt: query.before } })
      .sort({ startedAt: -1 })
      .limit(query.limit)
      .toArray();
  }

  /** The rows of a run in order, after a given one. */
  listRows(query: {
    run: string;
    after?: ReconciliationRow['_id'];
    verdict?: Verdict;
    limit: number;
  }): Promise<ReconciliationRow[]> {
    const from = query.after ?? { run: query.run, customerId: '', meter: '', periodStart: new Date(-8.64e15) };
    const to = { run: `${query.run}\u0000`, customerId: '', meter: '', periodStart: new Date(-8.64e15) };
    return this.#rows
      .find({ _id: { $gt: from, $lt: to }, ...(query.verdict !== undefined && { verdict: query.verdict }) })
      .sort({ _id: 1 })
      .limit(query.limit)
      .toArray();
  }

  async pairs(customerIds: readonly string[]): Promise<ReconciliationPair[]> {
    return this.#pairs.find({ '_id.customerId': { $in: [...customerIds] } }).toArray();
  }

  async savePair(pair: ReconciliationPair): Promise<void> {
    await this.#pairs.replaceOne({ _id: pair._id }, pair, { upsert: true });
  }

  /** When the next second read may be made, if any waits. */
  async nextRereadAt(): Promise<Date | undefined> {
    const next = await this.#pairs.findOne({ rereadAt: { $exists: true } }, { sort: { rereadAt: 1 } });
    return next?.rereadAt;
  }
}
