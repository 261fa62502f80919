import { createHash } from 'node:crypto';
import { type Collection, type Db, Decimal128, type Filter } from 'mongodb';
import { boundary } from '../../platform/boundary.ts';
import type { Cancellation } from './cancellation.ts';
import { canonicalQuantity, type Quantity, subtractQuantities } from '../../platform/quantity.ts';
import { HOUR_MS } from '../../platform/durations.ts';
import { translated } from '../../platform/mongo/errors.ts';
import {
  METER_SUBMISSIONS,
  type MeterSubmissionDocument,
  MeterSubmissions,
  plannedNow,
} from '../meter-submissions-store.ts';

/** The nth heal of a customer's meter in an hour: the same for all who find the same drift. */
export interface HealIdentity {
  readonly installation: string;
  readonly customerId: string;
  readonly meter: string;
  /** Start of the hour, or of its part in the compared range. */
  readonly hourMs: number;
  readonly number: number;
}

/** A submission that was replaced and counted all the same, and what was done about it. */
export interface ReplacedSubmission {
  readonly identifier: string;
  readonly eventName?: string;
  readonly lastAttemptAtMs: number;
  /** Calls to cancel it so far. */
  readonly cancelAttempts: number;
  readonly isOffset: boolean;
}

type Submission = MeterSubmissionDocument;

/**
 * Corrections of what Stripe holds. Each is decided by one write that only one process can make: the insert of an id
 * that follows from the hour and the number of the heal, or a compare-and-set on the one submission that it is about.
 */
export class Corrections {
  readonly #collection: Collection<Submission>;
  readonly #submissions: MeterSubmissions;

  constructor(db: Db) {
    this.#collection = db.collection<Submission>(METER_SUBMISSIONS);
    this.#submissions = new MeterSubmissions(db);
  }

  /** Adds a meter event for a difference that no submission explains; false when it exists already. */
  async topUp(input: { heal: HealIdentity; timestampMs: number; value: Quantity; at: Date }): Promise<boolean> {
    const { heal, timestampMs, value, at } = input;
    const identifier = healIdentifier(heal);
    const made = healDocument({ ...heal, identifier, value, timestamp: new Date(timestampMs), at });
    return (await this.#submissions.insertAll([made])).size === 0;
  }

  /** A submission that may have to be taken back; undefined when it was not replaced. */
  async findReplaced(identifier: string): Promise<ReplacedSubmission | undefined> {
    const found = await this.#submissions.find(identifier);
    if (found?.state !== 'replaced') return undefined;
    return {
      identifier,
      lastAttemptAtMs: found.lastAttemptAt?.getTime() ?? 0,
      cancelAttempts: found.cancellation?.attempts ?? 0,
      isOffset: found.offset !== undefined,
      ...(found.eventName !== undefined && { eventName: found.eventName }),
    };
  }

  /**
   * Records that a cancellation is about to be called, before it is.
   * @param cancelAttempts calls so far, as the caller knows: false when there was another, or a negative delta, since.
   */
  async recordCancellation(identifier: string, cancelAttempts: number, at: Date): Promise<boolean> {
    return this.#update(untouched(identifier, cancelAttempts), {
      cancellation: { state: 'calling', at, attempts: cancelAttempts + 1 },
    });
  }

  /** Records what came of the nth call. */
  async settleCancellation(
    identifier: string,
    attempts: number,
    outcome: { state: Exclude<Cancellation['state'], 'calling'>; reason?: string },
  ): Promise<boolean> {
    return this.#update(
      { _id: identifier, 'cancellation.attempts': attempts, 'cancellation.state': 'calling' },
      {
        'cancellation.state': outcome.state,
        ...(outcome.reason !== undefined && { 'cancellation.reason': outcome.reason }),
      },
    );
  }

  /**
   * Takes a replaced submission back by a negative delta with its timestamp: names it on the submission, then makes it.
   * A stop in between leaves `offsetPending`, which `finishOffsets` mends.
   * @param cancelAttempts as for `recordCancellation`; so a cancellation and a negative delta exclude each other.
   * @returns whether this call decided it.
   */
  async offset(
    identifier: string,
    decided: { cancelAttempts: number; heal: HealIdentity; at: Date },
  ): Promise<boolean> {
    const { heal, cancelAttempts, at } = decided;
    const offset = { by: healIdentifier(heal), hour: new Date(heal.hourMs), number: heal.number };
    const isDecided = await this.#update(untouched(identifier, cancelAttempts), { offset, offsetPending: true });
    if (!isDecided) return false;
    await boundary('correct.offset-named');
    const original = await this.#submissions.find(identifier);
    if (original !== null) await this.#makeOffset(original, at);
    return true;
  }

  /** Makes negative deltas that a stopped process named and did not make; returns how many. */
  async finishOffsets(at: Date): Promise<number> {
    const pending = await translated(this.#collection.find({ offsetPending: true }).toArray());
    for (const original of pending) await this.#makeOffset(original, at);
    return pending.length;
  }

  async #makeOffset(original: Submission, at: Date): Promise<void> {
    const { _id, customerId, meter, timestamp, offset } = original;
    if (offset === undefined) return;
    const value = subtractQuantities('0', canonicalQuantity(original.value.toString()));
    const { by: identifier, number } = offset;
    const hourMs = offset.hour.getTime();
    const made = healDocument({ identifier, customerId, meter, hourMs, number, value, timestamp, at });
    await this.#submissions.insertAll([made]);
    await translated(this.#collection.updateOne({ _id }, { $unset: { offsetPending: 1 } }));
  }

  async #update(filter: Filter<Submission>, set: Record<string, unknown>): Promise<boolean> {
    const { modifiedCount } = await translated(this.#collection.updateOne(filter, { $set: set }));
    return modifiedCount === 1;
  }
}

/** A replaced submission about which nothing was done but this many calls to cancel it. */
function untouched(identifier: string, cancelAttempts: number): Filter<Submission> {
  return {
    _id: identifier,
    state: 'replaced',
    offset: { $exists: false },
    ...(cancelAttempts === 0
      ? { cancellation: { $exists: false } }
      : { 'cancellation.attempts': cancelAttempts, 'cancellation.state': { $ne: 'done' } }),
  };
}

function healIdentifier({ installation, customerId, meter, hourMs, number }: HealIdentity): string {
  const digits = new Date(hourMs).toISOString().replace(/[-:]/g, '');
  const stamp = digits.slice(0, hourMs % HOUR_MS === 0 ? 11 : 15);
  return `${installation}:heal:${hashOf(`${customerId}\u001f${meter}`)}:${stamp}:${number}`;
}

function healDocument(made: {
  identifier: string;
  customerId: string;
  meter: string;
  hourMs: number;
  number: number;
  value: Quantity;
  timestamp: Date;
  at: Date;
}): Submission {
  return {
    _id: made.identifier,
    customerId: made.customerId,
    meter: made.meter,
    subject: 'heal',
    subjectStart: new Date(made.hourMs),
    sequence: made.number,
    fromQuantity: Decimal128.fromString('0'),
    toQuantity: Decimal128.fromString(made.value),
    value: Decimal128.fromString(made.value),
    timestamp: made.timestamp,
    ...plannedNow(made.at),
  };
}

function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('base64url').slice(0, 27);
}
