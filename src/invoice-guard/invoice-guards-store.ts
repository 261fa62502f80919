import { type Collection, type Db, Decimal128, type Document, type Filter } from 'mongodb';
import type { GuardHistoryEntry, GuardRecord } from './guard-record.ts';
import type { GuardedLine, LineVerdict } from './guarded-line.ts';
import { type GuardState, newGuard, RELEASABLE_STATES } from './invoice-guard.ts';
import { canonicalQuantity, type Quantity } from '../platform/quantity.ts';
import { isDuplicateKey, toStorageError, translated } from '../platform/mongo/errors.ts';
import { findBySlices } from '../platform/mongo/slices.ts';

/** The guard of one invoice, kept for ever: it says why an invoice was held and who released it. */
export interface InvoiceGuardDocument {
  /** Stripe's id of the invoice. */
  _id: string;
  stripeCustomerId: string;
  customerId?: string;
  state: GuardState;
  finalizesAt?: Date;
  /** What `auto_advance` was before the hold; written before the call and never again. */
  previousAutoAdvance?: boolean;
  /** When it is looked at again; absent when nothing is left to be done. */
  checkAt?: Date;
  checks: number;
  holdAnswers: number;
  releaseAnswers: number;
  heldAt?: Date;
  releasedAt?: Date;
  releasedBy?: string;
  reason?: string;
  release?: { actor: string; reason: string; at: Date };
  differs?: true;
  lines: StoredGuardLine[];
  /** Why the last look came to nothing; absent after one that did not. */
  error?: { code: string; message: string };
  /** For compare-and-set. */
  revision: number;
  /** How often something was heard of the invoice: a look that began before does not put the next one off. */
  news: number;
  history: GuardHistoryEntry[];
  createdAt: Date;
  updatedAt: Date;
}

/** A line with both numbers. */
export interface StoredGuardLine {
  lineId: string;
  meter: string;
  stripeMeterId: string;
  from: Date;
  to: Date;
  local?: Decimal128;
  stripe?: Decimal128;
  billed?: Decimal128;
  verdict: LineVerdict;
  fingerprint?: string;
  note?: string;
}

export const INVOICE_GUARDS = 'invoice_guards';
/** Entries of `history` that are kept. */
const HISTORY_MAX = 50;
const OPEN_STATES: readonly GuardState[] = ['watching', 'passed', 'holding', 'held', 'releasing', 'released'];

export class InvoiceGuards {
  readonly #collection: Collection<InvoiceGuardDocument>;

  constructor(db: Db) {
    this.#collection = db.collection<InvoiceGuardDocument>(INVOICE_GUARDS);
  }

  find(invoiceId: string): Promise<InvoiceGuardDocument | null> {
    return translated(this.#collection.findOne({ _id: invoiceId }));
  }

  /** Has an invoice looked at, for the first time if it has no guard yet. */
  async wake(invoice: { _id: string; stripeCustomerId: string }, at: Date): Promise<void> {
    if (await this.#heard(invoice._id, at)) return;
    const { checks, holdAnswers, releaseAnswers, state } = newGuard(at.getTime());
    try {
      await this.#collection.insertOne({
        _id: invoice._id,
        stripeCustomerId: invoice.stripeCustomerId,
        state,
        checkAt: at,
        checks,
        holdAnswers,
        releaseAnswers,
        lines: [],
        revision: 1,
        news: 0,
        history: [{ at, state }],
        createdAt: at,
        updatedAt: at,
      });
    } catch (error) {
      if (!isDuplicateKey(error)) throw toStorageError(error);
      await this.#heard(invoice._id, at);
    }
  }

  /** Has a guard look again, unless nothing is left for it to do; returns whether there is one. */
  async #heard(invoiceId: string, at: Date): Promise<boolean> {
    const isIdle = { $and: [{ $eq: ['$state', 'final'] }, { $ne: ['$differs', true] }] };
    const wanted = [{ $set: { checkAt: { $cond: [isIdle, '$checkAt', at] }, news: { $add: ['$news', 1] } } }];
    return (await translated(this.#collection.updateOne({ _id: invoiceId }, wanted))).matchedCount === 1;
  }

  /** Those of these invoices that have no guard. */
  async unguarded(invoiceIds: readonly string[]): Promise<Set<string>> {
    const found = await findBySlices(invoiceIds, (slice) =>
      translated(this.#collection.find({ _id: { $in: slice } }, { projection: { _id: 1 } }).toArray()),
    );
    const guarded = new Set(found.map(({ _id }) => _id));
    return new Set(invoiceIds.filter((id) => !guarded.has(id)));
  }

  /** Guards that are to look now, the longest due first. */
  async due(at: Date, limit: number): Promise<GuardRecord[]> {
    const query = this.#collection.find({ checkAt: { $lte: at } }).sort({ checkAt: 1 });
    return (await translated(query.limit(limit).toArray())).map(toRecord);
  }

  async hasDue(at: Date): Promise<boolean> {
    const query = this.#collection.findOne({ checkAt: { $lte: at } }, { projection: { _id: 1 } });
    return (await translated(query)) !== null;
  }

  /** Stores what became of a guard since it was read; false when someone else was quicker. */
  async save(next: GuardRecord, previous: GuardRecord, at: Date): Promise<boolean> {
    const { guard } = next;
    const { checkAt, ...fields } = toFields(next);
    const { reason, releasedBy: actor } = guard;
    const entry = { at, state: guard.state, ...(reason && { reason }), ...(actor && { actor }) };
    const hasMoved = guard.state !== previous.guard.state;
    const update: Document[] = [
      {
        $set: {
          ...Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, literal(value)])),
          checkAt: { $cond: [{ $gt: ['$news', previous.news] }, at, literal(checkAt)] },
          revision: previous.revision + 1,
          updatedAt: at,
          error: '$$REMOVE',
          ...(hasMoved && {
            history: { $slice: [{ $concatArrays: ['$history', [{ $literal: entry }]] }, -HISTORY_MAX] },
          }),
        },
      },
    ];
    const filter = { _id: next.invoiceId, revision: previous.revision };
    return (await translated(this.#collection.updateOne(filter, update))).matchedCount === 1;
  }

  /** Puts off the look at a guard that nobody changed since it was read, and keeps what went wrong with it. */
  async postpone(record: GuardRecord, checkAt: Date, error: { code: string; message: string }): Promise<void> {
    const filter = { _id: record.invoiceId, revision: record.revision };
    const change = { $set: { checkAt, error }, $inc: { checks: 1, revision: 1 } };
    await translated(this.#collection.updateOne(filter, change));
  }

  /**
   * Records that a person releases an invoice; the guard does it at its next look, which is now.
   * @returns the guard as it is then, or null where there is none that can be released.
   */
  requestRelease(
    invoiceId: string,
    release: { actor: string; reason: string; at: Date },
  ): Promise<InvoiceGuardDocument | null> {
    const { actor, reason, at } = release;
    return translated(
      this.#collection.findOneAndUpdate(
        { _id: invoiceId, state: { $in: [...RELEASABLE_STATES] }, release: { $exists: false } },
        {
          $set: { release, checkAt: at, updatedAt: at },
          $inc: { revision: 1 },
          $push: { history: { at, state: 'release-requested', reason, actor } },
        },
        { returnDocument: 'after' },
      ),
    );
  }

  /** For the API, in order of invoice. */
  list(query: { state?: GuardState; after?: string; limit: number }): Promise<InvoiceGuardDocument[]> {
    const filter: Filter<InvoiceGuardDocument> = {
      ...(query.state !== undefined && { state: query.state }),
      ...(query.after !== undefined && { _id: { $gt: query.after } }),
    };
    return translated(this.#collection.find(filter).sort({ _id: 1 }).limit(query.limit).toArray());
  }

  /** How many there are in each state but `final`, and since when the longest. */
  async census(): Promise<{ state: GuardState; count: number }[]> {
    const stages = [
      { $match: { state: { $in: [...OPEN_STATES] } } },
      { $group: { _id: '$state', count: { $sum: 1 } } },
      { $sort: { _id: 1 } },
    ];
    const found = await translated(this.#collection.aggregate<{ _id: GuardState; count: number }>(stages).toArray());
    return found.map(({ _id: state, count }) => ({ state, count }));
  }

  /** How many final invoices do not bill what our figures say, of those looked at since an instant. */
  countDiffering(since: Date): Promise<number> {
    return translated(this.#collection.countDocuments({ differs: true, updatedAt: { $gte: since } }));
  }
}

/** A value in a pipeline; one that is absent removes the field. */
function literal(value: unknown): unknown {
  return value === undefined ? '$$REMOVE' : { $literal: value };
}

type Fields = Omit<InvoiceGuardDocument, '_id' | 'error' | 'revision' | 'news' | 'history' | 'createdAt' | 'updatedAt'>;

function toFields({ stripeCustomerId, customerId, guard, lines }: GuardRecord): {
  [Name in keyof Fields]-?: Fields[Name] | undefined;
} {
  const { release } = guard;
  return {
    stripeCustomerId,
    customerId,
    state: guard.state,
    finalizesAt: toDate(guard.finalizesAtMs),
    previousAutoAdvance: guard.previousAutoAdvance,
    checkAt: toDate(guard.checkAtMs),
    checks: guard.checks,
    holdAnswers: guard.holdAnswers,
    releaseAnswers: guard.releaseAnswers,
    heldAt: toDate(guard.heldAtMs),
    releasedAt: toDate(guard.releasedAtMs),
    releasedBy: guard.releasedBy,
    reason: guard.reason,
    release: release && { actor: release.actor, reason: release.reason, at: new Date(release.atMs) },
    differs: guard.differs,
    lines: lines.map(fromLine),
  };
}

function toRecord(document: InvoiceGuardDocument): GuardRecord {
  const { _id: invoiceId, stripeCustomerId, customerId, lines, revision, news, release } = document;
  const { finalizesAt, checkAt, heldAt, releasedAt, previousAutoAdvance, releasedBy, reason, differs } = document;
  const { state, checks, holdAnswers, releaseAnswers } = document;
  return {
    invoiceId,
    stripeCustomerId,
    ...(customerId !== undefined && { customerId }),
    guard: {
      state,
      checks,
      holdAnswers,
      releaseAnswers,
      ...(finalizesAt && { finalizesAtMs: finalizesAt.getTime() }),
      ...(checkAt && { checkAtMs: checkAt.getTime() }),
      ...(heldAt && { heldAtMs: heldAt.getTime() }),
      ...(releasedAt && { releasedAtMs: releasedAt.getTime() }),
      ...(previousAutoAdvance !== undefined && { previousAutoAdvance }),
      ...(releasedBy !== undefined && { releasedBy }),
      ...(reason !== undefined && { reason }),
      ...(release && { release: { actor: release.actor, reason: release.reason, atMs: release.at.getTime() } }),
      ...(differs && { differs }),
    },
    lines: lines.map(toLine),
    revision,
    news,
  };
}

function fromLine({ fromMs, toMs, local, stripe, billed, ...line }: GuardedLine): StoredGuardLine {
  return {
    ...line,
    from: new Date(fromMs),
    to: new Date(toMs),
    ...(local !== undefined && { local: Decimal128.fromString(local) }),
    ...(stripe !== undefined && { stripe: Decimal128.fromString(stripe) }),
    ...(billed !== undefined && { billed: Decimal128.fromString(billed) }),
  };
}

function toLine({ from, to, local, stripe, billed, ...line }: StoredGuardLine): GuardedLine {
  return {
    ...line,
    fromMs: from.getTime(),
    toMs: to.getTime(),
    ...(local && { local: toQuantity(local) }),
    ...(stripe && { stripe: toQuantity(stripe) }),
    ...(billed && { billed: toQuantity(billed) }),
  };
}

function toQuantity(value: Decimal128): Quantity {
  return canonicalQuantity(value.toString());
}

function toDate(instantMs: number | undefined): Date | undefined {
  return instantMs === undefined ? undefined : new Date(instantMs);
}
