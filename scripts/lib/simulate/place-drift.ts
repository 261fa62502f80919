import { groupBy } from '../../../src/platform/grouping.ts';
import { addQuantities, equalQuantities, type Quantity } from '../../../src/platform/quantity.ts';
import { epochHourOf } from '../../../src/customers/calendar/window.ts';

/** By how much Stripe's figure of a customer's meter is off, at an instant. */
export interface Drift {
  readonly customerId: string;
  readonly meter: string;
  readonly timestamp: Date;
  /** What Stripe's figure would have to change by. */
  readonly quantity: Quantity;
}

/**
 * Event summaries tell of whole hours. Where a boundary of two periods divides an hour, no total says on which side of
 * it a meter event is missing, nor that two are which cancel out.
 * @param told what a person was told of, by the hour.
 * @param stamped what was lost without a word, less what a heal brought back, where it was stamped.
 * @returns the stamped drift in each hour in which it comes to what was told, 0 included; what was told in the others.
 */
export function placeDrift(told: readonly Drift[], stamped: readonly Drift[]): Drift[] {
  const toldByHour = groupBy(told, hourOf);
  const stampedByHour = groupBy(stamped, hourOf);
  return [...new Set([...toldByHour.keys(), ...stampedByHour.keys()])].flatMap((hour) => {
    const [asTold, asStamped] = [toldByHour.get(hour) ?? [], stampedByHour.get(hour) ?? []];
    return equalQuantities(sum(asTold), sum(asStamped)) ? asStamped : asTold;
  });
}

function hourOf({ customerId, meter, timestamp }: Drift): string {
  return `${customerId} ${meter} ${epochHourOf(timestamp.getTime())}`;
}

function sum(drift: readonly Drift[]): Quantity {
  return addQuantities('0', ...drift.map(({ quantity }) => quantity));
}
