import { missingInV2 } from '../answer.ts';
import type { SeededRandom } from '../random.ts';
import type { Account } from '../route.ts';
import type { Deliveries, OutgoingEvent } from '../webhooks/deliveries.ts';

/** An object that a thin event is about. */
export interface RelatedObject {
  id: string;
  type: string;
  url: string;
}

/** A thin event as it is fetched from `/v2/core/events`. */
export interface ThinEvent {
  id: string;
  object: 'v2.core.event';
  type: string;
  /** RFC 3339. */
  created: string;
  livemode: false;
  data: object;
  reason: null;
  related_object?: RelatedObject | Record<string, never>;
}

interface NewThinEvent {
  type: string;
  relatedObject: RelatedObject | undefined;
  data: object;
}

/** "Events are kept for 30 days" (Stripe API, v2 core events). */
const keptMs = 30 * 24 * 60 * 60 * 1000;

/** The thin events of the account. What is sent is a notification without `data`, which has to be fetched. */
export class ThinEvents {
  readonly #account: Account;
  readonly #deliveries: Deliveries;
  readonly #random: SeededRandom;
  readonly #events = new Map<string, ThinEvent>();

  constructor({ account, deliveries, random }: { account: Account; deliveries: Deliveries; random: SeededRandom }) {
    this.#account = account;
    this.#deliveries = deliveries;
    this.#random = random;
  }

  create({ type, relatedObject, data }: NewThinEvent, atMs: number): ThinEvent {
    const empty = this.#account.switches.noRelatedObject === 'empty' ? {} : undefined;
    const related = relatedObject ?? empty;
    const event: ThinEvent = {
      id: this.#random.id('evt_test_', 24),
      object: 'v2.core.event',
      type,
      created: new Date(atMs).toISOString(),
      livemode: false,
      data,
      reason: null,
      ...(related !== undefined && { related_object: related }),
    };
    this.#events.set(event.id, event);
    this.#deliveries.queue(notificationOf(event), atMs);
    return event;
  }

  /** Every event ever, oldest first. */
  all(): ThinEvent[] {
    return [...this.#events.values()];
  }

  /** @throws Refusal 404 for an id that is unknown or older than 30 days. */
  retrieve(id: string): ThinEvent {
    const event = this.#events.get(id);
    if (event === undefined || !this.#isKept(event)) throw missingInV2('event', id);
    return event;
  }

  /** Those still kept, newest first. */
  kept(): ThinEvent[] {
    return this.all()
      .filter((event) => this.#isKept(event))
      .toReversed();
  }

  /** The notification of an event, to be sent again. */
  outgoing(id: string): OutgoingEvent | undefined {
    const event = this.#events.get(id);
    return event && notificationOf(event);
  }

  #isKept(event: ThinEvent): boolean {
    return this.#account.clock.now() - Date.parse(event.created) <= keptMs;
  }
}

/** The POST tells type and object, never the data (Stripe docs, Event destinations). */
function notificationOf({ data: _data, ...notification }: ThinEvent): OutgoingEvent {
  return { id: notification.id, type: notification.type, kind: 'thin', body: JSON.stringify(notification) };
}
