import type { Collection, Db } from 'mongodb';
import type { WebhookKind } from './webhook.ts';
import { translated } from '../platform/mongo/errors.ts';

/** Up to when Stripe's list of events was read and everything in it recorded. */
interface EventCoverageDocument {
  _id: WebhookKind;
  to: Date;
}

const EVENT_COVERAGE = 'event_coverage';

export class EventCoverage {
  readonly #collection: Collection<EventCoverageDocument>;

  constructor(db: Db) {
    this.#collection = db.collection<EventCoverageDocument>(EVENT_COVERAGE);
  }

  /** The instant up to which nothing of this kind is missing; undefined before the first time. */
  async find(kind: WebhookKind): Promise<Date | undefined> {
    return (await translated(this.#collection.findOne({ _id: kind })))?.to;
  }

  /** Moves it on; never back. */
  async extend(kind: WebhookKind, to: Date): Promise<void> {
    await translated(this.#collection.updateOne({ _id: kind }, { $max: { to } }, { upsert: true }));
  }
}
