import type { ObjectId } from 'mongodb';
import { boundary } from '../platform/boundary.ts';
import type { Clock } from '../platform/clock.ts';
import type { UsageEvent } from './usage-event.ts';
import { DaemonError } from '../platform/errors.ts';
import { type DirtyHours, DIRTY_PAIRS_PER_ENTRY_MAX, toPairText } from './dirty-hours-store.ts';
import { COMMITS_IN_FLIGHT_MAX, GroupCommit } from '../platform/mongo/group-commit.ts';
import { type UsageEventDocument, usageEventId, type UsageEvents } from './usage-events-store.ts';

/** How long one journal entry takes on the pairs of new commits before it is sealed. */
const ENTRY_SPAN_MS_MAX = 3_000;
/** Share of duplicates in recent commits beyond which keys are looked up before the insert (a refused insert costs mongod about six times a new one). */
const LOOKUP_SHARE = 0.2;

export type AppendOutcome = 'accepted' | 'duplicate' | 'conflict';

/** A journal entry of this process that still takes pairs or waits for its inserts. */
interface OpenEntry {
  id: ObjectId | undefined;
  readonly pairs: Set<string>;
  readonly openedAtMs: number;
  /** Commits that rely on the entry and have not been answered. */
  pending: number;
  sealed: boolean;
  /** An insert under this entry had no clear answer: it must stay open. */
  failed: boolean;
}

export interface UsageLogParts {
  readonly events: UsageEvents;
  readonly dirtyHours: DirtyHours;
  readonly clock: Clock;
  /** Bytes of events that may wait for a commit. */
  readonly queueBytesMax: number;
  /** Told when a journal entry could not be closed. */
  readonly onCloseFailed: (error: unknown) => void;
}

/**
 * Appends usage events with group commit: whatever arrives while an insert is in flight goes out together. There is no
 * timer, so an idle process adds no delay and a busy one fills its inserts.
 *
 * Each commit first makes sure that the journal names its (hour, customer) pairs, then inserts, then makes sure that
 * the journal entry still stands, and only then answers.
 */
export class UsageLog {
  readonly #events: UsageEvents;
  readonly #dirtyHours: DirtyHours;
  readonly #clock: Clock;
  readonly #onCloseFailed: (error: unknown) => void;
  readonly #commits: GroupCommit<UsageEventDocument, AppendOutcome>;
  #duplicateShare = 0;
  #entry: OpenEntry | undefined;
  readonly #closing = new Set<Promise<void>>();

  constructor(parts: UsageLogParts) {
    this.#events = parts.events;
    this.#dirtyHours = parts.dirtyHours;
    this.#clock = parts.clock;
    this.#commits = new GroupCommit((documents) => this.#store(documents), parts.queueBytesMax);
    this.#onCloseFailed = parts.onCloseFailed;
  }

  /** Bytes of events that wait for a commit. */
  get queuedBytes(): number {
    return this.#commits.queuedBytes;
  }

  /**
   * Stores events and tells of each what became of it, once that is durable.
   * @param bytes the size of the input they came from, for the bounds.
   * @throws DaemonError `transient` when no durable answer can be given; sending the same again is safe.
   */
  append(documents: readonly UsageEventDocument[], bytes: number): Promise<AppendOutcome[]> {
    return this.#commits.append(documents, bytes);
  }

  /** Of each event the one that is durably stored under its key; undefined where there is none (yet). */
  async findStored(events: readonly UsageEvent[]): Promise<(UsageEvent | undefined)[]> {
    const ids = events.map(({ idempotencyKey, customerId }) => usageEventId(idempotencyKey, customerId));
    const stored = await this.#events.find(ids);
    return ids.map((id) => stored.get(id));
  }

  /** Waits until everything queued is answered and every entry of this process is closed. */
  async drain(): Promise<void> {
    await this.#commits.whenIdle();
    if (this.#entry !== undefined) this.#seal(this.#entry);
    while (this.#closing.size > 0) await Promise.all(this.#closing);
  }

  async #store(documents: readonly UsageEventDocument[]): Promise<AppendOutcome[]> {
    const pairs = [...new Set(documents.map((document) => toPairText(document)))];
    const entry = await this.#cover(pairs);
    await boundary('ingest.journal-written');
    try {
      const outcomes = await this.#insert(documents);
      await boundary('ingest.events-inserted');
      await this.#confirm(entry, pairs);
      await boundary('ingest.journal-confirmed');
      return outcomes;
    } catch (error) {
      entry.failed = true;
      if (this.#entry === entry) this.#entry = undefined;
      throw error;
    } finally {
      entry.pending -= 1;
      this.#closeWhenDone(entry);
    }
  }

  /** Makes sure that a majority holds a journal entry which names all the pairs. */
  async #cover(pairs: readonly string[]): Promise<OpenEntry> {
    const entry = this.#currentEntry(pairs);
    entry.pending += 1;
    const missing = pairs.filter((pair) => !entry.pairs.has(pair));
    try {
      if (entry.id === undefined) entry.id = await this.#dirtyHours.open(missing, new Date(entry.openedAtMs));
      else if (missing.length > 0 && !(await this.#dirtyHours.add(entry.id, missing))) {
        throw new DaemonError({
          kind: 'transient',
          code: 'journal_entry_lost',
          message: 'A journal entry was given up.',
        });
      }
    } catch (error) {
      entry.pending -= 1;
      entry.failed = true;
      if (this.#entry === entry) this.#entry = undefined;
      throw error;
    }
    for (const pair of missing) entry.pairs.add(pair);
    return entry;
  }

  /** The entry to write to: the present one, unless it is too old, too full, or is only just being created. */
  #currentEntry(pairs: readonly string[]): OpenEntry {
    const current = this.#entry;
    const nowMs = this.#clock.now();
    if (
      current?.id !== undefined &&
      nowMs - current.openedAtMs < ENTRY_SPAN_MS_MAX &&
      current.pairs.size + pairs.length * COMMITS_IN_FLIGHT_MAX <= DIRTY_PAIRS_PER_ENTRY_MAX
    ) {
      return current;
    }
    if (current !== undefined) this.#seal(current);
    const entry: OpenEntry = {
      id: undefined,
      pairs: new Set(),
      openedAtMs: nowMs,
      pending: 0,
      sealed: false,
      failed: false,
    };
    this.#entry = entry;
    setTimeout(() => this.#seal(entry), ENTRY_SPAN_MS_MAX).unref();
    return entry;
  }

  async #insert(documents: readonly UsageEventDocument[]): Promise<AppendOutcome[]> {
    const outcomes = new Array<AppendOutcome>(documents.length).fill('accepted');
    let candidates = documents.map((_, index) => index);
    if (this.#duplicateShare > LOOKUP_SHARE) {
      const known = await this.#events.fingerprintsOf(documents.map((document) => document._id));
      candidates = candidates.filter((index) => !this.#compare(documents[index], known, { outcomes, index }));
    }
    const results = await this.#events.insertAll(candidates.map((index) => documents[index] as UsageEventDocument));
    const storedBefore = candidates.filter((_, position) => results[position] === 'stored-before');
    if (storedBefore.length > 0) {
      const known = await this.#events.fingerprintsOf(storedBefore.map((index) => documents[index]?._id ?? ''));
      for (const index of storedBefore) {
        if (!this.#compare(documents[index], known, { outcomes, index })) {
          throw new DaemonError({
            kind: 'transient',
            code: 'store_unavailable',
            message: 'An event with this key is being stored and is not durable yet.',
          });
        }
      }
    }
    const repeated = outcomes.filter((outcome) => outcome !== 'accepted').length / documents.length;
    this.#duplicateShare = this.#duplicateShare * 0.7 + repeated * 0.3;
    return outcomes;
  }

  /** Sets the outcome of an event whose key is among the known ones; returns whether it is. */
  #compare(
    document: UsageEventDocument | undefined,
    known: ReadonlyMap<string, Buffer>,
    target: { outcomes: AppendOutcome[]; index: number },
  ): boolean {
    const fingerprint = document && known.get(document._id);
    if (document === undefined || fingerprint === undefined) return false;
    target.outcomes[target.index] = fingerprint.equals(document.fingerprint.buffer) ? 'duplicate' : 'conflict';
    return true;
  }

  /**
   * A process can be frozen for a day between its journal entry and its insert, and a run then gives the entry up. So
   * before answering, after the insert is durable, the entry must still stand; else the pairs are written anew.
   */
  async #confirm(entry: OpenEntry, pairs: readonly string[]): Promise<void> {
    if (entry.id !== undefined && (await this.#dirtyHours.stands(entry.id))) return;
    await this.#dirtyHours.record(pairs, new Date(this.#clock.now()));
  }

  #seal(entry: OpenEntry): void {
    if (entry.sealed) return;
    entry.sealed = true;
    if (this.#entry === entry) this.#entry = undefined;
    this.#closeWhenDone(entry);
  }

  #closeWhenDone(entry: OpenEntry): void {
    if (!entry.sealed || entry.pending > 0 || entry.failed || entry.id === undefined) return;
    entry.sealed = true;
    const closing = this.#dirtyHours
      .close(entry.id, [...entry.pairs], new Date(this.#clock.now()))
      .then(() => boundary('ingest.journal-closed'))
      // The entry stays open: it is derived again in every run until one gives it up. Costly, and right.
      .catch((error: unknown) => this.#onCloseFailed(error))
      .finally(() => this.#closing.delete(closing));
    this.#closing.add(closing);
  }
}
