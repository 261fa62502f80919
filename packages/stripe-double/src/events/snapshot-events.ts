import type { Stripe } from 'stripe';
import { answer, missingResource } from '../answer.ts';
import { paginate } from '../pagination.ts';
import { expand, pageFields } from '../parameters.ts';
import type { Parameters } from '../parameters.ts';
import type { Account, Route } from '../route.ts';
import type { SeededRandom } from '../random.ts';
import type { Deliveries, OutgoingEvent } from '../webhooks/deliveries.ts';

const url = '/v1/events';
/** "List events, going back up to 30 days" (Stripe API, Events). */
const keptMs = 30 * 24 * 60 * 60 * 1000;

/** An event with the object as it was. Typed by its envelope: there is one type for each of Stripe's 250 event types. */
export type SnapshotEvent = Omit<Stripe.EventBase, 'data' | 'type'> & {
  type: string;
  data: { object: object; previous_attributes?: object };
};

interface NewEvent {
  type: string;
  /** Copied: what becomes of the object later does not change the event. */
  object: object;
  /** The former values of what changed, on `*.updated`. */
  previous?: object | undefined;
}

/** An event whose data stays text until somebody asks for it. */
interface KeptEvent {
  id: string;
  type: string;
  atMs: number;
  apiVersion: string;
  data: string;
}

/** The snapshot events of the account. */
export class SnapshotEvents {
  readonly #account: Account;
  readonly #deliveries: Deliveries;
  /** Of its own, so that twins do not change ids of objects. */
  readonly #random: SeededRandom;
  readonly #events = new Map<string, KeptEvent>();

  constructor({ account, deliveries, random }: { account: Account; deliveries: Deliveries; random: SeededRandom }) {
    this.#account = account;
    this.#deliveries = deliveries;
    this.#random = random;
  }

  /** Records an event, queues it for delivery and gives its id. Sometimes two, as the switch `eventTwins` says. */
  emit({ type, object, previous }: NewEvent, atMs: number): string {
    const { eventTwins, eventApiVersion } = this.#account.switches;
    const data = JSON.stringify({ object, ...(previous !== undefined && { previous_attributes: previous }) });
    const one = (): string => {
      const id = this.#random.id('evt_', 24);
      const kept = { id, type, atMs, apiVersion: eventApiVersion, data };
      this.#events.set(id, kept);
      if (this.#deliveries.isListened('snapshot', type)) this.#deliveries.queue(this.#outgoing(kept), atMs);
      return id;
    };
    const id = one();
    if (eventTwins > 0 && this.#random.next() < eventTwins) one();
    return id;
  }

  /** Every event ever, oldest first. */
  all(): SnapshotEvent[] {
    return [...this.#events.values()].map((kept) => this.#present(kept));
  }

  retrieve(id: string): SnapshotEvent {
    const kept = this.#events.get(id);
    if (kept === undefined || !this.#isKept(kept)) throw missingResource('event', id);
    return this.#present(kept);
  }

  /** Newest first, of the last 30 days. */
  list(parameters: Parameters): Stripe.ApiList<SnapshotEvent> {
    const types = new Set([...parameters.list('types'), ...(parameters.has('type') ? [parameters.text('type')] : [])]);
    const taken = parameters.boolean('delivery_success');
    const rows: KeptEvent[] = [];
    for (const kept of this.#events.values()) {
      if (!this.#isKept(kept) || (types.size > 0 && !types.has(kept.type))) continue;
      if (!parameters.rangeHas('created', Math.floor(kept.atMs / 1000))) continue;
      if (taken !== undefined && taken !== (this.#deliveries.awaited(kept.id) === 0)) continue;
      rows.push(kept);
    }
    const page = paginate(rows.toReversed(), parameters, url);
    return { ...page, data: page.data.map((kept) => this.#present(kept)) };
  }

  /** An event to be sent again. */
  outgoing(id: string): OutgoingEvent | undefined {
    const kept = this.#events.get(id);
    return kept && this.#outgoing(kept);
  }

  /** Bodies are printed with two spaces, as Stripe prints them: who re-serialises one breaks its signature. */
  #outgoing(kept: KeptEvent): OutgoingEvent {
    return { id: kept.id, type: kept.type, kind: 'snapshot', body: JSON.stringify(this.#present(kept), null, 2) };
  }

  #present({ id, type, atMs, apiVersion, data }: KeptEvent): SnapshotEvent {
    return {
      id,
      object: 'event',
      api_version: apiVersion,
      created: Math.floor(atMs / 1000),
      data: JSON.parse(data) as SnapshotEvent['data'],
      livemode: false,
      pending_webhooks: this.#deliveries.awaited(id),
      request: { id: null, idempotency_key: null },
      type,
    };
  }

  #isKept({ atMs }: KeptEvent): boolean {
    return this.#account.clock.now() - atMs <= keptMs;
  }
}

/** `GET /v1/events` and `/{id}`. */
export function snapshotEventRoutes(events: SnapshotEvents): Route[] {
  return [
    {
      name: `GET ${url}`,
      parameters: {
        created: { kind: 'range' },
        delivery_success: { kind: 'boolean' },
        type: { kind: 'text' },
        types: { kind: 'list' },
        ...pageFields,
      },
      run: ({ parameters }) => answer(events.list(parameters)),
    },
    { name: `GET ${url}/{id}`, parameters: expand, run: ({ pathId }) => answer(events.retrieve(pathId)) },
  ];
}
