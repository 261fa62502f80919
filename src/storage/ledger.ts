import { createHash } from 'node:crypto';
import { type Db, Decimal128, type Document, type Filter } from 'mongodb';
import { addQuantities, canonicalQuantity, type Quantity } from '../domain/quantity.ts';
import type { DeliveredSubmission } from '../domain/reconciliation.ts';
import {
  DELIVERED_STATES,
  IN_FLIGHT_STATES,
  replacementIdentifier,
  type SubmissionState,
} from '../domain/submission.ts';
import { HOUR_MS } from '../domain/window.ts';
import { METER_SUBMISSIONS, type MeterSubmissionDocument, MeterSubmissions } from './meter-submissions.ts';

/** A customer's meter over a range of timestamps `[fromMs, toMs)`. */
export interface LedgerScope {
  readonly customerId: string;
  readonly meter: string;
  readonly fromMs: number;
  readonly toMs: number;
}

export interface LedgerSums {
  readonly delivered: Quantity;
  readonly inFlight: Quantity;
  readonly blocked: Quantity;
  readonly rejected: Quantity;
  readonly fingerprint: string;
  readonly lastAttemptAtMs?: number;
}

/** Our submissions as a ledger: sums by state, by hour, and the moves that mend it. */
export class Ledger {
  readonly #db: Db;
  readonly #submissions: MeterSubmissions;

  constructor(db: Db) {
    this.#db = db;
    this.#submissions = new MeterSubmissions(db);
  }

  /** Every customer that has submissions, in order, in pages. */
  async customerIds(): Promise<string[]> {
    return (await this.#db.collection(METER_SUBMISSIONS).distinct('customerId')) as string[];
  }

  /** Sums over a scope. Top-ups make up for values that Stripe lost, so they do not count as delivered once more. */
  async sums(scope: LedgerScope): Promise<LedgerSums> {
    const found = await this.#db
      .collection(METER_SUBMISSIONS)
      .aggregate<{
        _id: { state: SubmissionState; heal: boolean };
        value: Decimal128;
        count: number;
        attempts: number;
        last: Date | null;
      }>([
        { $match: filterOf(scope) },
        {
          $group: {
            _id: { state: '$state', heal: { $eq: ['$subject', 'heal'] } },
            value: { $sum: '$value' },
            count: { $sum: 1 },
            attempts: { $sum: '$attempts' },
            last: { $max: '$lastAttemptAt' },
          },
        },
      ])
      .toArray();
    const sum = (states: readonly SubmissionState[], heal: boolean): Quantity =>
      addQuantities(
        '0',
        ...found
          .filter(({ _id }) => states.includes(_id.state) && _id.heal === heal)
          .map(({ value }) => canonicalQuantity(value.toString())),
      );
    const lastAttemptAtMs = Math.max(...found.map(({ last }) => last?.getTime() ?? 0), 0);
    const inFlight = addQuantities(sum(IN_FLIGHT_STATES, false), sum(IN_FLIGHT_STATES, true));
    const delivered = sum(DELIVERED_STATES, false);
    const blocked = sum(['blocked'], false);
    const rejected = sum(['rejected'], false);
    const counts = found.reduce((total, { count }) => total + count, 0);
    const attempts = found.reduce((total, entry) => total + entry.attempts, 0);
    return {
      delivered,
      inFlight,
      blocked,
      rejected,
      fingerprint: [delivered, inFlight, blocked, rejected, counts, attempts, lastAttemptAtMs].join(' '),
      ...(lastAttemptAtMs > 0 && { lastAttemptAtMs }),
    };
  }

  /** Delivered values by UTC hour of their timestamp. */
  async deliveredByHour(scope: LedgerScope): Promise<Map<number, Quantity>> {
    const found = await this.#db
      .collection(METER_SUBMISSIONS)
      .aggregate<{ _id: Date; value: Decimal128 }>([
        { $match: { ...filterOf(scope), state: { $in: [...DELIVERED_STATES] }, subject: { $ne: 'heal' } } },
        { $group: { _id: { $dateTrunc: { date: '$timestamp', unit: 'hour' } }, value: { $sum: '$value' } } },
      ])
      .toArray();
    return new Map(found.map(({ _id, value }) => [_id.getTime(), canonicalQuantity(value.toString())]));
  }

  /**
   * When a submission of an hour was last attempted, and whether one is still on its way. A top-up counts as on its way
   * also while it is blocked: else the same shortfall would be made up for twice.
   */
  async attemptsOfHour(
    scope: LedgerScope,
    hourMs: number,
  ): Promise<{ isUnanswered: boolean; lastAttemptAtMs?: number }> {
    const hour = { ...scope, fromMs: hourMs, toMs: hourMs + HOUR_MS };
    const { lastAttemptAtMs } = await this.sums(hour);
    const unanswered = await this.#db.collection<MeterSubmissionDocument>(METER_SUBMISSIONS).findOne({
      ...filterOf(hour),
      $or: [{ state: { $in: [...IN_FLIGHT_STATES] } }, { state: 'blocked', subject: 'heal' }],
    });
    return { isUnanswered: unanswered !== null, ...(lastAttemptAtMs !== undefined && { lastAttemptAtMs }) };
  }

  /** The delivered submissions of an hour. */
  async deliveredOfHour(scope: LedgerScope, hourMs: number): Promise<DeliveredSubmission[]> {
    const found = await this.#db
      .collection<MeterSubmissionDocument>(METER_SUBMISSIONS)
      .find({
        ...filterOf({ ...scope, fromMs: hourMs, toMs: hourMs + HOUR_MS }),
        state: { $in: [...DELIVERED_STATES] },
        subject: { $ne: 'heal' },
      })
      .sort({ _id: 1 })
      .toArray();
    return found.map(({ _id, value }) => ({ identifier: _id, value: canonicalQuantity(value.toString()) }));
  }

  /** Confirms what a matching total was seen to contain. */
  async confirm(scope: LedgerScope, at: Date): Promise<void> {
    await this.#db
      .collection<MeterSubmissionDocument>(METER_SUBMISSIONS)
      .updateMany(
        { ...filterOf(scope), state: { $in: ['accepted', 'duplicate'] } },
        { $set: { state: 'confirmed' }, $push: { history: { $each: [{ at, change: 'confirm' }], $slice: -20 } } },
      );
  }

  /**
   * Replaces a submission that Stripe did not count: first the move (by compare-and-set, naming the successor), then
   * the successor. A stop in between leaves `replacementPending`, which `finishReplacements` mends; so a submission
   * never has two successors, and never none for long.
   * @returns whether this call made the move.
   */
  async replace(identifier: string, reason: string, at: Date): Promise<boolean> {
    const original = await this.#submissions.find(identifier);
    if (original === null || original.state === 'replaced') return false;
    const replacedBy = replacementIdentifier(identifier);
    const moved = await this.#submissions.move({
      id: identifier,
      from: original.state,
      attempts: original.attempts,
      change: 'replace',
      at,
      reason,
      set: { replacedBy, replacementPending: true },
    });
    if (moved === null) return false;
    await this.#insertReplacement(moved, at);
    return true;
  }

  /** Makes successors that a stopped process named and did not make; returns how many. */
  async finishReplacements(at: Date): Promise<number> {
    const pending = await this.#db
      .collection<MeterSubmissionDocument>(METER_SUBMISSIONS)
      .find({ replacementPending: true })
      .toArray();
    for (const original of pending) await this.#insertReplacement(original, at);
    return pending.length;
  }

  async #insertReplacement(original: MeterSubmissionDocument, at: Date): Promise<void> {
    await this.#submissions.insertAll([successorOf(original, at)]);
    await this.#db
      .collection<MeterSubmissionDocument>(METER_SUBMISSIONS)
      .updateOne({ _id: original._id }, { $unset: { replacementPending: 1 } });
  }

  /**
   * Adds a meter event for a shortfall that no submission explains. Its id comes from the destination, the hour and how
   * many top-ups the hour has had, so that all who find the same drift make the same one.
   */
  async topUp(input: {
    scope: LedgerScope;
    hourMs: number;
    value: Quantity;
    installation: string;
    at: Date;
  }): Promise<boolean> {
    const { scope, hourMs, at } = input;
    const hour = filterOf({ ...scope, fromMs: hourMs, toMs: hourMs + HOUR_MS });
    const earlier = await this.#db
      .collection(METER_SUBMISSIONS)
      .countDocuments({ ...hour, subject: 'heal' } as Filter<Document>);
    const stamp = new Date(hourMs).toISOString().replace(/[-:]/g, '').slice(0, 11);
    const existing = await this.#submissions.insertAll([
      {
        _id: `${input.installation}:heal:${hashOf(`${scope.customerId}\u001f${scope.meter}`)}:${stamp}:${earlier + 1}`,
        customerId: scope.customerId,
        meter: scope.meter,
        subject: 'heal',
        subjectStart: new Date(hourMs),
        sequence: earlier + 1,
        fromQuantity: Decimal128.fromString('0'),
        toQuantity: Decimal128.fromString(input.value),
        value: Decimal128.fromString(input.value),
        timestamp: new Date(hourMs),
        state: 'planned',
        dueAt: at,
        attempts: 0,
        storedAnswers: 0,
        declines: 0,
        history: [],
        plannedAt: at,
      },
    ]);
    return existing.size === 0;
  }
}

function filterOf(scope: LedgerScope): Filter<MeterSubmissionDocument> {
  return {
    customerId: scope.customerId,
    meter: scope.meter,
    timestamp: { $gte: new Date(scope.fromMs), $lt: new Date(scope.toMs) },
  };
}

function successorOf(original: MeterSubmissionDocument, at: Date): MeterSubmissionDocument {
  const { customerId, meter, subject, subjectStart, sequence, fromQuantity, toQuantity, value, timestamp } = original;
  return {
    _id: original.replacedBy ?? replacementIdentifier(original._id),
    customerId,
    meter,
    subject,
    subjectStart,
    sequence,
    fromQuantity,
    toQuantity,
    value,
    timestamp,
    replaces: original._id,
    state: 'planned',
    dueAt: at,
    attempts: 0,
    storedAnswers: 0,
    declines: 0,
    history: [],
    plannedAt: at,
  };
}

function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('base64url').slice(0, 27);
}
