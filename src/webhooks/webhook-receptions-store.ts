import type { Collection, Db } from 'mongodb';
import type { WebhookKind } from './webhook.ts';
import type { WebhookReception } from './webhook-reception.ts';
import { translated } from '../platform/mongo/errors.ts';

/** One document for each destination and outcome: two destinations, and the few codes that there are. */
interface ReceptionDocument {
  _id: { destination: WebhookKind; outcome: string };
  count: number;
  firstAt: Date;
  lastAt: Date;
}

const WEBHOOK_RECEPTIONS = 'webhook_receptions';

/** How many deliveries came, what became of them, and when last. A count may be short by what a killed process knew. */
export class WebhookReceptions {
  readonly #collection: Collection<ReceptionDocument>;

  constructor(db: Db) {
    this.#collection = db.collection<ReceptionDocument>(WEBHOOK_RECEPTIONS);
  }

  /** Adds what came since it was last called. */
  async add(receptions: readonly WebhookReception[]): Promise<void> {
    if (receptions.length === 0) return;
    await translated(
      this.#collection.bulkWrite(
        receptions.map(({ destination, outcome, count, firstAt, lastAt }) => ({
          updateOne: {
            filter: { _id: { destination, outcome } },
            update: { $inc: { count }, $min: { firstAt }, $max: { lastAt } },
            upsert: true,
          },
        })),
        { ordered: false },
      ),
    );
  }

  async list(): Promise<WebhookReception[]> {
    const found = await translated(this.#collection.find({}).sort({ lastAt: -1 }).toArray());
    return found.map(({ _id, count, firstAt, lastAt }) => ({ ..._id, count, firstAt, lastAt }));
  }
}
