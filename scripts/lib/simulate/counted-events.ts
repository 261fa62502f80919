import { isWithin, type Period } from '../../../src/customers/calendar/period.ts';
import { addQuantities, canonicalQuantity, type Quantity } from '../../../src/platform/quantity.ts';
import type { ReceivedMeterEvent } from '../../../packages/stripe-double/src/usage.ts';
import type { ListedFigure } from './ledger.ts';
import type { World } from './world.ts';

/** The meter events that Stripe counts. */
export class CountedEvents {
  readonly #events: readonly ReceivedMeterEvent[];

  constructor({ simulator }: World) {
    this.#events = simulator.meterEvents().filter(({ outcome }) => outcome === 'counted');
  }

  /** When Stripe received an event, UTC milliseconds; undefined for one that it does not count. */
  receivedAtMs(identifier: string): number | undefined {
    return this.#events.find((event) => event.identifier === identifier)?.receivedAt;
  }

  /** Its place in the order in which Stripe received them. */
  orderOf(identifier: string): number {
    return this.#events.findIndex((event) => event.identifier === identifier);
  }

  /** What the events stamped in a period add up to. */
  sumIn(of: { customer: string; meter: string }, period: Period): Quantity {
    return addQuantities('0', ...this.#in(of, period).map(({ value }) => canonicalQuantity(value)));
  }

  /** The events stamped in a period as running figures; received before an instant, if one is named. */
  figuresIn(of: { customer: string; meter: string }, period: Period, beforeMs = Infinity): ListedFigure[] {
    return this.#in(of, period)
      .filter(({ receivedAt }) => receivedAt < beforeMs)
      .map(({ timestamp, value }) => ({ atMs: timestamp * 1000, figure: canonicalQuantity(value) }));
  }

  #in({ customer, meter }: { customer: string; meter: string }, period: Period): ReceivedMeterEvent[] {
    return this.#events.filter(
      (event) => event.customer === customer && event.eventName === meter && isWithin(period, event.timestamp * 1000),
    );
  }
}

/** Of running figures the one stamped last; nothing comes to 0. Of several at one instant the first that is named. */
export function latestFigure(figures: readonly ListedFigure[]): Quantity {
  return figures.reduce((latest, next) => (next.atMs > latest.atMs ? next : latest), { atMs: 0, figure: '0' }).figure;
}
