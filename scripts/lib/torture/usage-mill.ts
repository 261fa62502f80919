import { HOUR_MS } from '../../../src/platform/durations.ts';
import { SeededRandom } from '../../../packages/stripe-double/src/random.ts';

const REGIONS = ['eu', 'us', 'ap'] as const;
const USERS = 12;
const DUPLICATES_SHARE = 0.1;

/** A usage event as a caller sends it. */
export interface SentEvent {
  readonly idempotencyKey: string;
  readonly customerId: string;
  readonly eventType: 'call';
  readonly occurredAt: string;
  readonly quantity: string;
  readonly userId: string;
  readonly properties: { readonly region: string };
}

/** An adjustment as a caller sends it. */
export interface SentAdjustment {
  readonly idempotencyKey: string;
  readonly customerId: string;
  readonly meter: string;
  readonly occurredAt: string;
  readonly quantity: string;
  readonly reason: string;
  readonly actor: string;
}

/** A request's events, and what has to become of them. */
export interface Batch {
  readonly events: readonly object[];
  /** Events that have to be stored when the request is answered. */
  readonly valid: readonly SentEvent[];
  readonly conflicts: number;
  readonly rejected: number;
}

/** Makes usage by seed: events of ended hours, some sent twice, some refused. */
export class UsageMill {
  readonly #random: SeededRandom;
  readonly #customers: readonly string[];
  readonly #hoursMs: readonly number[];
  readonly #made: SentEvent[] = [];
  readonly #sent = new Map<string, SentEvent>();
  readonly #adjusted = new Map<string, SentAdjustment>();
  #count = 0;

  /** @param range the whole hours `[fromMs, toMs)` in which usage happens. */
  constructor(seed: number, customers: readonly string[], range: { fromMs: number; toMs: number }) {
    this.#random = new SeededRandom(seed);
    this.#customers = customers;
    this.#hoursMs = Array.from(
      { length: Math.floor((range.toMs - range.fromMs) / HOUR_MS) },
      (_, index) => range.fromMs + index * HOUR_MS,
    );
  }

  /** Every event that was acknowledged, by key. */
  get acknowledged(): ReadonlyMap<string, SentEvent> {
    return this.#sent;
  }

  /** Every adjustment that was acknowledged, by key. */
  get adjusted(): ReadonlyMap<string, SentAdjustment> {
    return this.#adjusted;
  }

  /** A whole number in `[0, below)`. */
  below(below: number): number {
    return Math.floor(this.#random.next() * below);
  }

  /** New events, with a share of earlier ones sent again. */
  batch(size: number): Batch {
    const valid = Array.from({ length: size }, () => {
      const isRepeated = this.#made.length > 0 && this.#random.next() < DUPLICATES_SHARE;
      return (isRepeated ? this.#pick(this.#made) : undefined) ?? this.event();
    });
    return { events: valid, valid, conflicts: 0, rejected: 0 };
  }

  /** Like `batch`, with one event that breaks a rule and, if one was acknowledged, one that contradicts it. */
  mixedBatch(size: number): Batch {
    const { valid } = this.batch(size);
    const stored = this.#pick([...this.#sent.values()]);
    const contradiction = stored === undefined ? [] : [{ ...stored, quantity: `${stored.quantity}7` }];
    const refused = { ...this.#blank(`refused-${this.#count}`), quantity: '-1' };
    return {
      events: [...valid, ...contradiction, refused],
      valid,
      conflicts: contradiction.length,
      rejected: 1,
    };
  }

  /** One new event, of a given customer's hour if that is given. */
  event(place: { customerId?: string; hourMs?: number } = {}): SentEvent {
    this.#count += 1;
    const event = { ...this.#blank(`event-${String(this.#count).padStart(7, '0')}`, place.hourMs) };
    const made = place.customerId === undefined ? event : { ...event, customerId: place.customerId };
    this.#made.push(made);
    return made;
  }

  /** A new adjustment, up or down. */
  adjustment(meter: string): SentAdjustment {
    this.#count += 1;
    const { customerId, occurredAt } = this.#blank('');
    const idempotencyKey = `adjustment-${String(this.#count).padStart(7, '0')}`;
    const quantity = String(this.below(40) - 20);
    return { idempotencyKey, customerId, meter, occurredAt, quantity, reason: 'torture', actor: 'the mill' };
  }

  acknowledgeAdjustment(adjustment: SentAdjustment): void {
    this.#adjusted.set(`${adjustment.idempotencyKey} ${adjustment.customerId}`, adjustment);
  }

  acknowledge(batch: Pick<Batch, 'valid'>): void {
    for (const event of batch.valid) this.#sent.set(`${event.idempotencyKey} ${event.customerId}`, event);
  }

  #blank(idempotencyKey: string, hourMs = this.#pick(this.#hoursMs) ?? 0): SentEvent {
    return {
      idempotencyKey,
      customerId: this.#pick(this.#customers) ?? '',
      eventType: 'call',
      occurredAt: new Date(hourMs + this.below(HOUR_MS)).toISOString(),
      quantity: `${this.below(1_000)}.${1 + this.below(9)}`,
      userId: `user-${this.below(USERS)}`,
      properties: { region: this.#pick(REGIONS) ?? '' },
    };
  }

  #pick<T>(from: readonly T[]): T | undefined {
    return from[this.below(from.length)];
  }
}
