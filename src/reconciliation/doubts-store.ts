import type { Collection, Db, Filter } from 'mongodb';
import type { DestinationHour } from './doubt.ts';
import type { LedgerEntry } from '../submissions/ledger-entry.ts';
import type { OutboxEntry } from '../submissions/outbox-entry.ts';
import type { HourReading } from './reconciliation.ts';
import { DAY_MS, HOUR_MS } from '../platform/durations.ts';
import { translated } from '../platform/mongo/errors.ts';
import { toLedgerEntry } from '../submissions/ledger-store.ts';
import { METER_SUBMISSIONS, type MeterSubmissionDocument } from '../submissions/meter-submissions-store.ts';
import { toEntry } from '../submissions/outbox-entries-store.ts';

/** The first of two readings of an hour with submissions in doubt. */
interface DoubtReadingDocument {
  _id: { stripeCustomerId: string; stripeMeterId: string; hour: Date };
  at: Date;
  /** Quantities as text. */
  delivered: string;
  stripe: string;
  fingerprint: string;
  /** The reading was confirmed and decides nothing: while the ledger stands, there is nothing to read again. */
  undecided?: true;
}

export const DOUBT_READINGS = 'doubt_readings';
/** Readings this old are of no use: the hour is decided, or a person will. */
const READING_AGE_MS_MAX = 35 * DAY_MS;

/** What deciding a doubt reads and remembers. */
export class Doubts {
  readonly #submissions: Collection<MeterSubmissionDocument>;
  readonly #readings: Collection<DoubtReadingDocument>;

  constructor(db: Db) {
    this.#submissions = db.collection<MeterSubmissionDocument>(METER_SUBMISSIONS);
    this.#readings = db.collection<DoubtReadingDocument>(DOUBT_READINGS);
  }

  /** Submissions in doubt that were first tried by an instant, longest first; those left to a person, or the others. */
  async list(query: { firstAttemptMax: Date; isUndecided: boolean; limit: number }): Promise<OutboxEntry[]> {
    const { firstAttemptMax, isUndecided, limit } = query;
    const found = this.#submissions
      .find({ ...pastTrying(firstAttemptMax), reason: isUndecided ? 'undecided' : { $ne: 'undecided' } })
      .sort({ firstAttemptAt: 1 })
      .limit(limit);
    return (await translated(found.toArray())).map(toEntry);
  }

  /** Whether a submission waits to be decided, or a rejected one to be looked at. */
  async hasWork(firstAttemptMax: Date, now: Date): Promise<boolean> {
    const filter: Filter<MeterSubmissionDocument> = {
      $or: [
        { ...pastTrying(firstAttemptMax), reason: { $ne: 'undecided' } },
        { state: 'rejected', dueAt: { $lte: now } },
      ],
    };
    return (await translated(this.#submissions.findOne(filter, { projection: { _id: 1 } }))) !== null;
  }

  /** How many wait for a person. */
  countUndecided(): Promise<number> {
    return translated(this.#submissions.countDocuments({ state: 'in_doubt', reason: 'undecided' }));
  }

  /** Rejected submissions whose cause is to be looked at, longest due first. */
  async listRejectedDue(now: Date, limit: number): Promise<OutboxEntry[]> {
    const found = this.#submissions
      .find({ state: 'rejected', dueAt: { $lte: now } })
      .sort({ dueAt: 1 })
      .limit(limit);
    return (await translated(found.toArray())).map(toEntry);
  }

  /** Every submission that may be part of Stripe's total of an hour, and those that may become part of it. */
  async ledgerOf(hour: DestinationHour, row: { customerId: string; meter: string }): Promise<LedgerEntry[]> {
    const { stripeCustomerId, stripeMeterId, hourMs } = hour;
    const timestamp = { $gte: new Date(hourMs), $lt: new Date(hourMs + HOUR_MS) };
    const unsent = { $exists: false };
    const filter: Filter<MeterSubmissionDocument> = {
      $or: [
        { stripeCustomerId, stripeMeterId, timestamp },
        { customerId: row.customerId, meter: row.meter, stripeCustomerId: unsent, timestamp },
      ],
    };
    return (await translated(this.#submissions.find(filter).sort({ _id: 1 }).toArray())).map(toLedgerEntry);
  }

  async reading(hour: DestinationHour): Promise<{ reading: HourReading; isUndecided: boolean } | undefined> {
    const found = await translated(this.#readings.findOne({ _id: idOf(hour) }));
    if (found === null) return undefined;
    const { at, delivered, stripe, fingerprint } = found;
    return {
      reading: { hourMs: hour.hourMs, atMs: at.getTime(), delivered, stripe, fingerprint },
      isUndecided: found.undecided === true,
    };
  }

  async saveReading(hour: DestinationHour, reading: HourReading, isUndecided = false): Promise<void> {
    const { atMs, delivered, stripe, fingerprint } = reading;
    const fields = {
      at: new Date(atMs),
      delivered,
      stripe,
      fingerprint,
      ...(isUndecided && { undecided: true as const }),
    };
    await translated(this.#readings.replaceOne({ _id: idOf(hour) }, fields, { upsert: true }));
  }

  async forget(hour: DestinationHour): Promise<void> {
    await translated(this.#readings.deleteOne({ _id: idOf(hour) }));
  }

  /** Removes readings that nobody came back to. */
  async prune(now: Date): Promise<void> {
    await translated(this.#readings.deleteMany({ at: { $lt: new Date(now.getTime() - READING_AGE_MS_MAX) } }));
  }
}

function pastTrying(firstAttemptMax: Date): Filter<MeterSubmissionDocument> {
  return { state: 'in_doubt', firstAttemptAt: { $lte: firstAttemptMax } };
}

/** One constructor: the order of the fields matters. */
function idOf({ stripeCustomerId, stripeMeterId, hourMs }: DestinationHour): DoubtReadingDocument['_id'] {
  return { stripeCustomerId, stripeMeterId, hour: new Date(hourMs) };
}
