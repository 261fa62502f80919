import type { Db } from 'mongodb';
import type { EntryMove, OutboxEntry } from './outbox-entry.ts';
import { canonicalQuantity } from '../platform/quantity.ts';
import { stateAfter } from './submission.ts';
import {
  type ChangeFields,
  type MeterSubmissionDocument,
  MeterSubmissions,
  type SubmissionMove,
} from './meter-submissions-store.ts';
import { MoveBatches } from './move-batches-store.ts';

/** The outbox as the sending job works with it: which fields each change sets is decided here, once. */
export class OutboxEntries {
  readonly #submissions: MeterSubmissions;
  readonly #moves: MoveBatches;

  constructor(db: Db) {
    this.#submissions = new MeterSubmissions(db);
    this.#moves = new MoveBatches(this.#submissions);
  }

  /** Those that may be tried now; `flush`: those never tried do not wait for their time. */
  async listDue(query: {
    nowMs: number;
    firstAttemptMinMs: number;
    limit: number;
    customerId?: string;
    flush?: boolean;
  }): Promise<OutboxEntry[]> {
    const { nowMs, firstAttemptMinMs, ...rest } = query;
    const instants = { now: new Date(nowMs), firstAttemptMin: new Date(firstAttemptMinMs) };
    return (await this.#submissions.listDue({ ...rest, ...instants })).map(toEntry);
  }

  /** Those of these that may be tried now. */
  async findDue(
    identifiers: readonly string[],
    query: { nowMs: number; firstAttemptMinMs: number; flush?: boolean },
  ): Promise<OutboxEntry[]> {
    const { nowMs, firstAttemptMinMs, ...rest } = query;
    const instants = { now: new Date(nowMs), firstAttemptMin: new Date(firstAttemptMinMs) };
    return (await this.#submissions.findDue(identifiers, { ...rest, ...instants })).map(toEntry);
  }

  async find(identifier: string): Promise<OutboxEntry | undefined> {
    const found = await this.#submissions.find(identifier);
    return found === null ? undefined : toEntry(found);
  }

  async findAll(identifiers: readonly string[]): Promise<OutboxEntry[]> {
    return identifiers.length === 0 ? [] : (await this.#submissions.findAll(identifiers)).map(toEntry);
  }

  async nextDueAtMs(firstAttemptMinMs: number, customerId?: string): Promise<number | undefined> {
    return (await this.#submissions.nextDueAt(new Date(firstAttemptMinMs), customerId))?.getTime();
  }

  async listSendingSince(beforeMs: number, limit: number): Promise<OutboxEntry[]> {
    return (await this.#submissions.listSendingSince(new Date(beforeMs), limit)).map(toEntry);
  }

  async *blocked(batchSize: number, customerId?: string): AsyncGenerator<OutboxEntry[]> {
    for await (const batch of this.#submissions.inState('blocked', batchSize, customerId)) yield batch.map(toEntry);
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

/** A stored submission as the jobs work with it. */
export function toEntry(document: MeterSubmissionDocument): OutboxEntry {
  return {
    identifier: document._id,
    customerId: document.customerId,
    meter: document.meter,
    value: canonicalQuantity(document.value.toString()),
    timestampMs: document.timestamp.getTime(),
    state: document.state,
    ...(document.mode !== undefined && { mode: document.mode }),
    ...(document.reason !== undefined && { reason: document.reason }),
    ...(document.dueAt && { dueAtMs: document.dueAt.getTime() }),
    attempts: document.attempts,
    storedAnswers: document.storedAnswers,
    declines: document.declines,
    isDoubtful: document.doubtful === true,
    ...(document.firstAttemptAt && { firstAttemptAtMs: document.firstAttemptAt.getTime() }),
    ...(document.lastAttemptAt && { lastAttemptAtMs: document.lastAttemptAt.getTime() }),
    ...(document.stripeCustomerId !== undefined && { stripeCustomerId: document.stripeCustomerId }),
    ...(document.stripeMeterId !== undefined && { stripeMeterId: document.stripeMeterId }),
    row: {
      subject: document.subject,
      customerId: document.customerId,
      meter: document.meter,
      startMs: document.subjectStart.getTime(),
    },
  };
}

/** The entry once a change took effect, as far as the next change depends on it. */
function entryAfter({ entry, change, atMs, attempt }: EntryMove): OutboxEntry {
  const state = stateAfter(entry.state, change) ?? entry.state;
  const isAttempt = change === 'attempt';
  return {
    ...entry,
    state,
    attempts: entry.attempts + (isAttempt ? 1 : 0),
    isDoubtful: entry.isDoubtful || change === 'lose-answer',
    ...(isAttempt && { lastAttemptAtMs: atMs }),
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
    ...(move.actor !== undefined && { actor: move.actor }),
    ...fieldsOf(move),
  };
}

function fieldsOf(move: EntryMove): ChangeFields {
  const { entry } = move;
  const isDue = move.dueAtMs !== undefined;
  const due = isDue ? { dueAt: new Date(move.dueAtMs) } : {};
  const notDue: readonly 'dueAt'[] = isDue ? [] : ['dueAt'];
  const why = { ...(move.reason && { reason: move.reason }), ...(move.message && { message: move.message }) };
  const stored = move.isAnswerStored === true && { increment: { storedAnswers: 1 } };
  switch (move.change) {
    case 'attempt':
      return { set: attemptFields(move), increment: { attempts: 1 } };
    case 'accept':
    case 'find-duplicate':
      return { set: { acceptedAt: new Date(move.atMs) }, unset: ['dueAt', 'reason', 'message'] };
    case 'lose-answer':
      return { set: { ...due, ...why, doubtful: true }, ...stored };
    case 'decline':
      // Nothing happened: the 24 hours in which Stripe knows the identifier have not begun.
      return { set: { ...due, ...why }, unset: ['firstAttemptAt'], increment: { declines: 1 } };
    case 'decline-in-doubt':
      return { set: { ...due, ...why }, ...(stored || { increment: { declines: 1 } }) };
    case 'postpone':
    case 'keep-rejected':
      return { set: { ...due, ...why } };
    case 'unblock':
      return { set: due, unset: ['reason', 'message'] };
    case 'block':
      // What Stripe refused for good was not counted, so it may wait for longer than Stripe knows its identifier.
      return { set: { ...due, ...why }, unset: [...notDue, 'firstAttemptAt', 'doubtful'], ...stored };
    case 'reject':
    case 'leave-undecided':
    case 'replace':
      return { set: { ...due, ...why }, unset: notDue, ...stored };
    case 'confirm':
      // No answer says when Stripe took it: at the last attempt, at the latest.
      return {
        set: {
          ...why,
          ...(entry.state === 'in_doubt' && { acceptedAt: new Date(entry.lastAttemptAtMs ?? move.atMs) }),
        },
        unset: ['dueAt'],
      };
  }
}

/** What is stored before the call. */
function attemptFields({ entry, atMs, attempt }: EntryMove): Partial<MeterSubmissionDocument> {
  const at = new Date(atMs);
  return {
    lastAttemptAt: at,
    ...(entry.firstAttemptAtMs === undefined && { firstAttemptAt: at }),
    ...(attempt && {
      idempotencyKey: attempt.idempotencyKey,
      stripeCustomerId: attempt.destination.stripeCustomerId,
      stripeMeterId: attempt.destination.meter.id,
      eventName: attempt.destination.meter.eventName,
    }),
  };
}
