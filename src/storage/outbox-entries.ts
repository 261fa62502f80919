import type { Db } from 'mongodb';
import type { EntryMove, OutboxEntry } from '../domain/outbox-entry.ts';
import { canonicalQuantity } from '../domain/quantity.ts';
import { stateAfter } from '../domain/submission.ts';
import {
  type ChangeFields,
  type MeterSubmissionDocument,
  MeterSubmissions,
  type SubmissionMove,
} from './meter-submissions.ts';
import { MoveBatches } from './move-batches.ts';

/** The outbox as the sending job works with it: which fields each change sets is decided here, once. */
export class OutboxEntries {
  readonly #submissions: MeterSubmissions;
  readonly #moves: MoveBatches;

  constructor(db: Db) {
    this.#submissions = new MeterSubmissions(db);
    this.#moves = new MoveBatches(this.#submissions);
  }

  async listDue(query: { nowMs: number; firstAttemptMinMs: number; limit: number }): Promise<OutboxEntry[]> {
    const { nowMs, firstAttemptMinMs, limit } = query;
    const found = await this.#submissions.listDue({
      now: new Date(nowMs),
      firstAttemptMin: new Date(firstAttemptMinMs),
      limit,
    });
    return found.map(toEntry);
  }

  async nextDueAtMs(firstAttemptMinMs: number): Promise<number | undefined> {
    return (await this.#submissions.nextDueAt(new Date(firstAttemptMinMs)))?.getTime();
  }

  async listSendingSince(beforeMs: number, limit: number): Promise<OutboxEntry[]> {
    return (await this.#submissions.listSendingSince(new Date(beforeMs), limit)).map(toEntry);
  }

  async *blocked(batchSize: number): AsyncGenerator<OutboxEntry[]> {
    for await (const batch of this.#submissions.inState('blocked', batchSize)) yield batch.map(toEntry);
  }

  /** Makes one change; returns the entry as it is then, or undefined when another was quicker. */
  async move(move: EntryMove): Promise<OutboxEntry | undefined> {
    const isMade = await this.#moves.make(toSubmissionMove(move));
    return isMade ? entryAfter(move) : undefined;
  }

  moveAll(moves: readonly EntryMove[]): Promise<number> {
    return this.#submissions.moveAll(moves.map(toSubmissionMove));
  }
}

function toEntry(document: MeterSubmissionDocument): OutboxEntry {
  return {
    identifier: document._id,
    customerId: document.customerId,
    meter: document.meter,
    value: canonicalQuantity(document.value.toString()),
    timestampMs: document.timestamp.getTime(),
    state: document.state,
    attempts: document.attempts,
    storedAnswers: document.storedAnswers,
    declines: document.declines,
    isDoubtful: document.doubtful === true,
    ...(document.firstAttemptAt && { firstAttemptAtMs: document.firstAttemptAt.getTime() }),
    ...(document.stripeCustomerId !== undefined && { stripeCustomerId: document.stripeCustomerId }),
    ...(document.stripeMeterId !== undefined && { stripeMeterId: document.stripeMeterId }),
  };
}

/** The entry once a change took effect, by the fields that `fieldsOf` sets. */
function entryAfter({ entry, change, atMs, attempt }: EntryMove): OutboxEntry {
  const state = stateAfter(entry.state, change) ?? entry.state;
  const isAttempt = change === 'attempt';
  return {
    ...entry,
    state,
    attempts: entry.attempts + (isAttempt ? 1 : 0),
    isDoubtful: entry.isDoubtful || change === 'lose-answer',
    ...(isAttempt && entry.firstAttemptAtMs === undefined && { firstAttemptAtMs: atMs }),
    ...(attempt && {
      stripeCustomerId: attempt.destination.stripeCustomerId,
      stripeMeterId: attempt.destination.meter.id,
    }),
  };
}

function toSubmissionMove(move: EntryMove): SubmissionMove {
  const { entry } = move;
  return {
    id: entry.identifier,
    from: entry.state,
    attempts: entry.attempts,
    change: move.change,
    at: new Date(move.atMs),
    ...(move.reason !== undefined && { reason: move.reason }),
    ...fieldsOf(move),
  };
}

function fieldsOf(move: EntryMove): ChangeFields {
  const { entry } = move;
  const at = new Date(move.atMs);
  const due = move.dueAtMs === undefined ? {} : { dueAt: new Date(move.dueAtMs) };
  const why = { ...(move.reason && { reason: move.reason }), ...(move.message && { message: move.message }) };
  switch (move.change) {
    case 'attempt':
      return {
        set: {
          lastAttemptAt: at,
          ...(entry.firstAttemptAtMs === undefined && { firstAttemptAt: at }),
          ...(move.attempt && {
            idempotencyKey: move.attempt.idempotencyKey,
            stripeCustomerId: move.attempt.destination.stripeCustomerId,
            stripeMeterId: move.attempt.destination.meter.id,
            eventName: move.attempt.destination.meter.eventName,
          }),
        },
        increment: { attempts: 1 },
      };
    case 'accept':
    case 'find-duplicate':
      return { set: { acceptedAt: at }, unset: ['dueAt', 'reason', 'message'] };
    case 'lose-answer':
      return {
        set: { ...due, ...why, doubtful: true },
        ...(move.reason?.startsWith('http_') === true && { increment: { storedAnswers: 1 } }),
      };
    case 'decline':
      // Nothing happened: the 24 hours in which Stripe knows the identifier have not begun.
      return { set: { ...due, ...why }, unset: ['firstAttemptAt'], increment: { declines: 1 } };
    case 'decline-in-doubt':
      return { set: { ...due, ...why }, increment: { declines: 1 } };
    case 'unblock':
      return { set: due, unset: ['reason'] };
    case 'block':
    case 'reject':
      return {
        set: why,
        unset: ['dueAt'],
        ...(entry.state === 'sending' && { increment: { storedAnswers: 1 } }),
      };
    case 'confirm':
    case 'decide-uncounted':
    case 'replace':
      return { set: { ...due, ...why } };
  }
}
