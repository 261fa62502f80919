import type { Collection, Db } from 'mongodb';
import type { WebhookEvent, WebhookKind } from './webhook.ts';
import { DaemonError } from '../platform/errors.ts';
import { inBatches } from '../platform/mongo/cursor.ts';
import { translated } from '../platform/mongo/errors.ts';
import { insertAbsent } from '../platform/mongo/insert-absent.ts';
import { bySlices } from '../platform/mongo/slices.ts';

export type WebhookState = 'pending' | 'done' | 'failed';

/** One event of Stripe's, delivered or found in Stripe's list. Its content is not kept: the object is fetched. */
export interface WebhookInboxDocument {
  /** The event's id, which makes every repetition of it the same entry. */
  _id: string;
  kind: WebhookKind;
  type: string;
  objectId?: string;
  createdAt: Date;
  receivedAt: Date;
  /** Whether Stripe delivered it, or it was missing and found in Stripe's list. */
  source: 'delivery' | 'catch-up';
  state: WebhookState;
  attempts: number;
  /** When it is tried (again), while it is pending. */
  dueAt?: Date;
  doneAt?: Date;
  outcome?: 'handled' | 'ignored';
  /** Why it was not done at the last attempt. */
  error?: { code: string; message: string };
}

export const WEBHOOK_INBOX = 'webhook_inbox';
/** Events that are read at once. */
const DUE_PER_BATCH = 1_000;

const STATES: readonly WebhookState[] = ['pending', 'done', 'failed'];

export class WebhookInbox {
  readonly #collection: Collection<WebhookInboxDocument>;

  constructor(db: Db) {
    this.#collection = db.collection<WebhookInboxDocument>(WEBHOOK_INBOX);
  }

  /**
   * Records events, those that nothing is done for as done at once. Durable when it returns, known ones too.
   * @returns the ids that were new.
   */
  async record(
    events: readonly WebhookEvent[],
    as: { at: Date; source: WebhookInboxDocument['source']; isHandled: (event: WebhookEvent) => boolean },
  ): Promise<Set<string>> {
    const documents = [...new Map(events.map((event) => [event.id, toDocument(event, as)])).values()];
    if (documents.length === 0) return new Set();
    const known = await this.#insert(documents);
    // Whoever wrote them first may not have a majority yet: only what a majority has may be acknowledged.
    const durable = known.length === 0 ? 0 : await this.#count(known);
    if (durable < known.length) {
      throw new DaemonError({
        kind: 'transient',
        code: 'store_unavailable',
        message: 'An event that is known already is not durable yet.',
      });
    }
    const isKnown = new Set(known);
    return new Set(documents.map(({ _id }) => _id).filter((id) => !isKnown.has(id)));
  }

  /** Whether an event of this kind was ever delivered, as far as the inbox remembers. */
  async hasDelivered(kind: WebhookKind): Promise<boolean> {
    return (await translated(this.#collection.findOne({ kind, source: 'delivery' }))) !== null;
  }

  /** Returns the ids that were there before. */
  async #insert(documents: readonly WebhookInboxDocument[]): Promise<string[]> {
    const taken = await insertAbsent(this.#collection, documents);
    return taken.flatMap((index) => documents[index]?._id ?? []);
  }

  async #count(ids: readonly string[]): Promise<number> {
    const counts = await bySlices(ids, (slice) => translated(this.#collection.countDocuments({ _id: { $in: slice } })));
    return counts.reduce((sum, count) => sum + count, 0);
  }

  find(id: string): Promise<WebhookInboxDocument | null> {
    return translated(this.#collection.findOne({ _id: id }));
  }

  /** Pending events that are due, the longest due first. */
  async due(at: Date, limit: number): Promise<WebhookInboxDocument[]> {
    const query = this.#collection.find({ state: 'pending', dueAt: { $lte: at } });
    const due: WebhookInboxDocument[] = [];
    for await (const batch of inBatches(query.sort({ dueAt: 1 }).limit(limit), DUE_PER_BATCH)) due.push(...batch);
    return due;
  }

  async hasDue(at: Date): Promise<boolean> {
    return (await this.due(at, 1)).length > 0;
  }

  /** Says that pending events were dealt with. */
  async finish(ids: readonly string[], at: Date): Promise<void> {
    await bySlices(ids, (slice) =>
      translated(
        this.#collection.updateMany(
          { _id: { $in: slice }, state: 'pending' },
          { $set: { state: 'done', outcome: 'handled', doneAt: at }, $unset: { dueAt: 1, error: 1 } },
        ),
      ),
    );
  }

  /** Says that an attempt failed; without an instant to try again, the event has failed until a person says otherwise. */
  async postpone(
    entry: { _id: string; attempts: number },
    failure: { error: { code: string; message: string }; dueAt?: Date },
  ): Promise<void> {
    const { error, dueAt } = failure;
    const isLast = dueAt === undefined;
    await translated(
      this.#collection.updateOne(
        { _id: entry._id, state: 'pending', attempts: entry.attempts },
        {
          $set: {
            attempts: entry.attempts + 1,
            error,
            ...(isLast ? { state: 'failed' as const } : { dueAt }),
          },
          ...(isLast && { $unset: { dueAt: 1 as const } }),
        },
      ),
    );
  }

  /** Makes a failed event pending again; returns whether it had failed. */
  async retry(id: string, at: Date): Promise<boolean> {
    const { matchedCount } = await translated(
      this.#collection.updateOne({ _id: id, state: 'failed' }, { $set: { state: 'pending', attempts: 0, dueAt: at } }),
    );
    return matchedCount === 1;
  }

  /** Newest first. `before` is the last entry of the page before. */
  list(query: {
    state?: WebhookState;
    before?: { receivedAt: Date; id: string };
    limit: number;
  }): Promise<WebhookInboxDocument[]> {
    const { state, before } = query;
    const found = this.#collection
      .find({
        // Every state by name, so that the index gives each in order.
        state: { $in: state === undefined ? [...STATES] : [state] },
        ...(before !== undefined && {
          $or: [{ receivedAt: { $lt: before.receivedAt } }, { receivedAt: before.receivedAt, _id: { $lt: before.id } }],
        }),
      })
      .sort({ receivedAt: -1, _id: -1 })
      .limit(query.limit);
    return translated(found.toArray());
  }

  /** How many wait or failed, and since when the oldest of them. */
  async census(): Promise<{ state: WebhookState; count: number; oldestReceivedAt: Date }[]> {
    const groups = this.#collection.aggregate<{ _id: WebhookState; count: number; oldest: Date }>([
      { $match: { state: { $in: ['pending', 'failed'] } } },
      { $group: { _id: '$state', count: { $sum: 1 }, oldest: { $min: '$receivedAt' } } },
      { $sort: { _id: 1 } },
    ]);
    const found = await translated(groups.toArray());
    return found.map(({ _id: state, count, oldest }) => ({ state, count, oldestReceivedAt: oldest }));
  }

  /** Removes what was received before an instant and is done; returns how many. */
  async prune(before: Date): Promise<number> {
    const { deletedCount } = await translated(
      this.#collection.deleteMany({ state: 'done', receivedAt: { $lt: before } }),
    );
    return deletedCount;
  }
}

function toDocument(
  event: WebhookEvent,
  as: { at: Date; source: WebhookInboxDocument['source']; isHandled: (event: WebhookEvent) => boolean },
): WebhookInboxDocument {
  const isHandled = as.isHandled(event);
  return {
    _id: event.id,
    kind: event.kind,
    type: event.type,
    ...(event.objectId !== undefined && { objectId: event.objectId }),
    createdAt: new Date(event.createdAtMs),
    receivedAt: as.at,
    source: as.source,
    attempts: 0,
    ...(isHandled ? { state: 'pending', dueAt: as.at } : { state: 'done', outcome: 'ignored', doneAt: as.at }),
  };
}
