import type { Collection, Db, Filter } from 'mongodb';
import type { HealAction } from './heal-plan.ts';
import type { HourDifference, Verdict } from './reconciliation.ts';
import { translated } from '../platform/mongo/errors.ts';
import { bySlices, findBySlices } from '../platform/mongo/slices.ts';
import type { UnbilledReason } from '../customers/unbilled-reason.ts';

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
  /** What people decided about plans that waited; kept for ever. */
  approvals?: ApprovalRecord[];
}

/** One decision about waiting plans: recorded before anything is carried out. */
export interface ApprovalRecord {
  id: string;
  actor: string;
  at: Date;
  reason?: string;
  /** Surplus that no submission of ours explains was to be taken back. */
  acceptSurplus?: true;
  rows: { customerId: string; meter: string; periodStart: Date }[];
  /** Corrections that were made; absent while they are being made, or after a stop. */
  applied?: number;
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
  /** When Stripe's figure was read: earlier than the run for a match that is remembered. */
  readAt?: Date;
  hours: HourDifference[];
  note?: string;
  /** Usage of the range that is at Stripe and that nothing bills. */
  unbilled?: { quantity: string; reasons: UnbilledReason[] };
  late: string;
  plan: HealAction[];
  applied: boolean;
  /** The plan waits for a person. */
  waits?: true;
  /** The decision about it. */
  approval?: string;
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
  /** The first of two reads of each differing hour, which have to agree. */
  readings?: { hourMs: number; at: Date; stripe: string; delivered: string; fingerprint: string }[];
  /** When the second read may be made. */
  rereadAt?: Date;
}

export const RECONCILIATIONS = 'reconciliations';
export const RECONCILIATION_ROWS = 'reconciliation_rows';
export const RECONCILIATION_PAIRS = 'reconciliation_pairs';

/** Inputs by which a run is about a part of the pairs only. */
const NARROWING: readonly string[] = ['customerId', 'fromMs', 'toMs', 'approves'];

/** Whether a run was over every customer and the usual periods. */
export function isWholeReconciliation({ input }: Pick<ReconciliationDocument, 'input'>): boolean {
  return NARROWING.every((name) => input[name] === undefined);
}

export class Reconciliations {
  readonly #runs: Collection<ReconciliationDocument>;
  readonly #rows: Collection<ReconciliationRow>;
  readonly #pairs: Collection<ReconciliationPair>;

  constructor(db: Db) {
    this.#runs = db.collection<ReconciliationDocument>(RECONCILIATIONS);
    this.#rows = db.collection<ReconciliationRow>(RECONCILIATION_ROWS);
    this.#pairs = db.collection<ReconciliationPair>(RECONCILIATION_PAIRS);
  }

  /** Stores the run as it stands; decisions about it are left alone. */
  async saveRun(run: ReconciliationDocument): Promise<void> {
    const { _id, ...fields } = run;
    await translated(this.#runs.updateOne({ _id }, { $set: fields }, { upsert: true }));
  }

  async saveRow(row: ReconciliationRow): Promise<void> {
    await translated(this.#rows.replaceOne({ _id: row._id }, row, { upsert: true }));
  }

  findRun(id: string): Promise<ReconciliationDocument | null> {
    return translated(this.#runs.findOne({ _id: id }));
  }

  /** Newest first. */
  listRuns(query: { before?: Date; limit: number }): Promise<ReconciliationDocument[]> {
    return translated(
      this.#runs
        .find(query.before === undefined ? {} : { startedAt: { $lt: query.before } })
        .sort({ startedAt: -1 })
        .limit(query.limit)
        .toArray(),
    );
  }

  /** The last run over every customer and the usual periods that came to its end. */
  lastWhole(): Promise<ReconciliationDocument | null> {
    const whole = Object.fromEntries(NARROWING.map((name) => [`input.${name}`, { $exists: false }]));
    return translated(this.#runs.findOne({ endedAt: { $exists: true }, ...whole }, { sort: { startedAt: -1 } }));
  }

  /** The rows of a run in order, after a given one. */
  listRows(query: {
    run: string;
    after?: ReconciliationRow['_id'];
    verdict?: Verdict;
    /** Only those whose plan waits for a person. */
    waits?: boolean;
    customerId?: string;
    meter?: string;
    limit: number;
  }): Promise<ReconciliationRow[]> {
    const from = query.after ?? { run: query.run, customerId: '', meter: '', periodStart: new Date(-8.64e15) };
    const to = { run: `${query.run}\u0000`, customerId: '', meter: '', periodStart: new Date(-8.64e15) };
    const { verdict, waits, customerId, meter } = query;
    const filter: Filter<ReconciliationRow> = {
      _id: { $gt: from, $lt: to },
      ...(verdict !== undefined && { verdict }),
      ...(waits === true && { waits: true }),
      ...(customerId !== undefined && { '_id.customerId': customerId }),
      ...(meter !== undefined && { '_id.meter': meter }),
    };
    return translated(this.#rows.find(filter).sort({ _id: 1 }).limit(query.limit).toArray());
  }

  /** Records a decision on the run, before it is carried out. */
  async recordApproval(run: string, approval: ApprovalRecord): Promise<void> {
    await translated(this.#runs.updateOne({ _id: run }, { $push: { approvals: approval } }));
  }

  /** Records what came of a decision: on the run, and on the rows whose plans no longer wait. */
  async finishApproval(
    run: string,
    approval: { id: string; applied: number; rows: ReconciliationRow['_id'][] },
  ): Promise<void> {
    const { id, applied, rows } = approval;
    await bySlices(rows, (slice) =>
      translated(
        this.#rows.updateMany(
          { _id: { $in: slice }, waits: true },
          { $set: { approval: id, applied: true }, $unset: { waits: 1 } },
        ),
      ),
    );
    await translated(
      this.#runs.updateOne({ _id: run, 'approvals.id': id }, { $set: { 'approvals.$.applied': applied } }),
    );
  }

  async pairs(customerIds: readonly string[]): Promise<ReconciliationPair[]> {
    return findBySlices(customerIds, (slice) =>
      translated(this.#pairs.find({ '_id.customerId': { $in: slice } }).toArray()),
    );
  }

  async savePair(pair: ReconciliationPair): Promise<void> {
    await translated(this.#pairs.replaceOne({ _id: pair._id }, pair, { upsert: true }));
  }

  /** When the next second read may be made, if any waits. */
  async nextRereadAt(): Promise<Date | undefined> {
    const next = await translated(this.#pairs.findOne({ rereadAt: { $exists: true } }, { sort: { rereadAt: 1 } }));
    return next?.rereadAt;
  }
}
